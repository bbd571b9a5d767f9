"""The words of a text in any script.

Words are letters, digits and the marks on them. Of scripts that put no blanks between words (Chinese, Japanese, Thai and
others) each character counts as one.
"""

import re
import unicodedata
from functools import cache

_DENSE = (  # Thai to Tibetan, Myanmar, Khmer, kana, Han
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_ALSO_SIGNS = "*/%#@&\\"  # punctuation to Unicode, and yet "5 * 3" is not "5 / 3", and "C#" not "C"
_MINUS = r"-(?=\d)|(?<= )-(?= )"
_ASCII = re.compile(rf"[a-z0-9]+|[$+<=>^`|~{re.escape(_ALSO_SIGNS)}]|{_MINUS}")


def plain(text: str) -> str:
    """The text without differences in case, in white space, and in how Unicode composes its characters."""
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


def words(text: str) -> list[str]:
    """The words of the text, without punctuation and signs."""
    return _patterns()[0].findall(plain(text))


def words_and_signs(text: str) -> list[str]:
    """The same with the signs, such as + and $, and a minus, but not a hyphen."""
    if text.isascii():  # ten times as fast
        return _ASCII.findall(plain(text))
    return _patterns()[1].findall(plain(text))


def pieces(text: str) -> list[str]:
    """What blanks part, with punctuation and signs as part of it; each character of a script without blanks."""
    return _patterns()[2].findall(plain(text))


def without_punctuation(text: str) -> str:
    return text.translate(_patterns()[3])


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str], dict[int, None]]:
    kinds: dict[str, list[str]] = {"M": [], "S": [], "P": []}
    for code in range(0x20000):  # above are Han characters and what has no use in a text
        if (kind := unicodedata.category(chr(code))[0]) in kinds:
            kinds[kind].append(chr(code))
    marks, signs = (re.escape("".join(kinds[kind])) for kind in "MS")
    dense = f"[{_DENSE}][{marks}\u200d]*"
    letter = f"(?![{_DENSE}])[^\\W_]"
    word = f"{dense}|{letter}(?:{letter}|[{marks}\u200c\u200d])*"
    return (
        re.compile(word),
        re.compile(f"{word}|[{signs}{re.escape(_ALSO_SIGNS)}]|{_MINUS}"),
        re.compile(f"{dense}|(?:(?![{_DENSE}])\\S)+"),
        dict.fromkeys(map(ord, kinds["P"])),
    )
