"""What an object may hold: a JSON schema, as far as answers can be asked for, scored and decoded by it.

A schema is read into nodes once. What is not known here is refused by its name: neither the score nor the grammar of
``--restrict`` would hold it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from finetune.errors import shortened

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
FORMATS = ("date", "date-time", "time", "email", "uuid")  # of texts; others are told to the model alone
DATE_FORM = "x-date-form"  # of our own: the form of dates that are not ISO 8601's, as Python's strptime has it
_SAYS_NOTHING = frozenset(
    "title description default examples $comment $schema $id $defs definitions deprecated readOnly writeOnly strict".split()
)
_LIMITS = {
    "string": ("minLength", "maxLength", "pattern"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "array": ("minItems", "maxItems"),
}
_STRUCTURE = ("type", "properties", "required", "additionalProperties", "items", "enum", "const", "format", "nullable")
_DEEPEST = 32  # objects and lists inside each other
_MOST = 500  # fields, those of inner objects too


class UnknownSchema(ValueError):
    """A schema that is none, or has a feature that is not known. The message begins with the place in it."""


@dataclass(frozen=True)
class Node:
    """What a value may be. Limits hold for values of their type alone, as in JSON schema."""

    types: tuple[str, ...]  # names of JSON schema, "null" among them if it may be null
    enum: tuple[Any, ...] = ()  # the values that there are; empty: any
    properties: Mapping[str, "Node"] = field(default_factory=dict)  # of an object, in the order in which it is written
    required: frozenset[str] = frozenset()
    items: "Node | None" = None  # of a list; None: anything
    limits: Mapping[str, Any] = field(default_factory=dict)
    format: str = ""  # of a text
    date_form: str = ""  # of a text that is a date in another form than ISO 8601's
    description: str = ""

    @property
    def main(self) -> tuple[str, ...]:
        """The types without null."""
        return tuple(kind for kind in self.types if kind != "null")

    @property
    def nullable(self) -> bool:
        return "null" in self.types

    @property
    def is_object(self) -> bool:
        return self.main == ("object",)

    def as_schema(self) -> dict[str, object]:
        """The JSON schema, without what says nothing of values. Objects have no further fields."""
        found: dict[str, object] = {"type": self.types[0] if len(self.types) == 1 else list(self.types)}
        if self.enum:
            found["enum"] = list(self.enum)
        if "object" in self.types:
            found["properties"] = {name: node.as_schema() for name, node in self.properties.items()}
            found["required"] = [name for name in self.properties if name in self.required]
            found["additionalProperties"] = False
        if self.items is not None:
            found["items"] = self.items.as_schema()
        if self.format:
            found["format"] = self.format
        if self.date_form:
            found[DATE_FORM] = self.date_form
        return {**found, **self.limits}

    def leaves(self, path: str = "") -> Iterator[tuple[str, "Node"]]:
        """The fields, each with its path such as "customer.name": those of inner objects in the place of these."""
        for name, node in self.properties.items():
            below = f"{path}.{name}" if path else name
            if node.is_object and node.properties:
                yield from node.leaves(below)
            else:
                yield below, node


def root_of(schema: object) -> Node:
    """The node of a whole schema. UnknownSchema if it is none of an object, or has a feature that is not known."""
    if isinstance(schema, Mapping) and isinstance(schema.get("json_schema"), Mapping):
        schema = schema["json_schema"]  # as response_format has it
    if isinstance(schema, Mapping) and isinstance(schema.get("schema"), Mapping) and "properties" not in schema:
        schema = schema["schema"]
    if not isinstance(schema, Mapping):
        raise UnknownSchema("it is no object (a JSON schema is one, with properties)")
    definitions = {f"#/{part}/{name}": one for part in ("$defs", "definitions") for name, one in _mapping(schema, part)}
    root = _Reader(definitions).node(schema, "", ())
    if root.types != ("object",):
        raise UnknownSchema("it describes no object (it needs type: object)")
    if not root.properties:
        raise UnknownSchema("it names no fields (it needs properties)")
    if len(list(root.leaves())) > _MOST:
        raise UnknownSchema(f"it has more than {_MOST} fields")
    return root


@lru_cache(maxsize=256)
def _of_text(text: str) -> Node:
    return root_of(json.loads(text))


def of_row(schema: object) -> Node:
    """The node of the schema that a row of data/*.jsonl has; each schema is read once."""
    return _of_text(json.dumps(schema))


def _mapping(schema: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    found = schema.get(name, {})
    yield from found.items() if isinstance(found, Mapping) else ()


class _Reader:
    """Reads the parts of one schema; ``definitions`` are those that a $ref can name."""

    def __init__(self, definitions: Mapping[str, Any]):
        self._definitions = definitions

    def node(self, schema: Any, path: str, inside: tuple[str, ...]) -> Node:
        """``inside``: the references that lead here."""
        place = path or "the whole"
        if not isinstance(schema, Mapping):
            raise UnknownSchema(
                f"{place}: {shortened(json.dumps(schema), 40)} is no schema (write an object, with a type)"
            )
        if path.count(".") + path.count("[") > _DEEPEST:
            raise UnknownSchema(f"{shortened(place)}: nested more than {_DEEPEST} levels deep")
        if "$ref" in schema:
            return self._referred(schema, path, inside)
        if "anyOf" in schema:
            return self._any_of(schema, path, inside)
        self._demand_known(schema, place)
        types = _types(schema, place)
        enum = _enum(schema, place, types)
        node = Node(types or tuple(dict.fromkeys(map(type_of, enum))), enum, description=_description(schema))
        if not node.types:
            raise UnknownSchema(f"{place}: it has no type (write one, such as string)")
        for kind, names in _LIMITS.items():
            given = {name: _limit(name, schema[name], place) for name in names if name in schema}
            if kind in node.types or (kind == "number" and "integer" in node.types):
                node = replace(node, limits={**node.limits, **given})
        if "string" in node.types:
            node = replace(node, format=_format(schema, place), date_form=str(schema.get(DATE_FORM, "")))
        if "object" in node.types:
            node = self._with_properties(node, schema, path, inside)
        if "array" in node.types and "items" in schema:
            node = replace(node, items=self.node(schema["items"], f"{path}[]", inside))
        return node

    def _referred(self, schema: Mapping[str, Any], path: str, inside: tuple[str, ...]) -> Node:
        name, place = str(schema["$ref"]), path or "the whole"
        if name not in self._definitions:
            raise UnknownSchema(f"{place}: $ref {shortened(name)!r} is not in its $defs (copy what it names there)")
        if name in inside:
            raise UnknownSchema(
                f"{place}: $ref {shortened(name)!r} refers to itself, so it has no end (write the levels out)"
            )
        node = self.node(self._definitions[name], path, (*inside, name))
        return replace(node, description=_description(schema) or node.description)

    def _any_of(self, schema: Mapping[str, Any], path: str, inside: tuple[str, ...]) -> Node:
        """One node of all alternatives: each type may be in one of them."""
        place = path or "the whole"
        alternatives = schema["anyOf"]
        if not isinstance(alternatives, Sequence) or isinstance(alternatives, str) or not alternatives:
            raise UnknownSchema(f"{place}: anyOf is no list of schemas")
        if other := [name for name in schema if name not in _SAYS_NOTHING | {"anyOf"}]:
            raise UnknownSchema(f"{place}: {other[0]} beside anyOf is not supported (write it into the alternatives)")
        found = [self.node(one, path, inside) for one in alternatives]
        types = [kind for node in found for kind in node.types]
        if len(set(types)) < len(types):
            raise UnknownSchema(f"{place}: anyOf of two schemas of one type is not supported (write one for both)")
        if len(others := [node for node in found if node.types != ("null",)]) > 1 and any(node.enum for node in others):
            raise UnknownSchema(
                f"{place}: anyOf of an enum and another type is not supported (list all values in one enum)"
            )
        first, *more = others or found
        for node in more:
            first = replace(
                first,
                types=(*first.types, *node.types),
                properties={**first.properties, **node.properties},
                required=first.required | node.required,
                items=first.items or node.items,
                limits={**first.limits, **node.limits},
                format=first.format or node.format,
                date_form=first.date_form or node.date_form,
            )
        nullable = "null" in types and "null" not in first.types
        return replace(
            first,
            types=(*first.types, "null") if nullable else first.types,
            enum=(*first.enum, None) if nullable and first.enum else first.enum,
            description=_description(schema) or first.description,
        )

    def _with_properties(self, node: Node, schema: Mapping[str, Any], path: str, inside: tuple[str, ...]) -> Node:
        place = path or "the whole"
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise UnknownSchema(f"{place}: properties is no object, or required no list")
        if schema.get("additionalProperties", False) is not False:
            raise UnknownSchema(
                f"{place}: additionalProperties is not supported: fields without a name cannot be asked for"
                " (set it to false, and name the fields)"
            )
        if path and not properties and "additionalProperties" not in schema:
            raise UnknownSchema(f"{place}: an object without properties is not supported (name its fields)")
        if absent := [name for name in required if name not in properties]:
            raise UnknownSchema(f"{place}: required names {shortened(str(absent[0]))!r}, which is not in properties")
        below = {name: self.node(one, f"{path}.{name}" if path else name, inside) for name, one in properties.items()}
        return replace(node, properties=below, required=frozenset(required))

    @staticmethod
    def _demand_known(schema: Mapping[str, Any], place: str) -> None:
        known = {*_SAYS_NOTHING, *_STRUCTURE, DATE_FORM, *(name for names in _LIMITS.values() for name in names)}
        if unknown := [name for name in schema if name not in known]:
            raise UnknownSchema(f"{place}: {shortened(str(unknown[0]))} is not supported (leave it out)")


def _types(schema: Mapping[str, Any], place: str) -> tuple[str, ...]:
    given = schema.get("type")
    types = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    if unknown := [kind for kind in types if kind not in TYPES]:
        raise UnknownSchema(f"{place}: unknown type {shortened(str(unknown[0]))!r} (choose from {', '.join(TYPES)})")
    if not types and "properties" in schema:
        types = ["object"]
    if schema.get("nullable") is True and "null" not in types:  # OpenAPI's
        types = [*types, "null"]
    return tuple(dict.fromkeys(types))


def _enum(schema: Mapping[str, Any], place: str, types: tuple[str, ...]) -> tuple[Any, ...]:
    if "const" in schema:
        return (schema["const"],)
    values = schema.get("enum")
    if values is None:
        return ()
    if not isinstance(values, list) or not values:
        raise UnknownSchema(f"{place}: enum is no list of values")
    if any(isinstance(value, (dict, list)) for value in values):
        raise UnknownSchema(
            f"{place}: an enum of objects or lists is not supported (list texts, numbers, true, false or null)"
        )
    if types and (wrong := [value for value in values if not is_of(value, types)]):
        raise UnknownSchema(f"{place}: enum has {shortened(json.dumps(wrong[0]), 40)}, which is not of its type")
    return tuple(values)


def _limit(name: str, value: Any, place: str) -> Any:
    if name == "pattern":
        if not isinstance(value, str):
            raise UnknownSchema(f"{place}: pattern is no text")
        try:
            re.compile(value)
        except re.error as error:
            raise UnknownSchema(f"{place}: pattern is no regular expression: {error}") from None
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnknownSchema(f"{place}: {name} is no number")
    return value


def _format(schema: Mapping[str, Any], place: str) -> str:
    given = schema.get("format", "")
    if given and given not in FORMATS:
        raise UnknownSchema(
            f"{place}: format {shortened(str(given))!r} is not supported (use {', '.join(FORMATS)}, or a pattern)"
        )
    return str(given)


def _description(schema: Mapping[str, Any]) -> str:
    found = schema.get("description", "")
    return " ".join(found.split()) if isinstance(found, str) else ""


def type_of(value: object) -> str:
    """What JSON schema calls the type of a value; a number without a fraction is an integer."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) or value.is_integer() else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def is_of(value: object, types: Sequence[str]) -> bool:
    kind = type_of(value)
    return kind in types or (kind == "integer" and "number" in types)
