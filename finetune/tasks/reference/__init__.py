"""An answer against a reference text: what must be the same in it (numbers, code, structure), and how near the rest comes."""

from finetune.tasks.reference.judge import KIND_WORDS, MALFORMED, compared, has_form, measure

__all__ = ["KIND_WORDS", "MALFORMED", "compared", "has_form", "measure"]
