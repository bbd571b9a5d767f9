"""Scores, lengths and likeness of texts in scripts other than Latin."""

import unicodedata

import pytest

from finetune.dataset.preflight import likeness
from finetune.tasks.alpaca.task import score as alpaca_score
from finetune.tasks.chat import last_number, score
from finetune.tasks.text_overlap import repetition, rouge_l, token_f1
from finetune.tasks.words import words

TEXTS = {
    "Chinese": ("今天天气很好,我们去公园散步吧。", "今天天气不好,我们在家看书吧。"),
    "Japanese": ("東京は日本の首都です。", "京都は古い町です。"),
    "Thai": ("กรุงเทพเป็นเมืองหลวงของประเทศไทย", "เชียงใหม่อยู่ทางเหนือของประเทศไทย"),
    "Russian": ("Сегодня хорошая погода в городе.", "Завтра хорошая погода на море."),
    "Arabic": ("الطقس جميل اليوم في المدينة", "الطقس بارد اليوم في الجبل"),
    "Hindi": ("आज मौसम बहुत अच्छा है", "कल मौसम बहुत खराब था"),
    "Greek": ("Ο καιρός είναι καλός σήμερα.", "Ο καιρός ήταν κακός χθες."),
    "Korean": ("오늘 날씨가 아주 좋습니다", "내일 날씨가 아주 나쁩니다"),
    "Burmese": ("ရန်ကုန်သည် မြို့ကြီးဖြစ်သည်", "မန္တလေးသည် မြို့ကြီးဖြစ်သည်"),
}


@pytest.mark.parametrize("measure", [rouge_l, token_f1])
@pytest.mark.parametrize("script", TEXTS)
def test_a_text_is_like_itself_and_less_like_another(script: str, measure: object) -> None:
    same, other = TEXTS[script]
    assert measure(same, same) == 1
    assert 0 < measure(same, other) < 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("हिन्दी में", ["हिन्दी", "में"]),  # with the marks on its letters
        ("می\u200cخواهم", ["می\u200cخواهم"]),  # with the joiner that Persian writes
        ("cafe\u0301 CAFÉ", ["café", "café"]),
        ("学习Python3。", ["学", "习", "python3"]),
        ("a_b, don't", ["a", "b", "don", "t"]),  # as the package rouge-score
        ("👨\u200d👩\u200d👧 !?", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_texts_without_words_are_compared_as_they_are() -> None:
    assert (rouge_l("👍", "👍"), token_f1("+", "+"), rouge_l("👍", "👎"), token_f1("", "")) == (1, 1, 0, 0)


def test_repetition_of_a_script_without_blanks() -> None:
    assert repetition("你好世界" * 10) > 0.8 > 0.0 == repetition("今天天气很好我们去公园散步吧")


@pytest.mark.parametrize(
    ("a", "b", "alike"),
    [
        ("What is 7 + 2?", "what is  7 + 2", True),
        ("7 + 2", "7 - 2", False),
        ("7 * 2", "7 / 2", False),
        ("x < 3", "x > 3", False),
        ("Explain C", "Explain C++", False),
        ("Explain C", "Explain C#", False),
        ("It costs $5", "It costs €5", False),
        ("add -5", "add 5", False),
        ("a well-known song", "A well known song!", True),
        ("「東京」とは?", "東京とは", True),
        ("कि", "की", False),
        ("cafe\u0301", "Café", True),
        ("👍", "👎", False),
    ],
)
def test_prompts_that_differ_by_a_sign_are_not_alike(a: str, b: str, alike: bool) -> None:
    keys = [likeness([{"role": "user", "content": text}]) for text in (a, b)]
    assert (keys[0] == keys[1]) is alike


def test_a_long_answer_in_chinese_is_not_expected_word_for_word() -> None:
    row = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": TEXTS["Chinese"][0]}]}
    assert score(row, "不知道").value is None
    row["messages"][1]["content"] = "e\u0301te"
    assert score(row, "\u00e9te").value == 1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("所以是４２。", 42),
        ("الجواب ٤٢", 42),
        ("उत्तर ४२ है", 42),
        ("it is \u221242", -42),
        ("１，２３４", 1234),
        ("x² is what?", None),
    ],
)
def test_numbers_in_other_digits(text: str, number: float | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize("script", TEXTS)
def test_the_same_answer_is_right_however_it_is_composed(script: str) -> None:
    answer = TEXTS[script][0]
    for other in (
        unicodedata.normalize("NFD", answer),
        f" {answer} ",
        f"\u300c{answer}\u300d" if script == "Japanese" else answer,
    ):
        assert alpaca_score({"output": answer}, other).value == 1
    row = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]}
    assert score(row, unicodedata.normalize("NFD", answer)).value == 1
    assert alpaca_score({"output": answer}, TEXTS[script][1]).value < 1


@pytest.mark.parametrize("script", TEXTS)
def test_prompts_that_differ_in_composition_alone_are_alike(script: str) -> None:
    one, other = TEXTS[script]
    keys = [likeness([{"role": "user", "content": text}]) for text in (one, unicodedata.normalize("NFD", one), other)]
    assert keys[0] == keys[1] != keys[2]
