"""Every model type of the installed mlx-lm through the whole product: the table of docs/models.md.

python tests/model_matrix/matrix.py                    the whole table: minutes
python tests/model_matrix/matrix.py qwen3 "llama 4-bit"  some kinds, printed
python tests/model_matrix/matrix.py --only=plan,full   some columns
python tests/model_matrix/matrix.py --templates        renew the table of chat templates, which needs TRL
python tests/model_matrix/matrix.py --write            renew expected.json and the page

The rows are ``builders.KINDS``. Two processes work at a time, each on a few kinds; a process that dies is a cell, and the next
one continues after it. ``expected.json`` holds the table that the page shows; a test compares it with what a run finds.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from model_matrix.cells import cleaned  # noqa: E402
from model_matrix.page import PAGE, renewed  # noqa: E402

EXPECTED = Path(__file__).with_name("expected.json")
TEMPLATES = Path(__file__).with_name("templates.md")
AT_ONCE = 2
KINDS_A_PROCESS = 12
MOST_SECONDS = 120  # for one cell
OF_TRAINING = {
    "padding",
    "gradients",
    "head",
    "checkpointing",
    "shared prompts",
    "DoRA",
    "full",
    "resume",
    "judged",
    "in mlx-lm",
    "fused",
}
MOST_DEATHS = 40  # of processes, for one group of kinds

Table = dict[str, dict[str, list[str]]]  # kind -> column -> word, reason


def run(kinds: Sequence[str], folder: Path, *, torch: bool | None = None, only: Sequence[str] = ()) -> Table:
    """The table of these kinds. ``folder`` is emptied of nothing and gets their models. ``torch``: with the columns that need
    PyTorch (default: if it is installed). ``only``: some columns."""
    from model_matrix import product, reference, runs

    runs.write_rows(folder)
    phases = {"product": list(product.COLUMNS), "reference": list(reference.CHECKS)}
    if find_spec("torch") is not None if torch is None else torch:
        phases |= {"transformers": ["like transformers", "PEFT"], "torch": ["torch"]}
    phases = {phase: [name for name in names if not only or name in only] for phase, names in phases.items()}
    groups = [kinds[at :: max(1, len(kinds) // KINDS_A_PROCESS)] for at in range(max(1, len(kinds) // KINDS_A_PROCESS))]

    def fill(group: Sequence[str]) -> Table:
        table: Table = {kind: {} for kind in group}
        for phase, columns in phases.items():
            if not columns:
                continue
            _merge(table, phase, _phase(phase, columns, group, folder))
        for kind in group:
            shutil.rmtree(folder / kind, ignore_errors=True)
            _settle(table[kind])
        return table

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found: Table = {}
        for table in pool.map(fill, groups):
            found |= table
    return {kind: found[kind] for kind in kinds}


def _merge(table: Table, phase: str, found: Table) -> None:
    """Add a phase's cells. The reference changes only what it finds wrong, and what it cannot compute itself."""
    for kind, cells in found.items():
        built = cells.pop("build", ["ok", ""])
        if built[0] != "ok":
            if phase == "product":
                table[kind]["build"] = built
            else:
                table[kind] |= {
                    name: ["none", built[1]] for name in ("like transformers", "PEFT", "torch") if phase != "torch"
                }
            continue
        for column, (word, why) in ((name, (word, cleaned(why))) for name, (word, why) in cells.items()):
            if phase != "reference" or column not in table[kind] or word in ("wrong", "crash"):
                table[kind][column] = [word, why]
            elif word == "unchecked":
                table[kind][column] = [table[kind][column][0], f"mlx_lm itself cannot compute it: {why}"]


def _settle(cells: dict[str, list[str]]) -> None:
    """What does not train has one reason: of columns that train in their own way, and are not reached otherwise, that one."""
    word, why = cells.get("trains", ["ok", ""])
    for column in OF_TRAINING & cells.keys() if word not in ("ok", "wrong") else ():
        if cells[column][0] in ("crash", "refused", "none", "wrong"):
            cells[column] = ["none", why]


