"""Support tickets as a help desk exports them: 12 categories of very different size, labels in several spellings, tickets that
are nearly the same, a few cells that are empty, and a second column with the agent's reply.

python tests/tickets.py tickets.csv
"""

import csv
import random
import sys
from pathlib import Path

ROWS = {
    "Refund": 118,
    "Billing": 84,
    "Late delivery": 78,
    "Damaged item": 62,
    "Login": 54,
    "App crash": 45,
    "Wrong item": 34,
    "Address change": 28,
    "Subscription cancel": 22,
    "Data privacy": 14,
    "Feature request": 12,
    "Praise": 9,
}
NAMES = "Anna Boris Chen Divya Emeka Fatima Giorgos Hana Igor Jürgen Kaori Lars Mona Noor Olga Pedro".split()
ITEMS = "kettle,lamp,rug,desk chair,blender,bookshelf,teapot,mirror,toaster,blanket,clock,garden hose".split(",")
OPENINGS = ("Hi,", "Hello team,", "Good morning,", "To whom it may concern:", "Hey!", "", "", "Dear support,")
CLOSINGS = (
    "Thanks.",
    "Please help.",
    "Best, {name}",
    "{name}",
    "Order {order}.",
    "",
    "",
    "I am waiting.",
    "Regards, {name}",
)
SAYS = {
    "Refund": (
        "I want my money back for the {item}.",
        "When do I get the refund for the {item} that I returned {days} days ago?",
        "Please refund order {order}, I no longer need the {item}.",
        "The {item} went back to you and nothing has been paid back to my card.",
        "How do I return the {item} and get the {amount} euros back?",
    ),
    "Billing": (
        "You charged me {amount} euros twice this month.",
        "The invoice for order {order} has the wrong VAT number.",
        "Why is there a fee of {amount} euros on my invoice?",
        "My card was billed although I paid by bank transfer.",
        "Please send me the invoice for the {item} again.",
    ),
    "Late delivery": (
        "The {item} should have been here {days} days ago.",
        "Tracking for order {order} has not moved for {days} days.",
        "Where is my parcel? It was promised for last week.",
        "Still no sign of the {item} that I ordered {days} days ago.",
    ),
    "Damaged item": (
        "The {item} arrived broken.",
        "There is a crack in the {item} and the box was crushed.",
        "I unpacked the {item} and one part is bent.",
        "The {item} from order {order} has scratches all over.",
    ),
    "Login": (
        "I cannot sign in any more, the password link never arrives.",
        "My account is locked after {days} attempts.",
        "The code by text message does not come, so I cannot log in.",
        "It says that my e-mail address is unknown when I sign in.",
    ),
    "App crash": (
        "The app closes as soon as I open the basket.",
        "Since the update the app freezes on my phone.",
        "Your app shows a white screen and then quits.",
        "When I look at order {order} the app crashes.",
    ),
    "Wrong item": (
        "I ordered a {item} and got a {other}.",
        "In the box was a {other}, not the {item}.",
        "Order {order} came with a {other} in the wrong colour instead of my {item}.",
    ),
    "Address change": (
        "I have moved, please send order {order} to my new address.",
        "Can you change the delivery address of the {item}?",
        "The street in my account is out of date, how do I correct it?",
    ),
    "Subscription cancel": (
        "Please cancel my subscription at the end of the month.",
        "How can I end the monthly plan?",
        "I do not want the membership to renew for {amount} euros.",
    ),
    "Data privacy": (
        "Delete all data that you have about me.",
        "Which personal data do you keep, and who gets it?",
        "I do not agree to my e-mail address being passed on.",
    ),
    "Feature request": (
        "It would be great to pay with gift cards.",
        "Could the app have a dark mode?",
        "Please add a wish list that I can share.",
    ),
    "Praise": (
        "Just wanted to say that your service was wonderful, {name} was so kind.",
        "Great {item}, fast shipping, well done!",
        "Best shop ever \N{SMILING FACE WITH SMILING EYES}",
    ),
}
_TYPOS = {"the ": "teh ", "please": "pls", "Please": "Pls", "you": "u", "arrived": "arived", "address": "adress"}


def tickets(seed: int = 7) -> list[dict[str, str]]:
    """The 560 tickets in random order: the same for the same seed."""
    draw = random.Random(seed)
    rows = [_ticket(label, draw) for label, count in ROWS.items() for _ in range(count)]
    draw.shuffle(rows)
    for number, spelling in zip((3, 8, 21, 34, 55, 89, 144, 233), ("lower", "blank", "upper") * 3, strict=False):
        label = rows[number]["category"]
        rows[number]["category"] = {"lower": label.lower(), "blank": f"{label} ", "upper": label.upper()}[spelling]
    for number in (13, 200, 377):
        rows[number][draw.choice(("ticket_text", "category"))] = ""
    return rows


def _ticket(label: str, draw: random.Random) -> dict[str, str]:
    words = {
        "name": draw.choice(NAMES),
        "order": str(draw.randint(1000, 9999)),
        "days": str(draw.randint(2, 30)),
        "item": draw.choice(ITEMS),
        "other": draw.choice(ITEMS),
        "amount": str(draw.randint(5, 200)),
    }
    parts = [draw.choice(OPENINGS), draw.choice(SAYS[label]), draw.choice(CLOSINGS)]
    if draw.random() < 0.25:  # a second sentence, now and then about something else
        parts.insert(2, draw.choice(SAYS[label if draw.random() < 0.7 else draw.choice(list(ROWS))]))
    text = draw.choice((" ", "\r\n")).join(filter(None, parts)).format(**words)
    if draw.random() < 0.15:
        for right, wrong in _TYPOS.items():
            text = text.replace(right, wrong)
    reply = f"Hi {words['name']}, thanks for getting in touch about {label.lower()}. We look into it."
    return {"ticket_text": text, "category": label, "agent_reply": reply}


def write(path: Path) -> Path:
    """As a spreadsheet saves it: with a byte order mark and CR LF."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, ["ticket_id", "ticket_text", "category", "agent_reply"])
        table.writeheader()
        table.writerows({"ticket_id": f"T{at:04}", **row} for at, row in enumerate(tickets(), start=1))
    return path


if __name__ == "__main__":
    write(Path(sys.argv[1]))
