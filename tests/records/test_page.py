"""docs/records.md says what the records hold."""

import pytest

from records_page import PAGE, comments, page, tables


def test_page_is_that_of_the_records() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "renew it: python tests/records_page.py"


@pytest.mark.parametrize("kind", tables())
def test_every_key_is_described(kind: type) -> None:
    assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}("), "no docstring"
    assert not [name for name, comment in comments(kind).items() if not comment and name not in ("FORMAT", "MADE_BY")]
