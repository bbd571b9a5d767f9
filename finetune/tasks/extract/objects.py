"""Objects as text: read from rows and from answers, and written in the one form that is learned."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from finetune.errors import shortened
from finetune.records.files import Row
from finetune.tasks.extract.schema import Node
from finetune.tasks.values import demand_shallow, json_type, parsed, strictly

FENCE = re.compile(r"\s*(```|~~~)[ \t]*[\w+-]*[ \t]*\n?(?P<json>.*?)\n?[ \t]*\1\s*", re.DOTALL)
# what is left of a value in whose middle a text ends
_CUT = re.compile(r"\s*(tr?u?|fa?l?s?|nu?l?|[-+.eE]*|\\u[0-9a-fA-F]{0,3}|u[0-9a-fA-F]{0,3})\s*")
_LARGEST = 2**63  # whole numbers from here on are read as other ones by most programs

Tell = Callable[[str], None]


def object_of(value: object, mend: Tell = lambda what: None) -> Row:
    """The object that a value of a row is, or is as text, perhaps in a fence; ``mend`` is told of what was changed.

    ValueError says why it is none, or none that can be learned.
    """
    if isinstance(value, str):
        text = value.strip().removeprefix("\ufeff")
        if not text:
            raise ValueError("json is empty")
        if found := FENCE.fullmatch(text):
            text = found["json"]
            mend("a fence around the JSON taken off")
        if not text.lstrip().startswith(("{", "[")) and not _is_json(text):
            raise ValueError(f"json is no JSON: it begins with {shortened(text, 40)!r} (write an object, in braces)")
        value = _parsed(text, mend)
        if isinstance(value, str):  # JSON in JSON
            return object_of(value, mend)
    if isinstance(value, list):
        one = "; it holds one object: write that" if len(value) == 1 and isinstance(value[0], dict) else ""
        raise ValueError(f'json is a list, and an answer is one object (write {{"items": [...]}}{one})')
    if not isinstance(value, dict):
        raise ValueError(f"json is {json_type(value)}, and an answer is an object (write an object, in braces)")
    if not value:
        raise ValueError("json is an object without fields (write its fields, null for those that are not known)")
    demand_shallow(value, "json")
    _demand_numbers(value)
    return value


def _parsed(text: str, mend: Tell) -> Any:
    """The value of JSON text, also as pandas writes an object to a table: as Python shows it."""
    try:
        return parsed(text, "json")
    except ValueError as error:
        if text.lstrip().startswith("{'") and "not valid JSON" in str(error):
            try:
                value = parsed(text, "json", python=True)
            except ValueError:
                pass
            else:
                mend("objects as Python shows them, read as JSON")
                return value
        raise ValueError(_explained(str(error))) from None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _explained(problem: str) -> str:
    if "integer string conversion" in problem:
        return "json has a number of more than 4,300 digits (write it as text)"
    return problem


def _demand_numbers(value: Any) -> None:
    """ValueError if a number in it is none, or larger than programs read."""
    waiting = [("", value)]
    while waiting:
        path, one = waiting.pop()
        if isinstance(one, dict):
            waiting += [(f"{path}.{name}" if path else name, inner) for name, inner in one.items()]
        elif isinstance(one, list):
            waiting += [(f"{path}[{at}]", inner) for at, inner in enumerate(one)]
        elif isinstance(one, float) and one - one != 0:
            raise ValueError(f"{shortened(path)} is NaN or infinite, which JSON cannot hold (write null)")
        elif isinstance(one, int) and not -_LARGEST <= one < _LARGEST:
            raise ValueError(f"{shortened(path)} is a whole number of {len(str(abs(one)))} digits (write it as text)")


def written(value: Any) -> str:
    """JSON in the form that is learned: nothing but what it needs between the values."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def canonical(value: Any, node: Node, whole: frozenset[str], path: str = "") -> Any:
    """The value with its fields in the order of the schema; those of ``whole``, by their paths, are numbers that are written
    without a fraction of zero."""
    if isinstance(value, Mapping):
        known = [name for name in node.properties if name in value]
        names = [*known, *(name for name in value if name not in node.properties)]
        anything = Node(())
        return {
            name: canonical(value[name], node.properties.get(name, anything), whole, f"{path}.{name}" if path else name)
            for name in names
        }
    if isinstance(value, list):
        return [canonical(item, node.items or Node(()), whole, f"{path}[]") for item in value]
    if isinstance(value, float) and value.is_integer() and path in whole and abs(value) < _LARGEST:
        return int(value)
    return value


class Read(NamedTuple):
    """What an answer holds."""

    found: Row | None  # the object, also if something else is around it
    kind: str  # "" if it is an object and nothing else; else a kind of fault
    reason: str = ""


def read_answer(text: str) -> Read:
    """The object in an answer, and what keeps a program from reading it."""
    text = text.strip()
    if not text:
        return Read(None, "no_json", "no text")
    value, problem = _strict(text)
    if isinstance(value, dict):
        return Read(value, "")
    if not problem:
        return Read(None, "not_an_object", f"{json_type(value)}, not an object")
    if fenced := FENCE.fullmatch(text):
        value, _ = _strict(fenced["json"])
        if isinstance(value, dict):
            return Read(value, "fence", "a fence around the object")
    if (begin := text.find("{")) < 0:
        return Read(None, "no_json", f"no object: it begins with {shortened(text, 40)!r}")
    try:
        value, end = json.JSONDecoder().raw_decode(text, begin)
    except RecursionError:
        return Read(None, "no_json", "not JSON: nested too deeply")
    except ValueError:
        return _broken(text, begin, problem)
    value, problem = _strict(text[begin:end])
    if not isinstance(value, dict):
        return Read(None, "no_json", f"not JSON: {problem}")
    where = " and ".join(
        f"{shortened(part.strip(), 30)!r} {side} the object"
        for part, side in ((text[:begin], "before"), (text[end:], "after"))
        if part.strip()
    )
    return Read(value, "text_around", where)


def _broken(text: str, begin: int, problem: str) -> Read:
    """An object that cannot be read: whether its end is missing alone."""
    try:
        json.loads(text[begin:])
    except json.JSONDecodeError as error:
        rest = text[begin + error.pos :]
        if _CUT.fullmatch(rest) or error.msg.startswith("Unterminated string"):
            return Read(None, "unfinished", "the object has no end")
        return Read(None, "no_json", f"not JSON: {error.msg} at {shortened(rest, 20)!r}")
    except (ValueError, RecursionError):
        pass
    return Read(None, "no_json", f"not JSON: {problem}")


def _strict(text: str) -> tuple[Any, str]:
    """The value of a text that is JSON, or why it is not: NaN and names that are there twice are no JSON."""
    try:
        return strictly(text), ""
    except ValueError as error:
        return None, str(error)
