"""Generated invoice lines, each with what it says in seven fields: rows for --type extract.

python tests/invoices.py --write FOLDER    invoices.jsonl (a line and its object) and invoices.csv (plain columns)
"""

import csv
import json
import random
import sys
from pathlib import Path
from typing import Any

GOODS = {
    "Hex bolt M8": ("HB", "pcs"),
    "Oak board 20 mm": ("OB", "m"),
    "Copper pipe 15 mm": ("CP", "m"),
    "Wall paint, white": ("WP", "l"),
    "Garden soil": ("GS", "kg"),
    "Door hinge, brass": ("DH", "pcs"),
    "Cable 3 x 1.5": ("CB", "m"),
    "Floor tile, grey": ("FT", "pcs"),
    "Wood glue": ("WG", "kg"),
    "Assembly": ("AS", "h"),
    "Linseed oil": ("LO", "l"),
    "Screws 4 x 40": ("SC", "pcs"),
}
FIELDS = ("sku", "description", "quantity", "unit", "unit_price", "vat", "total")
LINES = (
    "{quantity} {unit} {description} ({sku}) @ EUR {unit_price:.2f}, VAT {vat} %: EUR {total:.2f}",
    "Art. {sku}: {description}, {quantity} {unit} at {unit_price:.2f} each, incl. {vat}% VAT = {total:.2f} EUR",
    "{sku} | {description} | {quantity} {unit} | {unit_price:.2f} | {vat} | {total:.2f}",
    "{description}, order no. {sku}; qty {quantity} {unit}; price {unit_price:.2f}; tax {vat} %; sum {total:.2f}",
)


def invoices(count: int = 420, seed: int = 0) -> list[dict[str, Any]]:
    """Rows ``{"line": ..., "json": {...}}``; no two lines are the same."""
    draws, rows, seen = random.Random(seed), [], set()
    while len(rows) < count:
        description, (prefix, unit) = draws.choice(list(GOODS.items()))
        quantity, cents = draws.randint(1, 400), draws.randint(99, 9999)
        found = {
            "sku": f"{prefix}-{draws.randint(1000, 9999)}",
            "description": description,
            "quantity": quantity,
            "unit": unit,
            "unit_price": cents / 100,
            "vat": draws.choice((0, 7, 19)),
            "total": quantity * cents / 100,
        }
        line = draws.choice(LINES).format(**found)
        if line not in seen:
            seen.add(line)
            rows.append({"line": line, "json": found})
    return rows


def write(folder: Path, rows: list[dict[str, Any]] | None = None) -> None:
    rows = rows or invoices()
    (folder / "invoices.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    with (folder / "invoices.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["line", *FIELDS])
        table.writerows([row["line"], *(row["json"][name] for name in FIELDS)] for row in rows)


if __name__ == "__main__":
    folder = Path(sys.argv[sys.argv.index("--write") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    write(folder)
