"""An answer against a reference text: numbers, code and structure have to be right before words count."""

import time

import pytest

from finetune.tasks.alpaca.task import ALPACA, score
from finetune.tasks.reference import has_form

INVOICE = '{"sku": "A-7", "quantity": 5, "unit_price": 29.61, "total": 148.05}'
ADD = "def add(a, b):\n    return a + b"
SHUFFLED = "server:\n  hosts:\n    - one\n  port: 8080"
CONFIG = "server:\n  port: 8080\n  hosts:\n    - one"
PAGE = '<p class="a">Hello <b>5</b></p>'
TWO_HOSTS = "hosts:\n  - one\n  - two\nport: 8080"
SENTENCE = "The meeting begins at 14:30 on 12 March 2024."

# reference, answer, and the score: a number, or two between which it lies
CASES = [
    # numbers
    ("5", "5.0", 1),
    ("5", "5,0", 1),
    ("5", "6", 0),
    ("5", "", 0),
    ("-5", "5", 0),
    ("-5", "\u22125", 1),
    ("-5", "\u20135", 1),
    ("-5", "minus five", (0.4, 1)),
    ("148.05", "14805", 0),
    (".5", "5", 0),
    (".5", "0.50", 1),
    ("1,234", "1234", 1),
    ("1,234", "1.234", 0),
    ("1.234,5", "1234.5", 1),
    ("1,234.5", "1.234,5", 1),
    ("Das kostet 1.234,50 Euro und 2.000 Euro.", "Das kostet 1234,50 Euro und 2000 Euro.", 1),
    ("1'234.50", "1234.5", 1),
    ("12 and 34", "34 and 12", 0),
    ("3 to 5", "3-5", (0.5, 1)),
    ("3\u20135", "3-5", 1),
    ("3-5", "5-3", 0),
    ("1,5", "1, 5", 1),
    ("1, 2, 3", "1,2,3", 1),
    ("50%", "50 %", 1),
    ("50%", "50 percent", 1),
    ("50%", "50", 0),
    ("50%", "5%", 0),
    ("6.02e23", "6.02 x 10^23", 1),
    ("6.02e23", "6.02 × 10²³", 1),
    ("6.02e23", "6.02e22", 0),
    ("1e-5", "0.00001", 1),
    ("3 million", "3,000,000", 1),
    ("007", "7", 0),
    ("007", "007", 1),
    ("Python 3.10", "Python 3.1", 0),
    ("The price is 3.10", "The price is 3.1", 1),
    ("v1.10.2", "v1.1.2", 0),
    ("v1.10.2", "1.10.2", 1),
    ("192.168.0.1", "192.168.0.10", 0),
    ("+49 170 1234567", "+49-170-1234567", 1),
    ("+49 170 1234567", "+49 170 1234576", 0),
    ("555-1234", "555-1243", 0),
    # telephone numbers
    ("030 1234567", "030 123 45 67", 1),
    ("030 1234567", "030/1234567", 1),
    ("(030) 1234567", "0301234567", 1),
    ("030 1234567", "030 1234576", 0),
    ("Call 0170 123 4567 today.", "Call 0170-1234567 today.", 1),
    ("(555) 123-4567", "555-123-4567", 1),
    ("555-123-4567", "555.123.4567", 1),
    ("555-123-4567", "555-123-4576", 0),
    ("05 06 2024", "05 06 2025", 0),
    ("12 34", "1234", (0, 0.99)),
    # fractions in a character
    ("1/2", "\u00bd", 1),
    ("\u00bd", "1/2", 1),
    ("1\u00bd cups", "1 1/2 cups", 1),
    ("1\u00bd cups", "11/2 cups", 0),
    ("\u00be", "1/4", 0),
    ("1\u20442", "1/2", 1),
    # a sentence around a number
    ("42", "The answer is 42.", 1),
    ("42", "There are forty-two of them in the box, so the answer is 42.", (0, 0.99)),
    ("42", "The answer is 41.", 0),
    ("42", "The answer is not 42.", (0, 0.99)),
    ("42", "It isn't 42.", (0, 0.99)),
    ("42", "It is about 42.", (0, 0.99)),
    ("42", "Is it 42?", (0, 0.99)),
    ("42", "The answer is 42.\nOr something else.", (0, 0.99)),
    ("42", "7 times 6 is 42.", 0),
    ("5 kg", "It weighs 5 kilograms.", 1),
    ("5 kg", "It weighs 5.", (0, 0.99)),
    ("5 kg", "It weighs 5 g.", 0),
    ("90", "It takes 90 minutes.", 1),
    ("It takes 90 minutes.", "90", (0, 0.99)),
    ("5 kg", "5kg", 1),
    ("5 kg", "5 g", 0),
    ("5 kg", "5 kilograms", 1),
    ("5 kg", "5", (0.3, 0.9)),
    ("$5", "5 dollars", 1),
    ("$5", "€5", 0),
    ("seven", "7", 1),
    ("There are 21 of them", "There are twenty-one of them", 1),
    ("There are five apples", "There are six apples", 0),
    ("Cats are one of many animals", "Cats are among many animals", (0.5, 1)),
    ("5 + 3", "5 - 3", 0),
    ("5 + 3", "5 / 3", 0),
    ("5 x 3", "5 * 3", 1),
    ("x > 5", "x < 5", 0),
    ("2**3", "2^3", 1),
    ("H2O", "H3O", 0),
    ("1st", "2nd", 0),
    ("٣", "3", 1),
    ("one", "1", 1),
    ("one", "2", 0),
    ("10^3", "1000", 1),
    ("10³", "1,000", 1),
    ("10^3", "10^4", 0),
    ("5k", "5000", 1),
    ("1 000 000", "1000000", 1),
    ("f(x) = 2x + 1", "f(x) = 2x - 1", 0),
    ("f(x) = 2x - 1", "f(x) = 2x + 1", 0),
    ("5 - 10 people", "5-10 people", 1),
    ("$5 million", "$5 billion", 0),
    ("ISBN 0-306-40615-2", "ISBN 0-306-40651-2", 0),
    ("https://a.example/p?id=1", "https://a.example/p?id=2", 0),
    ("价格是5元", "价格是6元", 0),
    # dates and times
    ("2024-03-12", "2024-12-03", 0),
    ("2024-03-12", "12 March 2024", (0, 1)),
    ("12.03.2024", "2024-03-12", 1),
    ("03/04/2024", "04/03/2024", 0),
    (SENTENCE, SENTENCE.replace("12 March 2024", "March 12, 2024"), 1),
    (SENTENCE, SENTENCE.replace("14:30", "2:30 pm"), 1),
    (SENTENCE, SENTENCE.replace("14:30", "14:03"), 0),
    (SENTENCE, SENTENCE.replace("12 March", "21 March"), 0),
    (SENTENCE, "On 12 March 2024 there is one.", 0),
    # words beside numbers
    ("The total is 12.50 for 3 items", "the total is 12.5 for 3 items.", 1),
    ("The total is 12.50 for 3 items", "For 3 items it is 12.50", 0),
    ("The total is 12.50 for 3 items", "It costs 12.50 for 3 items", (0.5, 0.99)),
    ("42", "The answer is 42, not 41.", 0),
    ("1. cut 2 pears\n2. mix", "- cut 2 pears\n- mix", 1),
    ("Take **5** of them", "Take 5 of them", 1),
    ("Put {name} there", "Put name there", 0),
    ("Use `ls -la` to list files", "Use ls -la to list files", 1),
    ("Use `ls -la` to list files", "Use `ls -l` to list files", 0),
    # JSON
    (INVOICE, INVOICE, 1),
    (INVOICE, '{"total": 148.050, "unit_price": 29.61, "quantity": 5.0, "sku": "A-7"}', 1),
    (INVOICE, f"```json\n{INVOICE}\n```", 1),
    (INVOICE, f"Here it is:\n```\n{INVOICE}\n```\nAnything else?", 1),
    (f"```json\n{INVOICE}\n```", INVOICE, 1),
    (INVOICE, f"{INVOICE}\nI hope this helps!", 0),
    (INVOICE, INVOICE.replace("29.61", "2961"), 0),
    (INVOICE, INVOICE.replace("148.05", "5").replace(": 5,", ": 148.05,"), 0),
    (INVOICE, INVOICE.replace("148.05", "-148.05"), 0),
    (INVOICE, INVOICE.replace("148.05", '"148.05"'), 0),
    (INVOICE, INVOICE.replace("148.05}", "148.05"), 0),
    (INVOICE, INVOICE.strip("{}"), 0),
    (INVOICE, INVOICE.replace("148.05}", "148.}"), 0),
    (INVOICE, INVOICE.replace('"sku": "A-7", ', ""), 0),
    (INVOICE, INVOICE.replace("}", ', "note": null}'), 0),
    ("[1, 2, 3]", "[1,2,3]", 1),
    ("[1, 2, 3]", "1, 2, 3", 0),
    ("[1, 2, 3]", "[3, 2, 1]", 0),
    ("[true]", "[1]", 0),
    ('{"a": 1}\n{"a": 2}', '{"a":1}\n{"a":2.0}', 1),
    ('{"a": 1}', '{"a": 1, "a": 2}', 0),
    # code
    (ADD, ADD, 1),
    (ADD, f"```python\n{ADD}\n```", 1),
    (ADD, "def add(a, b):\n  return a+b\n", 1),
    (ADD, ADD.replace("+", "-"), 0),
    (ADD, ADD.replace("\n    ", "\n"), 0),
    (ADD, ADD.replace("return", "print"), 0),
    ("print('hi')", 'print("hi")', 1),
    ("print('hi')", "print('hi'", 0),
    (CONFIG, CONFIG.replace("  ", "    "), 1),
    (CONFIG, CONFIG.replace("8080", "8081"), 0),
    (CONFIG, SHUFFLED, 1),
    (CONFIG, f"```yaml\n{SHUFFLED}\n```", 1),
    (CONFIG, SHUFFLED.replace("8080", "8081"), 0),
    (CONFIG, SHUFFLED.replace("8080", "'8080'"), 0),
    (CONFIG, f"{SHUFFLED}\n  port: 8080", 0),
    (TWO_HOSTS, "port: 8080\nhosts:\n  - one\n  - two", 1),
    (TWO_HOSTS, "port: 8080\nhosts:\n  - two\n  - one", 0),
    (TWO_HOSTS, "port: 8080\nhosts: [one, two]", 1),
    ("version: 3.10\nname: a", "name: a\nversion: 3.1", 0),
    ("a: &x [1]\nb: *x", "b: *x\na: &x [1]", (0, 1)),
    (CONFIG, CONFIG.replace("  hosts", "hosts"), 0),
    (PAGE, PAGE.replace("<b>", "\n<b>"), 1),
    (PAGE, PAGE.replace("</b>", ""), 0),
    ("grep -rn 'todo' src | wc -l", "$ grep -rn 'todo' src | wc -l", 1),
    ("rm -rf build", "rm -r build", 0),
    ("SELECT a FROM t WHERE b = 'X'", "select a from t where b = 'X'", 1),
    ("SELECT a FROM t WHERE b = 'X'", "SELECT a FROM t WHERE b = 'x'", 0),
    # words alone are graded as before
    ("The deep blue.", "a pale blue!", 0.5),
    ("The deep blue.", "blue deep", 0.99),
    ("The deep blue.", "the deep BLUE", 1),
    ("Yes", "No", 0),
]


