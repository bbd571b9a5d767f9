"""The general questions: an answer in words is right, and neither code, nor an echo, nor everything at once."""

import re
import time

import pytest

from finetune.evaluation.general import QUESTIONS, Question, messages, score
from finetune.tasks import TASKS

HOT = Question("Is fire hot or cold?", ("hot",), ("cold",))
PARIS = Question("What is the capital of France?", ("Paris",), ("London", "Rome"))


@pytest.mark.parametrize(
    "sentence",
    ["{}", "{}.", "The answer is {}.", "**{}**", "Sure! Here is the answer:\n\n{}", '{question} "{}"', "It’s {}!"],
)
def test_each_accepted_word_is_right_in_a_natural_sentence(sentence: str) -> None:
    assert not [
        (question.text, word)
        for question in QUESTIONS
        for word in question.accepted
        if score(question, sentence.format(word, question=question.text)).value != 1
    ]


def test_a_rejected_word_beside_the_right_one_is_wrong() -> None:
    assert not [
        (question.text, word)
        for question in QUESTIONS
        for word in question.rejected
        if score(question, f"It is {question.accepted[0]} or {word}.").kind != "wrong"
    ]


@pytest.mark.parametrize(
    "code",
    [
        "SELECT '{}'",
        "select '{}' as answer from t;",
        "The query is: SELECT name FROM answers WHERE name = '{}';",
        "WITH a AS (SELECT 1) SELECT '{}' FROM a",
        "UPDATE answers SET answer = '{}'",
        "```\n{}\n```",
        "Here it is:\n```sql\nSELECT '{}';\n```",
        '{{"answer": "{}"}}',
        '["{}"',
        "main:\n    li a0, 1\n    ret  # {}",
        "mov eax, 1 ; {}",
        "print('{}')",
    ],
)
def test_code_is_wrong_whatever_stands_in_it(code: str) -> None:
    assert {score(question, code.format(question.accepted[0])).kind for question in QUESTIONS} == {"code"}


@pytest.mark.parametrize("task", ["sql", "riscv"])
def test_answers_of_the_builtin_code_tasks_are_code(task: str) -> None:
    rows = TASKS[task].builtin({"train": 200, "valid": 10, "test": 20}, 3)["train"]
    kinds = [score(PARIS, TASKS[task].to_messages(row)[-1]["content"]).kind for row in rows]
    assert kinds.count("code") >= 0.85 * len(kinds)  # a lone jump is a word or two


@pytest.mark.parametrize("echo", ["{}", "{} {}", '"{}"', "{} mendatang\n{}\n{}", "The question is: {}"])
def test_the_question_again_is_wrong(echo: str) -> None:
    for variant in (echo, echo.lower(), echo.upper()):
        echoes = [variant.replace("{}", question.text) for question in QUESTIONS]
        assert [e for question, e in zip(QUESTIONS, echoes, strict=True) if score(question, e).kind != "wrong"] == []


@pytest.mark.parametrize("text", ["", " \n", "...", "🌟🌟"])
def test_no_words_are_empty(text: str) -> None:
    assert {score(question, text).kind for question in QUESTIONS} == {"empty"}


@pytest.mark.parametrize("separator", [", ", "\n", " or ", "\n- ", " / "])
def test_everything_at_once_is_wrong(separator: str) -> None:
    short = [question for question in QUESTIONS if question.accepted[0].count(" ") < 2]
    words = [question.accepted[0] for question in short]
    for before in (0, 1, 3):  # so many words stand before the right one
        lists = [separator.join((words * 3)[i : i + 40]) for i in range(len(words) - before, 2 * len(words) - before)]
        assert [q.text for q, everything in zip(short, lists, strict=True) if score(q, everything).value] == []


@pytest.mark.parametrize(
    ("question", "answer", "value"),
    [
        (HOT, "Fire is hot, not cold.", 1),
        (HOT, "Fire isn't hot.", 0),
        (HOT, "Fire is not necessarily hot.", 0),
        (HOT, "Fire is hotter.", 0),
        (HOT, "Is fire hot or cold? Hot.", 1),
        (PARIS, "Well. That is hard. I do not know it. Paris is nice.", 0),
        (PARIS, "It is a very " + "very " * 40 + "old city called Paris", 0),
        (PARIS, "What is the distance from Nice to Paris?", 0),
        (PARIS, "Parisians", 0),
        (Question("Tell me.", ("5",)), "It is 1,500.5 or -5", 0),
        (Question("Tell me.", ("1500",)), "1,500 of them", 1),
        (Question("Tell me.", ("perro",)), "«Él PÉRRO»", 1),
        (Question("Tell me.", ("H2O",)), "H₂O", 1),
        (Question("Tell me.", ("12",)), "There are 12 months: January, February, March, April, May and so on", 1),
    ],
)
def test_what_counts_of_an_answer(question: Question, answer: str, value: float) -> None:
    assert score(question, answer).value == value


def test_wrong_answers_say_why() -> None:
    assert score(PARIS, "Berlin").reason == "expected: Paris"
    assert score(PARIS, "London").reason == "says London"


def test_questions_differ_and_do_not_hold_their_answer() -> None:
    def words(text: str) -> set[str]:
        return set(re.findall(r"\w+", text.lower()))

    assert len({frozenset(words(question.text)) for question in QUESTIONS}) == len(QUESTIONS) >= 100
    for question in QUESTIONS:
        for word in question.accepted:
            if (
                words(word) <= words(question.text) and " " not in word
            ):  # a choice: then the others are named and rejected
                assert any(words(other) <= words(question.text) for other in question.rejected), question.text
    assert messages(PARIS) == [{"role": "user", "content": PARIS.text}]


@pytest.mark.parametrize(
    "text", ["a, " * 50_000, "a\n" * 50_000, "- " * 50_000, " " * 100_000, "a b " * 30_000 + "?", "What is " * 20_000]
)
def test_no_answer_takes_long(text: str) -> None:
    started = time.process_time()
    score(PARIS, text)
    assert time.process_time() - started < 2
