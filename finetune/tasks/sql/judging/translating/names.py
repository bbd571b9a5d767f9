"""Words that a dialect does not have although sqlglot reads them: what an engine would refuse must not be judged right.

A model that has seen much SQL mixes the dialects. sqlglot is made to read all of them and lets that pass.
"""

from functools import lru_cache

import sqlglot
from sqlglot.errors import SqlglotError
from sqlglot.tokens import Token

from finetune.tasks.sql.judging.translating.tables import Wrong

_SQLITE = "strftime julianday unixepoch datetime printf group_concat total ifnull instr iif typeof glob"
_MYSQL = (
    "ifnull group_concat date_format str_to_date datediff timestampdiff timestampadd curdate curtime year month day dayofweek"
    " dayofmonth dayofyear weekday quarter hour minute last_day dayname monthname substring_index find_in_set field if instr"
    " locate unix_timestamp from_unixtime ucase lcase truncate rand adddate subdate makedate period_diff"
)
_TSQL = (
    "isnull len getdate sysdatetime datediff dateadd datepart datename charindex patindex stuff iif eomonth datefromparts"
    " convert try_cast try_convert format newid replicate square choose getutcdate isnumeric datediff_big"
)
_POSTGRES = (
    "to_char to_date to_timestamp date_trunc date_part age split_part string_agg array_agg bool_and bool_or every initcap"
    " generate_series regexp_matches unnest make_date array_length array_to_string btrim strpos json_agg jsonb_agg"
    " jsonb_build_object"
)
_DUCKDB = (
    "list list_contains list_aggregate strptime epoch_ms arg_max arg_min quantile_cont date_diff datesub struct_pack"
)
_ORACLE = "nvl nvl2 decode sysdate add_months months_between listagg trunc instr to_number rownum"


def _words(*lists: str, but: str = "") -> frozenset[str]:
    return frozenset(" ".join(lists).split()) - frozenset(but.split())


MISSING = {
    "postgres": _words(_SQLITE, _MYSQL, _TSQL, _DUCKDB, _ORACLE, but="format trunc list truncate")
    | {"substring_index", "truncate", "list", "date_sub"},
    "mysql": _words(_SQLITE, _TSQL, _POSTGRES, _DUCKDB, _ORACLE,
        but="group_concat ifnull instr datediff format convert isnull square"),
    "tsql": _words(
        _SQLITE, _MYSQL, _POSTGRES, _DUCKDB, _ORACLE,
        but="iif datediff year month day format string_agg rand generate_series date_trunc trunc",
    ) | _words("date_add date_sub trunc length substr lpad rpad now position ceil pow mod random greatest_all repeat"),
    "duckdb": _words(_MYSQL, _TSQL, "julianday unixepoch to_char nvl2 decode sysdate listagg",
        but="ifnull group_concat datediff year month day dayofweek dayofmonth dayofyear quarter hour minute last_day dayname"
        " monthname instr len datepart if rand weekday ucase lcase format list_contains datesub isnull try_cast"),
}  # fmt: skip
_MARKS = {  # operators and clauses
    "postgres": {"DIV": "DIV", "RLIKE": "REGEXP", "GLOB": "GLOB", "TOP": "TOP"},
    "mysql": {"ILIKE": "ILIKE", "DCOLON": "::", "GLOB": "GLOB", "TOP": "TOP", "QUALIFY": "QUALIFY"},
    "tsql": {"ILIKE": "ILIKE", "DCOLON": "::", "LIMIT": "LIMIT", "RLIKE": "REGEXP", "GLOB": "GLOB", "TRUE": "TRUE",
        "FALSE": "FALSE", "QUALIFY": "QUALIFY"},
    "duckdb": {"TOP": "TOP"},
    "oracle": {"LIMIT": "LIMIT", "ILIKE": "ILIKE", "DCOLON": "::"},
}  # fmt: skip
_SEQUENCES = {  # of two words
    "postgres": ("INSERT OR", "UPDATE OR"),
    "mysql": ("NULLS FIRST", "NULLS LAST", "FILTER (", "DISTINCT ON", "FULL JOIN", "FULL OUTER", "ON CONFLICT", "FETCH FIRST",
        "FETCH NEXT", "INSERT OR", "UPDATE OR"),
    "tsql": ("NULLS FIRST", "NULLS LAST", "FILTER (", "DISTINCT ON", "ON CONFLICT", "WITH RECURSIVE", "NATURAL JOIN",
        "INSERT OR", "UPDATE OR"),
    "oracle": ("FILTER (", "DISTINCT ON", "ON CONFLICT", "WITH RECURSIVE", "INSERT OR", "UPDATE OR"),
}  # fmt: skip
_ONE_NUMBER = frozenset("postgres duckdb bigquery snowflake".split())  # of LIMIT


@lru_cache(maxsize=1)
def _tokens(sql: str, dialect: str) -> list[Token]:
    try:
        return list(sqlglot.tokenize(sql, read=dialect))
    except SqlglotError as error:
        raise Wrong("parse_error", " ".join(str(error).split())) from None


def demand_own_words(sql: str, dialect: str) -> None:
    """Wrong if the statement calls a function, or has an operator, that only other dialects have."""
    tokens = _tokens(sql, dialect)
    missing, marks, sequences = MISSING.get(dialect, frozenset()), _MARKS.get(dialect, {}), _SEQUENCES.get(dialect, ())
    for at, token in enumerate(tokens):
        following = tokens[at + 1] if at + 1 < len(tokens) else None
        kind = token.token_type.name
        if kind == "EQ" and token.text == "==" and dialect not in ("duckdb", "spark"):
            raise Wrong("parse_error", "syntax error: operator does not exist: ==")
        if (
            kind in marks
            and token.text != "~"
            and not (kind in ("TRUE", "FALSE") and following is not None and following.text == ".")
        ):
            raise Wrong("parse_error", f"syntax error: there is no {marks[kind]} in this dialect")
        words = token.text.upper(), following.text.upper() if following is not None else ""
        if " ".join(words) in sequences and kind not in ("STRING", "IDENTIFIER"):
            raise Wrong(
                "parse_error", f"syntax error: there is no {' '.join(words).removesuffix(' (')} in this dialect"
            )
        if kind == "LIMIT" and dialect in _ONE_NUMBER and _is_pair(tokens, token):
            raise Wrong("parse_error", "syntax error: LIMIT takes one number (OFFSET the other)")
        is_call = following is not None and following.token_type.name == "L_PAREN" and following.start == token.end + 1
        is_missing = token.text.lower() in missing or token.text.lower().startswith("ft_")  # ours, not the dialect's
        if is_call and kind not in ("STRING", "IDENTIFIER") and is_missing:
            raise Wrong("unknown_function", f"function {token.text.lower()}() does not exist")


def _is_pair(tokens: list[Token], limit: Token) -> bool:
    """Whether two numbers with a comma follow."""
    at = tokens.index(limit)
    return [token.token_type.name for token in tokens[at + 1 : at + 3]] == ["NUMBER", "COMMA"]
