"""The pages tell the truth: links lead somewhere, command lines parse, flags exist, the map shows the rooms."""

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from finetune import scripts
from finetune.__main__ import COMMANDS
from finetune.settings import command_line, conflicts
from finetune.settings.config import SECTIONS
from finetune.settings.fields import flag, flags_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks" / "README.md"]
GENERATED = ("flags.md", "records.md")
CONFIGS = {"test_finetuned" if name == "test" else name: config for name, config in SECTIONS.items()}

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:\S*/)?(dataset|train|test_finetuned|benchmark)\.py$")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# flags of mlx-lm, mlx.launch, pip, git and the commands of tests/, which the pages name too
OTHERS = {
    "--write",
    "--export-gguf",
    "--mask-prompt",
    "--hosts",
    "--prompt",
    "--port",
    "--save-path",
    "--chat-template",
}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[str]:
    for markdown, html in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if not (target := markdown or html).startswith(("https:", "http:")):
            yield target


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of every command line in the code of a page, in blocks and inline; comments and prompts go."""
    inline = re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    blocks = [code for language, code in BLOCK.findall(text) if language in ("", "sh", "bash")]
    for line in [*inline, *re.sub(r"\\\n\s*", " ", "\n".join(blocks)).splitlines()]:
        if "python" not in line and "launch" not in line:
            continue
        command, *_ = line.removeprefix("$ ").split("  ")  # in a help text, what it is for stands behind it
        try:
            yield shlex.split(command, comments=True)
        except ValueError:  # a line of output with a single quote in it
            continue


def configured(page: Path) -> Iterator[tuple[str, list[str]]]:
    """What a page tells its reader to run: a script or a command of ``python -m finetune``, and the flags."""
    for words in command_lines(page.read_text(encoding="utf-8")):
        for at, word in enumerate(words):
            if found := COMMAND.match(word):
                yield found[1], words[at + 1 :]
            elif word == "finetune" and words[at - 1 : at] == ["-m"] and words[at + 1 :]:
                yield words[at + 1], words[at + 2 :]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name(page)}: {target}"
        assert not anchor or anchor in anchors(file), f"{name(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_parse(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, argv in configured(page):
        if command in CONFIGS:
            config, choices = CONFIGS[command], scripts.CHOICES
        elif command == "completion" or not argv:  # a command without flags is its name in a sentence
            assert command in {*COMMANDS, "completion"}
            continue
        else:
            module = import_module(COMMANDS[command])
            config, choices = module.Config, getattr(module, "CHOICES", None)

        def main(_: object) -> None:
            pass

        with pytest.raises(SystemExit) as end:
            command_line.run(main, config, choices=choices, prepare=check, argv=argv)
        assert end.value.code == 0, f"{name(page)}: {command} {shlex.join(argv)}: {capsys.readouterr().err}"


def check(config: object) -> None:
    if type(config) in CONFIGS.values():
        conflicts.check(config)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "flags.md"][:-1], ids=name)
def test_flags_exist(page: Path) -> None:
    configs = [*CONFIGS.values(), *(import_module(module).Config for module in COMMANDS.values())]
    known = {flag(field.name) for config in configs for field in flags_of(config)}
    known |= {flag(f"no_{field.name}") for config in configs for field in flags_of(config)} | {"--help", "--version"}
    of_others = re.compile(
        r"(pg_dump|mysqldump|xcode-select|mlx_lm\.\w+|accelerate|pip|git|mlx\.launch|python tests/[\w/]+\.py) [^`\n]*"
    )
    text = of_others.sub("", page.read_text(encoding="utf-8"))
    assert set(FLAG.findall(text)) <= known | OTHERS


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_settings_files_are_read(page: Path, tmp_path: Path) -> None:
    for language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "yaml":
            path = tmp_path / "run.yml"
            path.write_text(code)
            for config in CONFIGS.values():
                layers = scripts.layers_of(config)({"config": str(path)})
                command_line.build(config, [("flag", {"config": str(path)}), *layers], scripts.CHOICES)


def test_the_map_shows_the_rooms_and_what_is_in_them() -> None:
    block = next(code for _, code in BLOCK.findall(README.read_text(encoding="utf-8")) if code.startswith("dataset.py"))
    shown = dict(re.findall(r"^  (\S+) +(\S.*)$", block, re.MULTILINE))
    package = ROOT / "finetune"
    rooms = {f"{path.name}/" for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set(shown) == rooms | {path.name for path in package.glob("[!_]*.py")}
    for room, topic in shown.items():
        path = package / room / "__init__.py" if room.endswith("/") else package / room
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert docstring.casefold().startswith(topic.casefold()), f"{name(path)} begins with another topic than README"


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 170


def test_every_page_is_linked_and_begins_with_a_command() -> None:
    linked = {(page.parent / target.partition("#")[0]).resolve() for page in PAGES for target in links(page)}
    for page in (ROOT / "docs").rglob("*.md"):
        assert page in linked, f"nothing links to {name(page)}"
        if page.name not in (*GENERATED, "README.md"):
            assert re.match(r"# .*\n\n```sh\n", page.read_text(encoding="utf-8")), f"{name(page)}: no command on top"


def test_the_test_commands_are_in_the_readme() -> None:
    text = README.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert {"test", "test-torch"} <= set(re.findall(r"`make ([a-z-]+)`", text))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    for path in re.findall(r"`((?:finetune|tests|benchmarks|docs)/[\w./*-]*)`", page.read_text(encoding="utf-8")):
        assert "NAME" in path or any(ROOT.glob(path)), f"{name(page)}: {path}"