def _phase(phase: str, columns: list[str], kinds: Sequence[str], folder: Path) -> Table:
    """What processes of a phase say about these kinds; after one has died, the next continues behind its cell."""
    results = folder / f"{phase} {kinds[0]}.jsonl"
    for _ in range(MOST_DEATHS):
        found, dead = _read(results)
        if dead:
            at, why = dead
            _append(results, *at, "crash", why)
            found, _ = _read(results)
        rest = {kind: [name for name in columns if name not in found.get(kind, {})] for kind in kinds}
        rest = {
            kind: names
            for kind, names in rest.items()
            if names and found.get(kind, {}).get("build", ["ok"])[0] == "ok" and "done" not in found.get(kind, {})
        }
        if not rest:
            break
        before = results.stat().st_size if results.exists() else 0
        code = _process(phase, folder, results, rest)
        if code == 0:
            break
        if not results.exists() or results.stat().st_size == before:
            raise RuntimeError((folder / f"{results.stem}.log").read_text(errors="replace")[-2000:])
        _append(results, "", "died", str(code), "")
    return _read(results)[0]


def _process(phase: str, folder: Path, results: Path, wanted: Mapping[str, list[str]]) -> int:
    """Exit code of a worker; it is killed if a cell takes too long."""
    worker = Path(__file__).with_name("worker.py")
    command = [sys.executable, str(worker), phase, str(folder), str(results), json.dumps(wanted)]
    with (folder / f"{results.stem}.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        size, since = -1, time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            now = results.stat().st_size if results.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > MOST_SECONDS:
                process.kill()
    return process.returncode


def _append(results: Path, kind: str, column: str, word: str, why: str) -> None:
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, "column": column, "word": word, "why": why}) + "\n")


def _read(results: Path) -> tuple[Table, tuple[tuple[str, str], str] | None]:
    """The finished cells, and the cell in which the last process died with its reason."""
    found: Table = {}
    begun: tuple[str, str] | None = None
    died = ""
    for line in results.read_text(encoding="utf-8").splitlines() if results.exists() else ():
        cell = json.loads(line)
        if cell["column"] == "died":
            code = int(cell["word"])
            died = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            continue
        begun = (cell["kind"], cell["column"]) if "word" not in cell else None
        if "word" in cell:
            found.setdefault(cell["kind"], {})[cell["column"]] = [cell["word"], cell["why"]]
            died = ""
    return found, (begun, f"the process ended: {died}") if begun and died else None


def templates() -> str | None:
    """The table of the chat templates that TRL ships; None if it is not installed."""
    found = find_spec("trl")
    if found is None or found.origin is None:
        return None
    from finetune.models.find import find_model
    from template_table import as_markdown, table

    texts = {
        path.stem: path.read_text(encoding="utf-8") for path in Path(found.origin).parent.glob("chat_templates/*.jinja")
    }
    chosen = {name: text for name, text in sorted(texts.items()) if not name.endswith("_training")}  # TRL's own
    return as_markdown(table(find_model("builtin", print).path, chosen)).strip() + "\n"


def lines(table: Table) -> Iterator[str]:
    for kind, cells in table.items():
        yield f"{kind}: " + ", ".join(f"{column} {word}" for column, (word, _) in cells.items())
        yield from (f"    {column}: {word}: {why}" for column, (word, why) in cells.items() if why)


def write(table: Table) -> None:
    """Renew the expected state and the page. Columns that this run had no PyTorch for keep their cells."""
    before: Table = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else {}
    merged = {
        kind: {**before.get(kind, {}), **cells} if "build" not in cells else cells for kind, cells in table.items()
    }
    rows = ",\n".join(f"{json.dumps(kind)}: {json.dumps(cells)}" for kind, cells in merged.items())
    EXPECTED.write_text(f"{{\n{rows}\n}}\n", encoding="utf-8")
    PAGE.write_text(
        renewed(PAGE.read_text(encoding="utf-8"), merged, TEMPLATES.read_text(encoding="utf-8")), encoding="utf-8"
    )


def main(arguments: Sequence[str]) -> None:
    from model_matrix.builders import KINDS

    if "--templates" in arguments:
        TEMPLATES.write_text(templates() or TEMPLATES.read_text(encoding="utf-8"), encoding="utf-8")
        write(json.loads(EXPECTED.read_text(encoding="utf-8")))
        return
    chosen = [argument for argument in arguments if not argument.startswith("--")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        only = [name for argument in arguments if argument.startswith("--only=") for name in argument[7:].split(",")]
        table = run(chosen or KINDS, folder, only=only)
    print("\n".join(lines(table)))
    if "--write" in arguments:
        if chosen:
            table = {**json.loads(EXPECTED.read_text(encoding="utf-8")), **table}
        write({kind: table[kind] for kind in KINDS if kind in table})


if __name__ == "__main__":
    main(sys.argv[1:])
