"""Lines that tokenizers disagree about: what a rule that splits text, or a table of pieces, gets wrong shows in one of them."""

import random
from functools import cache

_COUNT = 200
_WHOLE = (
    "Hello, world! It's 'quoted' -- they'LL won't I'M we'd CAN'T o'clock",
    "1 12 123 1234 12345 1234567890 3.14159 1,000,000 0x1F 1e-05 v2.10.3",
    "SELECT name, COUNT(*) FROM t1 WHERE a <> 'b''c' AND d >= 10 GROUP BY name;",
    "def f(x):\n    if x:\n\t\treturn  x+1\n\n\n    # end\r\n",
    "   leading, trailing   ",
    "\n\n\n",
    " \n \n\n  x\t\t\n",
    "naïve café e\u0301 A\u030a ﬁ ſ Å ß İ ı ½ 2⁸ Ⅷ",
    "日本語のテキスト。中文、한국어！　全角",
    "مرحبا بالعالم שלום नमस्ते สวัสดี",
    "😀 👩‍👩‍👧‍👦 🇩🇪 👍🏽 ✈️ ❤️‍🔥",
    "\u00a0non\u00a0breaking\u2003em\u200bzero\u2028line\u0085next",
    "CamelCase HTTPServer iPhoneOS XMLHttpRequest camelCASEword",
    "https://example.org/a%20b?c=d&e=f#g user@example.org C:\\path\\to",
    '{"key": [1, 2.5, null, true], "text": "a\\nb"}',
    "addi x1, x2, -2048\nlw a0, 8(sp)  # load",
)
_PARTS = (
    *(" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n", "\u00a0", "\u3000"),
    *(
        "a",
        "the",
        "Word",
        "UPPER",
        "snake_case",
        "x1",
        "'s",
        "'LL",
        "n't",
        "ä",
        "é",
        "Ёлка",
        "你好",
        "テスト",
        "مرحبا",
        "👍🏽",
        "½",
    ),
    *("0", "7", "42", "123", "1234", "12345678", "3.14", "-1", "٣٤٥"),
    *(
        ".",
        ",",
        ";",
        "!?",
        "...",
        "(",
        ")",
        "[]",
        "{}",
        "<>",
        "==",
        "!=",
        "::",
        "->",
        "//",
        "/*",
        "*/",
        "#",
        "$",
        "%",
        "&&",
        "|",
    ),
    *("_", "__", "--", "---", "'", '"', "`", "```", "~", "^", "\\", "@", "€", "£", "—", "“", "”"),
)


@cache
def hard_texts() -> tuple[str, ...]:
    """200 of them, the same each time."""
    chance = random.Random(7)
    mixed = ["".join(chance.choices(_PARTS, k=chance.randint(3, 24))) for _ in range(_COUNT - len(_WHOLE))]
    return (*_WHOLE, *mixed)
