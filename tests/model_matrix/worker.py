"""One process that fills cells, started by matrix.py: python worker.py PHASE FOLDER RESULTS '{"KIND": ["COLUMN", ...]}'

A line of RESULTS is written before each cell and after it, so that a cell in which the process dies is known.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
PHASES = {"product": "product", "transformers": "transformers_cells", "torch": "torch_cells"}


def main(phase: str, folder: Path, results: Path, wanted: dict[str, list[str]]) -> None:
    if phase == "reference":
        _compare(folder, results, wanted)
        return
    from finetune.signals import interrupting

    cells = import_module(f"model_matrix.{PHASES[phase]}")  # MLX before anything else that may import it
    from model_matrix.cells import CannotBuildError, append, cell_of

    for kind, names in wanted.items():
        own = folder / kind
        own.mkdir(exist_ok=True)
        case = cells.Case(kind, own, folder / "data")
        append(results, kind=kind, column="build")
        try:
            _ = case.model
        except CannotBuildError as error:
            append(results, kind=kind, column="build", word="none", why=str(error))
            continue
        append(results, kind=kind, column="build", word="ok", why="")
        for name in names:
            append(results, kind=kind, column=name)
            with interrupting():
                cell = cell_of(cells.COLUMNS[name], case)
            append(results, kind=kind, column=name, word=cell.word, why=cell.why)


def _compare(folder: Path, results: Path, wanted: dict[str, list[str]]) -> None:
    """No product here: the cells that another process left are compared with mlx_lm's own model."""
    from model_matrix import reference

    def append(**line: str) -> None:
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    for kind, names in wanted.items():
        append(kind=kind, column="mlx-lm itself")
        why = reference.itself(folder / kind)
        append(kind=kind, column="mlx-lm itself", word="crash" if why else "ok", why=why)
        for name in [] if why else names:
            left, check = reference.CHECKS[name]
            if not (folder / kind / left).exists():
                continue
            append(kind=kind, column=name)
            try:
                why, word = check(folder / kind), "wrong"
            except Exception as error:  # noqa: BLE001  whatever happens is a cell
                word, why = "unchecked", f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            append(kind=kind, column=name, word=word if why else "ok", why=why)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]))
