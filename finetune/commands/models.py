"""List the cached models: from the Hub, converted ones (also the builtin model), and leftovers of interrupted conversions.

python -m finetune models                   names, sizes, last use
python -m finetune models --verify          read all files and compare them with their hashes; exit code 1 if one is damaged
python -m finetune models --remove NAME     delete a model, by the name that the list shows, or by its path
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from itertools import zip_longest

from finetune.errors import UserError
from finetune.models.cached import CachedModel, cached_models, named, remedy, remove
from finetune.models.verification import Verdict, verify
from finetune.settings.fields import option, switch
from finetune.terminal import say, show, show_json

_WIDE = 72  # columns that the revision needs
_DAY = 24 * 3600


@dataclass(frozen=True)
class Config:
    verify: bool = switch("read all files and compare them with their hashes")
    remove: str | None = option(None, "delete this model without asking")
    json: bool = switch("print JSON, sizes in bytes")


def main(config: Config) -> None:
    models = cached_models()
    if config.remove is not None:
        if config.verify:
            raise UserError("--verify, --remove: only one of them at a time")
        model = _named(models, config.remove)
        freed = remove(model)
        if config.json:
            show_json({"removed": model.name, "freed": freed})
        else:
            show(f"Removed {model.name}: {_megabytes(freed)} freed.")
        return
    verdicts = verify(models) if config.verify else []
    if config.json:
        show_json(_as_record(models, verdicts), indent=2)
    else:
        _print_table(models, verdicts)
    damaged = [model for model, verdict in zip(models, verdicts, strict=False) if verdict.result == "damaged"]
    for model in damaged:
        what = "it is downloaded" if model.where == "hub" else "it is converted"
        say(f"{model.name}: damaged (run: {remedy(model, models)}; {what} again on the next use)")
    if damaged:
        sys.exit(1)


def _named(models: Sequence[CachedModel], name: str) -> CachedModel:
    found = named(models, name)
    if len(found) == 1:
        return found[0]
    if found:
        paths = ", ".join(str(model.path) for model in found)
        raise UserError(f"--remove: {len(found)} models are called {name!r} (choose one by its path: {paths})")
    near = get_close_matches(name, [model.name for model in models], n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "python -m finetune models lists the names"
    raise UserError(f"--remove: no model {name!r} in the caches ({hint})")


def _as_record(models: Sequence[CachedModel], verdicts: Sequence[Verdict]) -> dict[str, object]:
    return {
        "models": [
            {
                "name": model.name,
                "where": model.where,
                "revision": model.revision,
                "size": model.size,
                "last_used": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(model.last_used)),
                "problem": model.problem,
                **({"verified": asdict(verdict)} if verdict else {}),
            }
            for model, verdict in zip_longest(models, verdicts)
        ],
        "size": sum(model.size for model in models),
    }


def _print_table(models: Sequence[CachedModel], verdicts: Sequence[Verdict]) -> None:
    from rich import box
    from rich.table import Table

    from finetune.terminal import results

    console = results()
    if not models:
        console.print("No models in the caches.")
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", overflow="fold")  # never cut: --remove takes it
    table.add_column("where")
    if wide := console.width >= _WIDE:
        table.add_column("revision", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("last used", justify="right")
    for model, verdict in zip_longest(models, verdicts):
        state = ": ".join(filter(None, (verdict.result, verdict.why))) if verdict else model.problem
        where = ": ".join(filter(None, (model.where, state)))
        used = _ago(time.time() - model.last_used)
        revision = [model.revision[:8]] if wide else []
        table.add_row(model.name, where, *revision, _megabytes(model.size), used)
    console.print(table)
    console.print(f"Total: {_megabytes(sum(model.size for model in models))}.")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _ago(seconds: float) -> str:
    days = int(seconds // _DAY)
    if days < 1:
        return "today"
    return "yesterday" if days == 1 else f"{days} days ago"
