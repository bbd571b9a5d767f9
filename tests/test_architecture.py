"""The layout holds: rooms, the order of their imports, sizes; scripts stay short and --help imports nothing heavy."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "finetune"
SCRIPTS = ("dataset", "train", "test_finetuned", "benchmark")
LAYERS = [  # from the top; a room imports from the layers below its own, never from a room beside it
    ("commands",),
    ("scripts",),
    ("benchmark", "training", "dataset", "export"),
    ("evaluation",),
    ("report", "rollouts", "backends"),
    ("methods",),
    ("tasks",),
    ("models",),
    ("settings",),
    ("records",),
    ("terminal",),
    ("errors", "signals"),
]
FILES = ("scripts", "terminal", "errors", "signals")  # the parts that are one module, not a folder
GROUND = ("settings", "records", "terminal", "errors", "signals")  # what everything may use
DEPTH = {part: depth for depth, parts in enumerate(LAYERS) for part in parts}
MOST_LINES = {"function": 60, "module": 300}
MOST_UNTYPED = {"dict[str, Any]": 25, "ModuleType": 0, "trainer: Any": 0}
TOP = -1  # the four scripts and python -m finetune

SOURCES = [
    *(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"),
    *(ROOT / f"{script}.py" for script in SCRIPTS),
]


def part_of(path: Path) -> str | None:
    """The room, or the module beside the rooms, that a file belongs to; None for what stands above all of them."""
    part = path.relative_to(PACKAGE).with_suffix("").parts[0] if path.is_relative_to(PACKAGE) else None
    return None if part == "__main__" else part


def imported_parts(path: Path) -> set[str]:
    """The parts of this project that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "finetune":
            names |= {f"finetune.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return {name.split(".")[1] for name in names if name.startswith("finetune.")} - {"__version__"}


def test_nothing_but_the_rooms_stands_in_the_package() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert folders == set(DEPTH) - set(FILES)
    assert files == {"__init__.py", "__main__.py", *(f"{name}.py" for name in FILES)}


def test_the_tests_mirror_the_rooms() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders - {"faults", "model_matrix"} == set(DEPTH) - set(FILES)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path: Path) -> None:
    own = part_of(path)
    assert own is None or own in DEPTH, f"{own} has no place in LAYERS"
    for part in imported_parts(path) - {own}:
        assert part in DEPTH, f"{path.relative_to(ROOT)} imports finetune.{part}, which has no place in LAYERS"
        beside = own is not None and DEPTH[part] == DEPTH[own]
        assert not beside, f"{own} imports {part}, which lies beside it"
        assert DEPTH[part] > (TOP if own is None else DEPTH[own]), f"{own} imports {part}, which lies above it"


def test_few_rooms_and_few_arrows_between_them() -> None:
    arrows = {
        (own, part)
        for path in SOURCES
        if (own := part_of(path))
        for part in imported_parts(path) - {own}
        if part not in GROUND
    }
    assert len(DEPTH) <= 19
    assert len(arrows) <= 45, sorted(arrows)


def test_modules_and_functions_are_short() -> None:
    long = []
    for path in SOURCES:
        if "rows" in path.parts:  # generated rows: tables of words and patterns
            continue
        text = path.read_text(encoding="utf-8")
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        lengths = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno}
        long += [
            f"{path.relative_to(ROOT)}: {name}" for name, length in lengths.items() if length > MOST_LINES["function"]
        ]
        if len(text.splitlines()) > MOST_LINES["module"]:
            long.append(str(path.relative_to(ROOT)))
    assert not long


def test_interfaces_are_typed() -> None:
    found: dict[str, list[str]] = {untyped: [] for untyped in MOST_UNTYPED}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        for untyped, places in found.items():
            places += [str(path.relative_to(ROOT))] * text.count(untyped)
    for untyped, most in MOST_UNTYPED.items():
        assert len(found[untyped]) <= most, f"{untyped}: {found[untyped]}"


def test_make_test_torch_runs_every_test_that_needs_pytorch() -> None:
    target = re.search(r"^test-torch:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert target
    run = [path for word in re.findall(r"tests/[^\s:]+", target[1]) for path in ROOT.glob(word)]
    for path in (ROOT / "tests").rglob("test_*.py"):
        if re.search(r'(importorskip|== "torch" and find_spec)\("(torch|trl)"', path.read_text(encoding="utf-8")):
            assert path in run, f"make test-torch does not run {path.relative_to(ROOT)}"


@pytest.mark.scripts
@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_short_and_help_is_light(script: str) -> None:
    path = ROOT / f"{script}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
    probe = (
        f"import sys; sys.argv = ['{script}.py', '--help']\n"
        "import runpy\n"
        f"try: runpy.run_path('{path}', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'mlx', 'mlx_lm', 'transformers', 'datasets', 'huggingface_hub', 'matplotlib', 'numpy', 'sqlglot', 'rich'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout


@pytest.mark.scripts
def test_pytest_does_not_collect_the_script() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", ".", "--collect-only", "-q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout  # every test module can be imported
    assert "test_architecture.py" in done.stdout
    assert not any(line.startswith("test_finetuned.py") for line in done.stdout.splitlines())
