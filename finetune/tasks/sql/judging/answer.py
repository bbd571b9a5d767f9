"""Finds the SQL in a chat answer, whatever surrounds it, and never changes it.

If an answer has SQL in several forms, the plainest counts: fenced code; else statements that begin a line, after a label or
not; else those after a colon; else quoted ones; else any in capitals within a sentence; last, any spelling.
"""

import re

_REST = {  # what must follow the first word for it to be SQL and not English
    "SELECT": r"(?=[\s(*'\"`\[+-])",
    "WITH": r"\s{1,99}(?i:RECURSIVE\s{1,99})?[\w\"`\[\]]{1,99}\s{0,99}(?:\([^()]{0,999}\))?\s{0,99}(?i:AS)\b",
    "VALUES": r"\s{0,99}\(",
    "INSERT": r"\s{1,99}(?i:OR\s{1,99}\w{1,99}\s{1,99}|IGNORE\s{1,99})?(?i:INTO)\b",
    "REPLACE": r"\s{1,99}(?i:INTO)\b",
    "UPDATE": r"\s{1,99}\S{1,199}\s{1,99}(?i:AS\s{1,99})?(?:\w{1,99}\s{1,99})?"
    r"(?i:SET|(?:(?:INNER|LEFT|RIGHT)\s{1,99})?JOIN)\b",
    "DELETE": r"\s{1,99}(?:\w{1,99}\s{1,99}FROM|(?i:FROM))\b",
    "MERGE": r"\s{1,99}(?i:INTO\s{1,99})?\S{1,199}\s{1,99}(?i:AS\s{1,99})?(?:\w{1,99}\s{1,99})?(?i:USING)\b",
    "TRUNCATE": r"\s{1,99}(?i:TABLE)\b",
    "CREATE": r"\s{1,99}(?i:[A-Z]{4,9}\s{1,99}){0,2}(?i:TABLE|VIEW|INDEX|TRIGGER)\b",
    "ALTER": r"\s{1,99}(?i:TABLE)\b",
    "DROP": r"\s{1,99}(?i:TABLE|VIEW|INDEX|TRIGGER)\b",
    "PRAGMA": r"\s{1,99}\w",
    "ATTACH": r"\s{1,99}(?i:DATABASE\s{1,99})?['\"]",
    "DETACH": r"\s{1,99}(?i:DATABASE)\b",
    "VACUUM": r"\s{0,99}(?:;|(?i:INTO)\b|\Z)",
    "EXPLAIN": r"\s{1,99}(?i:QUERY\s{1,99}PLAN\s{1,99})?(?i:SELECT|WITH|INSERT|UPDATE|DELETE)\b",
    "BEGIN": r"\s{0,99}(?i:TRANSACTION\s{0,99})?;",
}
_CAPITALS = "(?:" + "|".join(rf"\b{word}\b{rest}" for word, rest in _REST.items()) + ")"
_STATEMENT = "(?:" + "|".join(rf"\b(?:{word}|{word.lower()})\b{rest}" for word, rest in _REST.items()) + ")"
_MARKER = r"[ \t]*(?:(?:[*+-]|\d{1,2}[.)]|#{1,6}|\w{0,20}>+)[ \t]+)?"  # of a list, a heading, a prompt
_LABEL = r"(?:\**\w{1,20}(?: \w{1,20})?[ \t]?:\**[ \t]*)?"

_LINE_START = re.compile(rf"(?:^|;){_MARKER}{_LABEL}(?P<sql>{_STATEMENT})", re.MULTILINE)
_AFTER_COLON = re.compile(rf":\**\s{{0,99}}(?P<sql>{_STATEMENT})")
_QUOTED = re.compile(rf"(?P<mark>[`\"])(?P<sql>{_STATEMENT}.*?)(?P=mark)", re.DOTALL)
_ANYWHERE = re.compile(rf"(?P<sql>{_CAPITALS})")
_ANY_CASE = re.compile(rf"^{_MARKER}{_LABEL}(?P<sql>{_STATEMENT})", re.MULTILINE | re.IGNORECASE)

_LANGUAGE = rf"(?:[ \t]*+(?!{_STATEMENT})[\w+.-]*+[ \t]*+\n|[ \t]*(?i:sqlite|sql)\b)?"
_FENCE = re.compile(rf"(?P<fence>```|~~~){_LANGUAGE}(?P<code>.*?)(?:(?P=fence)|\Z)", re.DOTALL)

_TOKEN = re.compile(  # an unclosed quote runs to the end
    r"""'(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | `[^`]*(?:`|\Z) | \[[^\]]*(?:\]|\Z)
    | --[^\n]* | /\*.*?(?:\*/|\Z) | [();] | \b(?i:SELECT)\b | \n(?:[ \t]*+\n)*+""",
    re.DOTALL | re.VERBOSE,
)
_REST_IS_BLANK = re.compile(r"[ \t]*\Z")
_PROSE = re.compile(  # a line of it, straight below a statement without a semicolon
    r"""[ \t]*(?:(?:This|These|That|The|It|Here|We|You|If|In|I|Please)[ '][a-z]
    | \**(?:Explanation|Note|Output|Result|Answer|Question|SQL|Query)s?\**[ \t]?: | \#\#\# | <\| | </)""",
    re.VERBOSE,
)
_CLAUSES = "FROM WHERE GROUP ORDER HAVING LIMIT OFFSET UNION INTERSECT EXCEPT JOIN LEFT INNER CROSS ON AND OR"
_CONTINUES = re.compile(rf"\s*(?:[),]|--|(?:{'|'.join([*_CLAUSES.split(), *_CLAUSES.lower().split()])})\b)")


def extract_sql(answer: str) -> str | None:
    """The SQL of the answer, None if there is none. Several statements are joined with semicolons."""
    return ";\n".join(find_statements(answer)) or None


def find_statements(answer: str) -> list[str]:
    """The statements of the answer, unchanged, each once."""
    answer = answer.rpartition("</think>")[2]
    found: list[str] = []
    for fence in _FENCE.finditer(answer):
        code = fence["code"]
        found += _statements(code, _LINE_START, fenced=True) or _statements(code, _ANY_CASE, fenced=True)
    for start in (_LINE_START, _AFTER_COLON, _QUOTED, _ANYWHERE, _ANY_CASE):
        found = found or _statements(answer, start, fenced=False)
    distinct: dict[str, str] = {}
    for sql in found:
        distinct.setdefault(" ".join(sql.split()), sql)
    return list(distinct.values())


def _statements(text: str, start: re.Pattern[str], *, fenced: bool) -> list[str]:
    found = []
    place = 0
    while match := start.search(text, place):
        place = match.end() if start is _QUOTED else _end(text, match.start("sql"), fenced=fenced)
        sql = match["sql"] if start is _QUOTED else text[match.start("sql") : place]
        found.append(sql.strip().rstrip(";").rstrip())
    return found


def _end(text: str, start: int, *, fenced: bool) -> int:
    """Where the statement ends: at its semicolon; outside a fence also at a blank line or a line of prose."""
    begins_with = text[start : start + 4].upper() == "WITH"
    depth = selects = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] == ";":
            return token.start()
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        selects += depth == 0 and token[0].upper() == "SELECT"
        if token[0][0] != "\n" or fenced or depth > 0:
            continue
        if _PROSE.match(text, token.end()):
            return token.start()
        unfinished = text[start : token.start()].rstrip().endswith(",") or (begins_with and not selects)
        blank = len(token[0]) > 1 or _REST_IS_BLANK.match(text, token.end())
        if blank and not unfinished and not _CONTINUES.match(text, token.end()):
            return token.start()
    return len(text)
