"""Code in a text: whether it is code as a whole, the pieces between backticks, and its tokens."""

import re

_LONGEST_STRING = (
    500  # characters of a quoted string that is one token: a lone quote must not cost the rest of the text
)
_FENCE = re.compile(
    r"^[ \t]*(?:```|~~~)[ \t]*([\w+#.-]*)[^\n`]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.DOTALL | re.MULTILINE
)
_SPAN = re.compile(r"(?<!`)`([^`\n]{1,200})`(?!`)")
_TOKEN = re.compile(
    rf""""(?:\\.|[^"\\\n]){{0,{_LONGEST_STRING}}}"|'(?:\\.|[^'\\\n]){{0,{_LONGEST_STRING}}}'|\w+|[^\w\s]"""
)
_PROMPT = re.compile(r"^(?:\$|>>>) ", re.MULTILINE)
_PLAIN_TEXT = ("text", "txt", "markdown", "md", "plaintext")

# a line that no sentence looks like
_LINE = re.compile(
    r"""^\s*(?:
      (?:async\ +)?def\ +\w+\ *\( | class\ +\w+\ *(?:\(.*\))?\ *[:{]\s*$
    | import\ +[\w.]+(?:\ +as\ +\w+)?;?\s*$ | from\ +[\w.]+\ +import\b
    | (?:if|elif|for|while|with|try|except|else|finally)\b.*:\s*$ | (?:if|for|while|switch)\ *\(.*\)\ *\{?\s*$
    | @\w[\w.]*(?:\(.*\))?\s*$ | \w[\w.]*\([^()]*(?:\([^()]*\)[^()]*)*\);?\s*$
    | (?:const|let|var|static|public|private|int|float|double|char|bool)\ +[\w<>\[\]]+\ *=\ .*
    | (?:export\ +)?function\b.*\( | \#include\b | \#!/ | .*[;{]\s*$ | \}.*$ | .*=>.*
    | </?[a-zA-Z!][^<>]*>.* | <\?xml
    | (?:SELECT|INSERT\ +INTO|UPDATE|DELETE\ +FROM|CREATE\ +(?:TABLE|INDEX|VIEW)|ALTER\ +TABLE|DROP\ +TABLE|WITH)\b.*
    | select\ .+\ from\ .+
    | \$\ \S.*
    | (?:sudo\ +)?(?:ls|cd|rm|mv|cp|git|pip|npm|yarn|docker|kubectl|curl|wget|grep|awk|sed|chmod|chown|mkdir|rmdir|ssh|scp
        |apt|brew|systemctl|rsync|python3?)(?:\s*$|\ (?=.*(?:(?:^|\s)--?\w|[|/$*~>]|&&|\.\w))|\ +[\w.-]+(?:\ +[\w.-]+)?\s*$).*
    | (?:tar|export|node|cargo|go|make|find|cat|echo|sort|head|tail|wc|du|df|ps|kill|touch|ln|unzip|zip|xargs)
      \ (?=.*(?:(?:^|\s)--?\w|[|/$*~>]|&&|\.\w)).*
    )""",
    re.VERBOSE,
)
_LINE_OF_MANY = re.compile(
    r"""^\s*(?:[\w.\[\]"']+\s*(?:[-+*/%]|//)?=\s*\S.*|return\b.*|(?:pass|break|continue)\s*$|(?://|\#).*)"""
)
_YAML_LINE = re.compile(r"""^\s*(?:-\s+)?[a-z_][\w.-]*:(?:\s+\S+(?:\s+\S+){0,7})?\s*$|^\s*-\s+\S+(?:\s+\S+){0,3}\s*$""")
_YAML_KEY = re.compile(r"""^\s*(?:-\s+)?[a-z_][\w.-]*:(?:\s|$)""")
_LAYOUT = re.compile(r":[ \t]*$|^[ \t]*- ", re.MULTILINE)  # indentation means something
_SQL = re.compile(r"^\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|WITH)\b", re.IGNORECASE)


def unfenced(text: str) -> str:
    """The code of the first fence, or of the backticks around the whole; else the text."""
    if fence := _FENCE.search(text):
        return fence[2]
    bare = text.strip()
    if len(bare) > 2 and bare[0] == bare[-1] == "`" and "`" not in bare[1:-1]:
        return bare[1:-1]
    return text


def is_code(text: str) -> bool:
    """Whether a text is code and nothing else: one fence, backticks around the whole, or lines that no sentence looks like."""
    whole = text.strip()
    if (fence := _FENCE.fullmatch(whole)) and fence[1].lower() not in _PLAIN_TEXT:
        return True
    if unfenced(whole) != whole and not fence and whole[0] == "`":
        return True
    lines = [line for line in whole.splitlines() if line.strip()]
    if len(lines) == 1:
        return bool(_LINE.match(lines[0])) and not re.search(r"[a-z]{3,}[.!?]$", lines[0])
    if _has_yaml_lines(lines):
        return True
    sure = sum(bool(_LINE.match(line)) for line in lines)
    return sure > 0 and 3 * (sure + sum(bool(_LINE_OF_MANY.match(line)) for line in lines)) >= 2 * len(lines)


def is_yaml(text: str) -> bool:
    """Whether code is YAML: a fence says so, or all its lines look like keys and items."""
    fence = _FENCE.fullmatch(text.strip())
    if fence and fence[1]:
        return fence[1].lower() in ("yaml", "yml")
    return "=" not in text and _has_yaml_lines([line for line in unfenced(text).splitlines() if line.strip()])


def _has_yaml_lines(lines: list[str]) -> bool:
    return sum(bool(_YAML_KEY.match(line)) for line in lines) > 1 and all(map(_YAML_LINE.match, lines))


def pieces(text: str) -> list[str]:
    """The code in fences and between backticks, in order."""
    found = [(match.start(), match[2]) for match in _FENCE.finditer(text)]
    found += [
        (match.start(), match[1]) for match in _SPAN.finditer(_FENCE.sub(lambda fence: " " * len(fence[0]), text))
    ]
    return [code for _, code in sorted(found)]


def without_marks(text: str) -> str:
    """The text without fences and backticks; what they hold stays."""
    return _FENCE.sub(lambda fence: f"\n{fence[2]}\n", text).replace("`", " ")


def tokens(code: str, like: str | None = None) -> list[str]:
    """The tokens of code. Blanks and line ends do not count, except indentation where the code ``like`` (itself, if none is
    given) needs it; nor do the kind of quotes and, in SQL, case."""
    like = code if like is None else like
    layout, folded = bool(_LAYOUT.search(like)), bool(_SQL.match(like))
    found: list[str] = []
    depths = [0]
    for line in _PROMPT.sub("", code).expandtabs(4).splitlines():
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        while indent < depths[-1]:
            depths.pop()
        if indent > depths[-1]:
            depths.append(indent)
        if layout:
            found.append(f"\n{len(depths) - 1}")
        found += (_plain(token, folded=folded) for token in _TOKEN.findall(line))
    return found


def _plain(token: str, *, folded: bool) -> str:
    if len(token) > 1 and token[0] in "'\"":
        inside = token[1:-1]
        # a shell and SQL treat the two kinds of quotes differently
        return token if folded or any(sign in inside for sign in "\"'$\\") else f'"{inside}"'
    return token.casefold() if folded else token


def within(piece: list[str], text: list[str], start: int) -> int:
    """The place after the first occurrence of the tokens ``piece`` in ``text`` from ``start`` on; -1 if there is none."""
    for at in range(start, len(text) - len(piece) + 1):
        if text[at : at + len(piece)] == piece:
            return at + len(piece)
    return -1
