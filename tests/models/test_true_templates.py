"""The chat templates of real models: what is trained with each is what the model is asked with, and what it learns is judged.

Their texts come from an installed trl, and are not copied here; without it these tests are skipped. Run by make test-models.
"""

from importlib.util import find_spec
from pathlib import Path

import pytest

import learned_answers
from template_table import table

pytestmark = pytest.mark.models
# templates of images, which have no place for a text alone; and one whose calls are XML of its own
NO_CHAT = ("idefics3", "smolvlm", "llava_next")
NOT_READ = {"muse_glimmer": ["tools"]}


@pytest.fixture(scope="module")
def templates() -> Path:
    found = find_spec("trl")
    folder = Path(found.submodule_search_locations[0]) / "chat_templates" if found else None
    if folder is None or not folder.is_dir():
        pytest.skip("the texts of the templates come with trl (run: make setup-torch)")
    return folder


def test_every_template_is_trained_as_it_asks(builtin_model: Path, templates: Path) -> None:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(templates.glob("*.jinja"))}
    texts = {name: text for name, text in texts.items() if not name.endswith("_training")}
    lines = table(builtin_model, texts)
    assert len(lines) >= 40
    assert {line.name: line.wrong for line in lines if line.wrong} == NOT_READ
    assert [line.name for line in lines if line.note.startswith("refused")] == sorted(NO_CHAT)


@pytest.mark.parametrize("name", learned_answers.NAMES)
def test_an_answer_that_was_learned_is_right(templates: Path, name: str) -> None:
    (found,) = learned_answers.table(templates, (name,))
    assert (found.base, found.tuned, found.of, found.stopped) == (0, 18, 18, 1.0)
