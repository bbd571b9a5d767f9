"""Rows of --type extract: which fields hold what, the schema that is found, what is learned; each refusal's remedy works."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.dataset import preview
from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.records.dataset import DatasetRecord
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS
from finetune.tasks.extract.columns import number_of
from finetune.tasks.extract.prompt import system_message
from finetune.tasks.extract.schema import UnknownSchema, root_of
from finetune.tasks.extract.scoring import score
from invoices import invoices, write

ALL = {"valid_fraction": 0.0, "test_fraction": 0.0}


def prepared(source: Path, **options: Any) -> Dataset:
    config = DatasetConfig(type_="extract", dataset_name=str(source), **{**ALL, **options})
    return prepare(config, ROW_KINDS["extract"], print)


def rows_file(folder: Path, *rows: object, copies: int = 1, name: str = "rows.jsonl") -> Path:
    """Each row so often, with a text of its own; a text is a line as it stands."""
    path, lines = folder / name, []
    for copy in range(copies):
        for number, row in enumerate(rows):
            own = row if isinstance(row, str) else json.dumps({"text": f"text {copy} {number}", **row})
            lines.append(own)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def answers(dataset: Dataset) -> list[str]:
    return sorted(row["messages"][-1]["content"] for row in dataset.splits["train"])


def found_types(dataset: Dataset) -> dict[str, str]:
    return {field.name: field.about for field in dataset.record(DatasetConfig()).fields or ()}


GIVEN = {"a": 1, "b": "x"}


def test_objects_and_plain_columns_make_the_same_rows(tmp_path: Path) -> None:
    write(tmp_path, invoices(60))
    objects = prepared(tmp_path / "invoices.jsonl", column="text=line,json=json")
    columns = prepared(
        tmp_path / "invoices.csv", fields="sku,description,quantity,unit,unit_price,vat,total", column="text=line"
    )
    assert len(objects.splits["train"]) == 60 and not objects.findings.dropped and not objects.findings.unused
    row = objects.splits["train"][0]
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
    assert set(row) == {"messages", "json_schema"}
    assert (
        list(json.loads(row["messages"][-1]["content"])) == "sku description quantity unit unit_price vat total".split()
    )
    types = found_types(objects)
    assert types["quantity"] == "whole number" and types["unit_price"] == types["total"] == "number"
    assert types["sku"] == "text" and types["unit"].startswith("one of ")
    # in a table 12.00 is written as a number is, so the objects may differ in a fraction of zero alone
    assert [json.loads(text) for text in answers(objects)] == [json.loads(text) for text in answers(columns)]
    assert found_types(columns) == types


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"json": GIVEN}, '{"a":1,"b":"x"}'),
        ({"json": '{"a": 1, "b": "x"}'}, '{"a":1,"b":"x"}'),
        ({"json": '```json\n{"a": 1,\n "b": "x"}\n```'}, '{"a":1,"b":"x"}'),
        ({"json": "```\n{\"a\": 1, \"b\": \"x\"}```"}, '{"a":1,"b":"x"}'),
        ({"json": json.dumps(json.dumps(GIVEN))}, '{"a":1,"b":"x"}'),
        ({"json": "{'a': 1, 'b': None, 'c': True}"}, '{"a":1,"b":null,"c":true}'),
        ({"json": {"a": {}, "": 1, "x.y": [None, {}]}}, '{"a":{},"":1,"x.y":[null,{}]}'),
        ({"json": {"a": [1, "x", {"b": 2}]}}, '{"a":[1,"x",{"b":2}]}'),
        ({"expected": {"a": None, "é": "ü"}}, '{"a":null,"é":"ü"}'),
        ({"json": {"c": {"d": [1, 2], "e": {"f": True}}}}, '{"c":{"d":[1,2],"e":{"f":true}}}'),
    ],
)  # fmt: skip
def test_an_object_is_written_in_one_form(tmp_path: Path, row: dict[str, Any], wanted: str) -> None:
    dataset = prepared(rows_file(tmp_path, row, copies=3))
    assert set(answers(dataset)) == {wanted}
    assert ("a fence around the JSON taken off" in dataset.findings.mended) == ("```" in str(row))
    first = dataset.splits["train"][0]
    assert score(first, wanted).value == 1 and score(first, wanted).parts["fits the schema"] == 1


def test_conversations_are_read_too(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": '{"b": "x", "a": 1}'}]
    with_system = [{"role": "system", "content": "Extract a and b."}, {"role": "user", "content": "cd"}, turns[1]]
    lines = [json.dumps({"messages": turns}), json.dumps({"messages": with_system})]
    dataset = prepared(rows_file(tmp_path, *lines))
    systems = {row["messages"][1]["content"]: row["messages"][0]["content"] for row in dataset.splits["train"]}
    assert systems["cd"] == "Extract a and b." and systems["ab"].startswith("Extract these fields")
    assert any("system message of their own" in note for note in dataset.notes)


def test_what_was_written_is_read_again_as_it_is(tmp_path: Path) -> None:
    first = prepared(
        rows_file(tmp_path, {"json": {"a": 1, "b": None}}, {"json": {"a": 2.5, "b": "x", "c": [1]}}, copies=4)
    )
    again = tmp_path / "again.jsonl"
    again.write_text("".join(json.dumps(row) + "\n" for row in first.splits["train"][:3]), encoding="utf-8")
    second = prepared(again)
    rows = {row["messages"][1]["content"]: row for row in first.splits["train"]}
    assert len(second.splits["train"]) == 3
    for row in second.splits["train"]:
        assert row == rows[row["messages"][1]["content"]]


def test_key_orders_and_fractions_of_zero_become_one_and_that_is_said(tmp_path: Path) -> None:
    path = rows_file(tmp_path, '{"text": "a", "json": {"x": 1, "y": 2}}', '{"text": "b", "json": {"y": 3, "x": 4}}',
                     '{"text": "c", "json": {"x": 5.0, "y": 6}}')  # fmt: skip
    dataset = prepared(path)
    assert answers(dataset) == ['{"x":1,"y":2}', '{"x":4,"y":3}', '{"x":5,"y":6}']
    assert dataset.findings.mended["fields of objects put into one order"] == 1
    assert dataset.findings.mended["whole numbers such as 5.0 written as 5, as in most rows"] == 1
    with pytest.raises(UserError, match="--strict: 1 x fields of objects put into one order"):
        prepared(path, strict=True)


def test_numbers_that_are_all_written_with_a_fraction_stay(tmp_path: Path) -> None:
    dataset = prepared(rows_file(tmp_path, {"json": {"x": 5.0}}, {"json": {"x": 7.25}}, {"json": {"x": 11864.0}}))
    assert answers(dataset) == ['{"x":11864.0}', '{"x":5.0}', '{"x":7.25}'] and not dataset.findings.mended
    assert found_types(dataset) == {"x": "number"}


@pytest.mark.parametrize(
    ("values", "about"),
    [
        ([1, 2], "whole number"),
        ([1, 2.5], "number"),
        ([5.0, 6.0], "number"),
        (["a", None], "text, or null"),
        ([None, None], "text, or null"),
        ([True, False], "true or false"),
        (["2024-02-29", "2024-03-01", "2023-12-31"], "date as YYYY-MM-DD"),
        (["2024-02-29", "2024-13-01", "2023-12-31"], "text"),
        (["29.02.2024", "1.3.2024", "31.12.2023"], "date as DD.MM.YYYY"),
        (["29/02/2024", "01/03/2024", "31/12/2023"], "date as DD/MM/YYYY"),
        (["02/29/2024", "01/03/2024", "12/31/2023"], "date as MM/DD/YYYY"),
        (["01/02/2024", "03/04/2024", "05/06/2024"], "text"),  # day or month first: nobody knows
        (["2024-02-29T10:00:00Z", "2024-02-29T10:00:00+01:00", "2024-03-01T00:00:00Z"], "time as YYYY-MM-DDThh:mm:ssZ"),
        (["kg"] * 8 + ["pcs"] * 8, 'one of "kg", "pcs"'),
        (["kg"] * 15 + ["pcs"], "text"),  # once is no choice
        ([str(n) for n in range(20)], "text"),
        ([["a"], []], "list of texts"),
        ([[], []], "list"),
        ([[1.5, 2], [3]], "list of numbers"),
        ([[{"n": 1}], [{"n": 2, "m": "x"}]], "list of objects"),
        ([1, "x"], "text or whole number"),
    ],
)
def test_types_are_found(tmp_path: Path, values: list[Any], about: str) -> None:
    dataset = prepared(rows_file(tmp_path, *({"json": {"x": value}} for value in values)))
    assert found_types(dataset) == {"x": about}
    root_of(dataset.splits["train"][0]["json_schema"])


def test_fields_that_are_sometimes_there_and_inner_objects(tmp_path: Path) -> None:
    rows = [
        {"json": {"no": 1, "by": {"name": "A", "city": "B"}}},
        {"json": {"no": 2, "note": "x", "by": {"name": "C"}}},
    ]
    dataset = prepared(rows_file(tmp_path, *rows, copies=2))
    record = dataset.record(DatasetConfig())
    assert [(one.name, one.present, one.objects) for one in record.fields or ()] == [
        ("no", 4, 4), ("note", 2, 4), ("by.name", 4, 4), ("by.city", 2, 4)
    ]  # fmt: skip
    assert record.system == dataset.splits["train"][0]["messages"][0]["content"]
    assert "- note: text; left out if the text does not say it\n- by: object\n  - name: text\n" in (record.system or "")


def test_types_that_disagree_are_told_with_a_place(tmp_path: Path) -> None:
    path = rows_file(tmp_path, *[{"json": {"total": n + 0.5}} for n in range(9)], {"json": {"total": "12,00"}})
    dataset = prepared(path)
    note = f"fields differ in type: 'total' is text in 1 row and a number in 9 rows (the first text: {path}:10)"
    assert note in dataset.notes
    assert found_types(dataset) == {"total": "text or number"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "t", "json": "sku: A1"}', "json is no JSON: it begins with 'sku: A1' (write an object, in braces)"),
        ('{"text": "t", "json": "{\\"a\\": 1"}', "json is not valid JSON"),
        ('{"text": "t", "json": "{\\"a\\": NaN}"}', "NaN is no number in JSON"),
        ('{"text": "t", "json": "{\\"a\\": 1, \\"a\\": 2}"}', "it has a name twice: a"),
        ('{"text": "t", "json": [{"a": 1}]}', "json is a list, and an answer is one object"),
        ('{"text": "t", "json": "[1]"}', "json is a list, and an answer is one object"),
        ('{"text": "t", "json": "12"}', "json is a number, and an answer is an object"),
        ('{"text": "t", "json": null}', "json is null, not an object"),
        ('{"text": "t", "json": {}}', "json is an object without fields"),
        ('{"text": "t", "json": ""}', "json is empty"),
        ('{"text": "t", "json": {"a": %s}}' % ("9" * 25), "a is a whole number of 25 digits (write it as text)"),
        ('{"text": "t", "json": {"a": %s}}' % ("9" * 5000), "a number of more than 4,300 digits (write it as text)"),
        (
            '{"text": "t", "json": "{\\"a\\": %s}"}' % ("9" * 5000),
            "a number of more than 4,300 digits (write it as text)",
        ),
        ('{"text": "t", "json": {"a": 1e999}}', "a number is NaN or infinite"),
        (f'{{"text": "t", "json": {{"a": {"[" * 90}1{"]" * 90}}}}}', "json is nested more than 64 levels deep"),
        ('{"text": "", "json": {"a": 1}}', "text is empty"),
        ('{"json": {"a": 1}}', "no field text"),
        ('{"text": "t"}', "no field json"),
    ],
    ids=range(18),
)
def test_what_is_no_object_is_one_line(tmp_path: Path, line: str, reason: str) -> None:
    path = rows_file(tmp_path, {"json": GIVEN}, line, {"json": GIVEN})
    with pytest.raises(UserError) as caught:
        prepared(path)
    assert str(caught.value).startswith(f"{path}:2: ") and reason in str(caught.value)
    assert "--fix skips them" in str(caught.value) and "\n" not in str(caught.value)
    assert len(prepared(path, fix=True).splits["train"]) == 2


def test_which_field_is_which_can_be_told(tmp_path: Path) -> None:
    two = rows_file(tmp_path, '{"one": "a", "two": "b", "out": {"x": 1}}', '{"one": "c", "two": "d", "out": {"x": 2}}')
    with pytest.raises(
        UserError, match=r"several fields hold text: one, two \(name the one to read: --column text=one\)"
    ):
        prepared(two)
    dataset = prepared(two, column="text=one")
    assert dataset.findings.unused == {"two": 2} and any("'out' read as json" in note for note in dataset.notes)
    objects = rows_file(tmp_path, '{"text": "a", "p": {"x": 1}, "q": {"y": 1}}', name="objects.jsonl")
    with pytest.raises(
        UserError, match=r"several fields hold objects: p, q \(name the one to learn: --column json=p\)"
    ):
        prepared(objects)
    assert answers(prepared(objects, column="json=p")) == ['{"x":1}']
    plain = rows_file(tmp_path, '{"text": "a", "x": 1, "y": "b"}', name="plain.jsonl")
    with pytest.raises(UserError, match=r"no field holds objects .*make the object of plain fields: --fields x,y\)"):
        prepared(plain)
    assert answers(prepared(plain, fields="x,y")) == ['{"x":1,"y":"b"}']
    with pytest.raises(UserError, match=r"--fields: no row has the field 'xx' \(did you mean x\?"):
        prepared(plain, fields="xx,y")
    with pytest.raises(UserError, match=r"--column: no row has the field 'jsn'"):
        prepared(plain, column="json=jsn")


def test_columns_of_a_table_are_typed_if_all_of_their_values_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        "line,no,zip,price,paid,odd,gone\nA,1,01067,1.50,true,12,\nB,2,10115,2,False,n/a,\nC,,80331,3.25,true,13,x\n"
        "D,4,20095,4,true,14,y\n", encoding="utf-8",
    )  # fmt: skip
    dataset = prepared(path, column="text=line", fields="no,zip,price,paid,odd,gone")
    assert answers(dataset)[0] == '{"no":1,"zip":"01067","price":1.5,"paid":true,"odd":"12","gone":null}'
    assert found_types(dataset) == {
        "no": "whole number, or null", "zip": "text", "price": "number", "paid": "true or false", "odd": "text",
        "gone": "text, or null",
    }  # fmt: skip
    note = f"'odd' stays text: 1 of 4 values are no numbers ('n/a' at {path}:3)"
    assert note in dataset.notes


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7), ("-0.5", -0.5), ("29.60", 29.6), ("1.2E+05", 120000.0), (" 3 ", 3), ("123456789012345", 123456789012345),
        ("007", None), ("12E4", None), ("1,000", None), ("+3", None), ("1234567890123456", None), ("0x1F", None), ("nan", None),
        ("1e+999", None), (".5", None), ("5.", None), ("٣", None), ("1_000", None),
    ],
)  # fmt: skip
def test_what_is_a_number_in_a_table(text: str, number: float | None) -> None:
    assert number_of(text) == number


def test_numbers_with_decimal_commas_stay_text_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("line;price\nA;3,50\nB;4\nC;\n", encoding="utf-8")
    dataset = prepared(path, column="text=line", fields="price")
    assert found_types(dataset) == {"price": "text, or null"}
    assert any(
        f"'price' stays text: its numbers have decimal commas ('3,50' at {path}:2)" in one for one in dataset.notes
    )


SCHEMA = {
    "type": "object",
    "properties": {
        "no": {"type": "integer", "minimum": 1, "description": "number of the order"},
        "state": {"enum": ["open", "paid"]},
        "due": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "by": {"$ref": "#/$defs/Person"},
    },
    "required": ["no", "state"],
    "$defs": {"Person": {"type": "object", "title": "P", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
}  # fmt: skip


def schema_file(folder: Path, schema: object) -> Path:
    path = folder / "schema.json"
    path.write_text(json.dumps(schema), encoding="utf-8")
    return path


def test_a_json_schema_orders_types_and_describes_the_fields(tmp_path: Path) -> None:
    row = {"json": {"by": {"name": "A"}, "state": "paid", "no": 7}}
    dataset = prepared(rows_file(tmp_path, row, copies=3), schema=schema_file(tmp_path, SCHEMA))
    assert set(answers(dataset)) == {'{"no":7,"state":"paid","by":{"name":"A"}}'}
    record = dataset.record(DatasetConfig(schema=tmp_path / "schema.json"))
    assert record.schema and record.schema_sha256 and record.json_schema
    assert '- no: whole number, at least 1 (number of the order)\n- state: one of "open", "paid"\n' in (
        record.system or ""
    )
    assert "- due: date as YYYY-MM-DD, or null; left out if the text does not say it" in (record.system or "")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"no": "7", "state": "paid"}, "no: text, not a whole number"),
        ({"no": 0, "state": "paid"}, "no: 0 is less than 1"),
        ({"no": 7}, "state: missing"),
        ({"no": 7, "state": "gone"}, 'state: "gone", which is none of "open", "paid"'),
        ({"no": 7, "state": "open", "due": "2024-02-30"}, 'due: "2024-02-30" is no date'),
        ({"no": 7, "state": "open", "by": {}}, "by.name: missing"),
        ({"no": 7, "state": "open", "by": {"name": "A", "x": 1}}, "by.x: not in the schema"),
        ({"no": 7, "state": "open", "vat": 19}, "vat: not in the schema"),
    ],
)
def test_a_row_that_does_not_fit_the_schema_is_told_with_path_and_reason(
    tmp_path: Path, row: dict, reason: str
) -> None:
    path = rows_file(tmp_path, {"json": {"no": 1, "state": "open"}}, {"json": row})
    with pytest.raises(UserError) as caught:
        prepared(path, schema=schema_file(tmp_path, SCHEMA))
    assert str(caught.value).startswith(f"{path}:2: it does not fit the schema: {reason}")
    assert len(prepared(path, schema=tmp_path / "schema.json", fix=True).splits["train"]) == 1


def _with(**parts: object) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": parts}}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ([], "it is no object"),
        ({"type": "array", "items": {}}, "it has no type"),
        ({"type": "array", "items": {"type": "string"}}, "it describes no object"),
        ({"type": "object"}, "it names no fields"),
        (_with(), "x: it has no type"),
        (_with(type="text"), "x: unknown type 'text'"),
        (_with(type="string", format="ipv4"), "x: format 'ipv4' is not supported"),
        (_with(type="number", multipleOf=2), "x: multipleOf is not supported"),
        (_with(type="array", items={"type": "string"}, uniqueItems=True), "x: uniqueItems is not supported"),
        (_with(oneOf=[{"type": "string"}]), "x: oneOf is not supported"),
        (_with(allOf=[{"type": "string"}]), "x: allOf is not supported"),
        (_with(type="object", patternProperties={}), "x: patternProperties is not supported"),
        (_with(type="object", additionalProperties={"type": "number"}), "x: additionalProperties is not supported"),
        (_with(type="object"), "x: an object without properties"),
        (_with(type="string", enum=[1]), "x: enum has 1, which is not of its type"),
        (_with(enum=[{"a": 1}]), "x: an enum of objects or lists"),
        (_with(type="string", pattern="("), "x: pattern is no regular expression"),
        (_with(type="integer", minimum="1"), "x: minimum is no number"),
        (
            _with(anyOf=[{"type": "string"}, {"type": "string", "format": "date"}]),
            "x: anyOf of two schemas of one type",
        ),
        ({**_with(**{"$ref": "#/$defs/N"}), "$defs": {"N": _with(**{"$ref": "#/$defs/N"})}}, "refers to itself"),
        (_with(**{"$ref": "#/$defs/Gone"}), "x: $ref '#/$defs/Gone' is not in its $defs"),
        ({**_with(type="string"), "required": ["y"]}, "required names 'y', which is not in properties"),
    ],
    ids=range(22),
)
def test_a_schema_with_something_unknown_is_refused_by_its_name(tmp_path: Path, schema: object, problem: str) -> None:
    with pytest.raises(UnknownSchema) as caught:
        root_of(schema)
    assert problem in str(caught.value)
    rows, path = rows_file(tmp_path, {"json": GIVEN}), schema_file(tmp_path, schema)
    with pytest.raises(UserError) as refused:
        prepared(rows, schema=path)
    assert str(refused.value) == f"--schema {path}: {caught.value}"


def test_a_schema_as_response_format_has_it() -> None:
    wrapped = {"type": "json_schema", "json_schema": {"name": "order", "strict": True, "schema": SCHEMA}}
    assert root_of(wrapped) == root_of(SCHEMA)
    assert system_message(root_of(wrapped)).startswith("Extract these fields")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", ":1: not JSON: "),
        (b"\xff", "not UTF-8 text"),
        (b'{"a": 1, "a": 2}', "it has a name twice"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_schema(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as caught:
        prepared(rows_file(tmp_path, {"json": GIVEN}), schema=path)
    assert str(caught.value).startswith(f"--schema {path}")


def test_names_that_are_data_are_refused(tmp_path: Path) -> None:
    rows = [{"json": {f"article {number} {n}": 1 for n in range(30)}} for number in range(10)]
    with pytest.raises(UserError, match="more than 200 different fields, so their names are data"):
        prepared(rows_file(tmp_path, *rows))


def test_flags_of_extract_have_no_effect_on_other_rows(tmp_path: Path) -> None:
    path = rows_file(tmp_path, {"completion": "x"}, copies=3)
    with pytest.raises(UserError, match="--fields has no effect with --type chat"):
        prepare(DatasetConfig(type_="chat", dataset_name=str(path), fields="a"), ROW_KINDS["chat"], print)
    with pytest.raises(UserError, match="--dialect has no effect with --type extract"):
        prepared(path, dialect="postgres")


def test_rows_of_extract_beside_others(tmp_path: Path) -> None:
    one = rows_file(tmp_path, {"json": GIVEN}, {"json": {"a": 2, "b": "y"}}, copies=3)
    other = rows_file(tmp_path, *({"prompt": f"p {n}", "completion": "c"} for n in range(6)), name="chat.jsonl")
    config = DatasetConfig(type_="extract", dataset_name=(str(one), f"chat:{other}"), **ALL)
    dataset = prepare(config, ROW_KINDS["extract"], print)
    kinds = [("json_schema" in row, row.get("type")) for row in dataset.splits["train"]]
    assert sorted(kinds) == [(False, "chat")] * 6 + [(True, None)] * 6 or len(kinds) == 12
    assert dataset.record(config).fields


def test_the_summary_has_the_fields_and_the_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = prepared(rows_file(tmp_path, {"json": GIVEN}, {"json": {"a": 2, "b": "y", "c": None}}, copies=3))
    preview.print_summary(DatasetConfig(type_="extract", **ALL), dataset)
    out = capsys.readouterr().out
    assert "  a  whole number\n" in out and "  c  text, or null (in 3 of 6)\n" in out
    assert "  | Extract these fields from the text." in out and "  | - a: whole number\n" in out


def test_the_record_is_read_again(tmp_path: Path) -> None:
    record = prepared(rows_file(tmp_path, {"json": GIVEN}, copies=3)).record(DatasetConfig())
    record.write(tmp_path / "dataset.json")
    again = DatasetRecord.read(tmp_path / "dataset.json")
    assert again.fields == record.fields and again.json_schema == record.json_schema and again.system == record.system


def test_lists_and_objects_in_the_cells_of_a_table_are_lists_and_objects(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    cells = ['"[{""code"": ""A1"", ""count"": 2}]"', "[]", "\"[{'code': 'B2', 'count': 1}]\""]
    some = ['"{""a"": 1}"', "{oops", '"{""a"": 2}"']
    lines = [f"Note {number},{cell},{other}" for number, (cell, other) in enumerate(zip(cells, some, strict=True))]
    path.write_text("\n".join(["note,items,odd", *lines]))
    dataset = prepared(path, column="text=note", fields="items,odd")
    found = [json.loads(answer) for answer in answers(dataset)]
    assert {"items": [{"code": "A1", "count": 2}], "odd": '{"a": 1}'} in found
    assert {"items": [{"code": "B2", "count": 1}], "odd": '{"a": 2}'} in found
    assert "'items': lists and objects written as text are read as lists and objects" in dataset.notes
    assert "'odd' stays text: 1 of 3 values are no list and no object" in dataset.notes
    lines = [f"Note {number} of the day,ABC,{number},x,y,z,7" for number in range(3)]
    path.write_text("\n".join(["note,code,count,d,e,f,g", *lines]))
    with pytest.raises(UserError, match=r"--column text=note --fields code,count,d,e,f,\.\.\."):
        prepared(path)
