"""The layout holds: imports run downwards, scripts stay small, --help touches nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ("dataset", "train", "test_finetuned", "benchmark")
LAYERS = [  # from the top; a room may import from the rooms below its own, never from one beside it
    tuple(f"{script}.py" for script in SCRIPTS),
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
    ("errors",),
]
LAYER = {name: depth for depth, names in enumerate(LAYERS) for name in names}


def part_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "finetune" else path.name


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
    return {name.split(".")[1] for name in names if name.startswith("finetune.")}


SOURCES = [
    *(
        path
        for path in (ROOT / "finetune").rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py") or path.parent.name != "finetune"
    ),
    *(ROOT / f"{script}.py" for script in SCRIPTS),
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path: Path) -> None:
    own = part_of(path)
    assert own in LAYER, f"give {own} a place in LAYERS"
    for part in imported_parts(path) - {own}:
        assert LAYER[part] > LAYER[own], f"{own} imports {part}, which does not lie below it"


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


def test_pytest_does_not_collect_the_script() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", ".", "--collect-only", "-q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "test_architecture.py" in done.stdout
    assert not any(line.startswith("test_finetuned.py") for line in done.stdout.splitlines())
