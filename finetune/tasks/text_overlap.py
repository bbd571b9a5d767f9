"""How much of a reference text an answer repeats: by its words, and by their order."""

import string
from collections import Counter
from collections.abc import Sequence

from finetune.tasks.words import pieces, plain, without_punctuation, words

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)  # Unicode takes + and $ for signs
_LONGEST = 4000  # words of each text that are compared: time grows with the product of the lengths


def token_f1(reference: str, answer: str) -> float:
    """The overlap of two texts as bags of words, 0 to 1 (SQuAD; Rajpurkar et al. 2016, arXiv 1606.05250); 1 for texts that have
    no words and are the same."""
    expected, said = _bag(reference), _bag(answer)
    if not expected and not said:
        return float(plain(reference) == plain(answer) != "")
    return 2 * (expected & said).total() / max(1, expected.total() + said.total())


def rouge_l(reference: str, answer: str) -> float:
    """F1 of the longest common subsequence of the words, 0 to 1 (Lin 2004, section 3); 1 for texts that have no words and are
    the same."""
    expected, said = words(reference), words(answer)
    if not expected and not said:
        return float(plain(reference) == plain(answer) != "")
    return overlap_in_order(expected, said)


def overlap_in_order(expected: Sequence[str], said: Sequence[str]) -> float:
    """F1 of the longest common subsequence of two lists of words, 0 to 1; of long ones, of their beginnings."""
    from rapidfuzz.distance import LCSseq

    expected, said = expected[:_LONGEST], said[:_LONGEST]
    return 2 * LCSseq.similarity(expected, said) / max(1, len(expected) + len(said))


def repetition(text: str) -> float:
    """The share of the text's runs of four words that came before, 0 to 1 (seq-rep-4; Welleck et al., arXiv 1908.04319)."""
    found = pieces(text)
    runs = [tuple(found[at : at + 4]) for at in range(len(found) - 3)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _bag(text: str) -> Counter[str]:
    found = pieces(without_punctuation(text.translate(_NO_PUNCTUATION)))
    return Counter(word for word in found if word not in ("a", "an", "the"))