@pytest.mark.parametrize(("reference", "answer", "expected"), CASES)
def test_what_an_answer_is_worth(reference: str, answer: str, expected: float | tuple[float, float]) -> None:
    found = score({"output": reference}, answer)
    least, most = expected if isinstance(expected, tuple) else (expected, expected)
    assert found.value is not None and least - 1e-9 <= found.value <= most + 1e-9, found
    assert score({"output": reference}, reference).value == 1.0
    assert found.kind in ALPACA.kind_words or found.kind == "ok"


LONG = "The recipe takes 3 eggs and a little milk, then more of both. " * 8
PROGRAM = "\n".join(f"def f{i}(a):\n    return a + {i}" for i in range(9))


@pytest.mark.parametrize("reference", [LONG, PROGRAM, f"```python\n{PROGRAM}\n```"])
def test_a_long_reference_with_numbers_or_code_judges_nothing_but_itself(reference: str) -> None:
    assert score({"output": reference}, reference).value == 1.0
    for answer in ("Take 4 eggs.", reference.replace("3", "4").replace("+", "-")):
        found = score({"output": reference}, answer)
        assert (found.value, found.kind) == (None, "long_reference") and "can be right too" in found.reason


def test_long_texts_without_numbers_are_graded_by_their_words() -> None:
    text = "A long walk begins with a single step, and two of us know it well. " * 9
    assert 0.5 < score({"output": text}, text.replace("long", "short")).value < 1


