"""A chat template is a program of somebody else: what does not come to an end, or grows without limit, is refused in a line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from finetune.errors import UserError
from finetune.models import template_check
from finetune.models.encoder import ChatEncoder
from finetune.models.templates import TEMPLATES, find_template

LOOP = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
ENDLESS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "in one operation": "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "a filter": "{{ lipsum(n=100000) }}",
    "a recursive macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a name that grows": "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "a multiplied text": "{{ 'x' * 10**11 }}",
    "a wide text": "{{ 'x' | center(3000000000) }}",
    "a chain of filters": "{{ messages " + "| tojson " * 60 + "}}",
    "much text": "{{ 'x' * 2000000 }}",
    "with many letters": "{% for m in messages %}"
    + "{% for c in m.content %}" * 5
    + "{% endfor %}" * 5
    + "{% endfor %}",
    "where answers follow": "{% if messages|length > 1 %}{{ 'x' * 10**11 }}{% endif %}",
    "for a prompt": "{% if add_generation_prompt %}{{ 'x' * 10**11 }}{% endif %}",
    "a long date": "{{ strftime_now('%Y' * 99999999) }}",
    "where tools are": "{% if tools %}{{ 'x' * 10**11 }}{% endif %}",
    "at a call": "{% for m in messages %}{% if m.tool_calls %}{{ 'x' * 10**11 }}{% endif %}{% endfor %}",
    "with a token": "{{ eos_token * 10**10 }}",
}
QUICK = ("loops", "a multiplied text", "much text", "where tools are")  # the others are of the same kind
CASES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.faults) for name in ENDLESS]


@pytest.mark.parametrize("name", CASES)
def test_a_template_without_an_end_is_refused(
    builtin_model: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_check, "_SECONDS", 1)
    path = tmp_path / "mine.jinja"
    path.write_text(ENDLESS[name] + LOOP)
    with pytest.raises(UserError) as refusal:
        ChatEncoder(builtin_model, find_template(str(path)))
    said = str(refusal.value)
    assert said.startswith("--template: the chat template ") and said.endswith("with --template, such as chatml)")
    assert refusal.value.exit_code == 2 and "\n" not in said


def test_the_check_renders_as_transformers_does() -> None:
    """What ends there must be what ends here."""
    template = (
        "{% set n = namespace(x=0) %}{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}\n"
        "    {% generation %}{{ m | tojson(indent=2) }}{% endgeneration %}\n{% set n.x = n.x + 1 %}{% endfor %}\n"
        "{{ n.x }}{{ dict(a=1) | tojson }}{{ strftime_now('%Y') }}{{ tools is none }}{{ bos_token }}{{ add_generation_prompt }}"
    )
    (wanted,), _ = render_jinja_template([template_check._CONVERSATIONS[2]], chat_template=template, bos_token="é<")
    assert template_check._longest((template, {"bos_token": "é<"})) >= len(wanted) > 1000
    compiled = template_check._environment().from_string(template)
    known = {"messages": template_check._CONVERSATIONS[2], "tools": None, "documents": None}
    assert compiled.render(**known, bos_token="é<", add_generation_prompt=False) == wanted


def test_a_template_of_any_length_is_not_read(builtin_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.jinja"
    path.write_text("{# " + "x" * 2_000_000 + " #}" + LOOP)
    with pytest.raises(UserError, match=r"has 1,000,001 characters or more; at most 1,000,000 are allowed"):
        ChatEncoder(builtin_model, find_template(str(path)))


def test_a_template_is_checked_once_and_ours_never(builtin_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(template_check.child, "run", lambda *arguments, **limits: asked.append(arguments) or 0)
    for template in (None, TEMPLATES["chatml"], "{# new #}" + LOOP, "{# new #}" + LOOP):
        ChatEncoder(builtin_model, template)
    assert len(asked) == 1


@pytest.mark.scripts
def test_ctrl_c_ends_the_check_at_once(builtin_model: Path, tmp_path: Path) -> None:
    code = (
        "from finetune.models import template_check\nprint('begun', flush=True)\n"
        f"template_check.demand_harmless({ENDLESS['loops']!r}, {{}}, 'x')"
    )
    begun = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdout=-1,
        stderr=-1,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert begun.stdout
    begun.stdout.readline()
    time.sleep(1)
    begun.send_signal(signal.SIGINT)
    start = time.monotonic()
    assert b"KeyboardInterrupt" in begun.communicate(timeout=30)[1]
    assert time.monotonic() - start < 3