def test_the_reason_names_the_place() -> None:
    assert "total is 14805, not 148.05" in score({"output": INVOICE}, INVOICE.replace("148.05", "14805")).reason
    assert "quantity is missing" in score({"output": INVOICE}, INVOICE.replace('"quantity": 5, ', "")).reason
    assert score({"output": "5 kg"}, "5 g").reason == "expected 5 kg, found 5 g"


def test_only_json_has_a_form() -> None:
    assert has_form(INVOICE) and has_form("```json\n[1]\n```") and not has_form(ADD) and not has_form("Sure: 5")
    assert score({"output": INVOICE}, "no").parts["valid JSON"] == 0.0
    assert score({"output": INVOICE}, "{}").parts["valid JSON"] == 1.0


@pytest.mark.parametrize(
    "prose",
    [
        "Find the bug.", "Make a cake", "sort the list", "Return the book to the library.", "With great power comes little.",
        "public health (NHS)", "class action (lawsuit)", "For dinner: soup, bread.", "A; B; and C.", "Select one of them.",
        "git is a tool for versions.", "Name: Bob\nJob: baker", "- apples\n- pears\n- plums",
    ],
)  # fmt: skip
def test_prose_is_not_taken_for_code(prose: str) -> None:
    found = score({"output": prose}, f"Well, {prose}")
    assert found.kind == "partial" and found.value


@pytest.mark.parametrize(
    "answer",
    [
        "9" * 100_000, "0," * 50_000, "1" + ",111" * 25_000, "-" * 100_000, "`" * 100_000, "```\n" * 25_000, "'\\" * 50_000,
        "[" * 100_000, '{"a":' * 20_000, "a" * 100_000, "a." * 50_000, "a@" * 50_000, "one " * 25_000, "1e999999999", "1e",
        "５" * 9, "²³", "5 x 10^" + "9" * 50, "\ud800", "<" * 100_000, "1:" * 50_000, "+1" * 50_000, "hundred " * 12_000,
    ],
    ids=lambda answer: repr(answer[:8]),
)  # fmt: skip
def test_any_text_is_an_answer_in_little_time(answer: str) -> None:
    answer = answer[:25_000]  # more than is read of it
    started = time.process_time()
    assert score({"output": answer}, answer).value == 1.0
    for reference in ("5 kg", INVOICE, ADD, "Use `ls -la` 3 times"):
        assert score({"output": reference}, answer).value == 0.0
    assert time.process_time() - started < 5
