"""Loads mlx-lm's network of a model folder: the one place that calls its loader, and gives it config.json as it reads it.

mlx-lm makes objects of config.json through one function, ``BaseModelArgs.from_dict``, also for the language model inside of
one that sees. While a network is made, that function is ours: it lifts what transformers 5 writes elsewhere
(``models.config_forms``), and refuses what the class would leave out. No code of a model's folder is run.
"""

import inspect
import io
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import MISSING, dataclass, fields
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from finetune.backends.mlx.expert_weights import as_read, stacked
from finetune.backends.mlx.mending import mend
from finetune.backends.mlx.proofs import UNFIT
from finetune.backends.mlx.runtime import is_leader
from finetune.errors import UserError, closest, shell_command, shortened
from finetune.models.config_forms import differences, form
from finetune.models.config_reading import REQUIRED, Form, Reader, known_config, used_names, why_not_known
from finetune.models.foreign import foreign
from finetune.records.plain_path import plain_path
from finetune.terminal import say

from mlx.utils import tree_flatten  # isort: skip  after the runtime

_PREFIXES = ("transformer.", "model.", "backbone.", "gpt_neox.")  # what transformers calls the trunk
_OF_QUANTISED = (".scales", ".biases")
_CHOICE = "e_score_correction_bias"
_PACKAGE = "mlx_lm.models."
_TORCH = "use --backend torch, which computes it"
_said: set[tuple[Path, str]] = set()


@dataclass(frozen=True)
class Loaded:
    """A network, and its config.json as mlx-lm got it.

    ``lifted`` are values that mlx-lm alone would not have found, by the part of config.json ("" for the whole, "text_config");
    ``differences`` says so, a clause for each. ``notes`` are clauses about what it computes otherwise in some cases, ``mended``
    about what it does here alone, ``theirs`` about what transformers computes otherwise than config.json says.
    """

    network: Any
    config: Mapping[str, Any]
    lifted: Mapping[str, Mapping[str, object]]
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    mended: tuple[str, ...]
    theirs: tuple[str, ...]


def load(folder: Path, *, strict: bool = True, quiet: bool = False) -> Loaded:
    """The network of ``folder``, whose weights are read when they are first used.

    Without ``strict`` there can be no weights: for a plan. Unless ``quiet``, what mlx-lm reads otherwise than transformers is
    said once. UserError if MLX cannot load it.
    """
    from mlx_lm.utils import load_model

    with foreign(f"{folder}: config.json cannot be read"):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _refuse_code(folder, config)
    with foreign(f"{folder}: MLX cannot load this model"), plain_path(folder) as plain:
        found = classes(folder, config)
        with _forms(folder, config) as forms, _names(found[0], folder) as left_out:
            network, read = load_model(
                Path(plain),
                lazy=True,
                strict=strict,
                get_model_classes=lambda config: found,
                trust_remote_code=False,
            )
    lifted: dict[str, dict[str, object]] = {}
    for part, made in forms:
        if made.lifted:
            lifted.setdefault(part, {}).update(made.lifted)
    clauses = tuple(dict.fromkeys(text for _, made in forms for text in differences(made)))
    mended = tuple(dict.fromkeys(clause for _, made in forms for clause in mend(network, made.values)))
    if why := why_not_known(config):
        left_out.append(
            f"transformers refuses this config.json ({shortened(why, 120)}): nothing of it could be compared"
        )
    notes = tuple(dict.fromkeys([*(note for _, made in forms for note in made.notes), *left_out]))
    theirs = tuple(dict.fromkeys(clause for _, made in forms for clause in made.theirs))
    _tell(folder, clauses, [*notes, *mended, *theirs], quiet=quiet)
    return Loaded(network, read, lifted, clauses, notes, mended, theirs)


def classes(folder: Path, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """mlx-lm's classes of the network and of its settings. UserError, before weights are read, if it has none of this type."""
    from mlx_lm import models
    from mlx_lm.utils import MODEL_ARCHITECTURE_REMAPPING, MODEL_REMAPPING, _get_classes

    kind = str(config.get("model_type"))
    types = {path.stem for path in Path(str(models.__path__[0])).glob("*.py")} - {"__init__"}
    known = types | MODEL_REMAPPING.keys() | {old for old, _ in MODEL_ARCHITECTURE_REMAPPING}
    ours = _kind(kind, known)
    try:
        if ours in known:
            with redirect_stdout(io.StringIO()):  # a module may print what it misses, and end the process
                return tuple(_get_classes({**config, "model_type": ours}))
    except AttributeError:  # a module that is no model
        pass
    except (SystemExit, ValueError):
        raise UserError(
            f"{folder}: mlx-lm's models of type {shortened(kind)!r} need a package that is not installed ({_instead(kind)})"
        ) from None
    near = closest(kind, known - {kind})
    meant = f"; the nearest is {near}" if near else ""
    raise UserError(
        f"{folder}: mlx-lm {version('mlx-lm')} has no models of type {shortened(kind)!r}{meant} ({_instead(kind)})"
    )


def _kind(kind: str, known: Collection[str]) -> str:
    """The name that mlx-lm has for a type. Of a model that sees, transformers saves the text part alone as another type."""
    alone = kind.removesuffix("_text")
    return alone if kind not in known and alone in known else kind


def _instead(kind: str) -> str:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "use --backend torch, which has them"
    return "use a model of another type: docs/models.md lists them"


def _refuse_code(folder: Path, config: Mapping[str, Any]) -> None:
    """mlx-lm would run it, or name a setting of its own as the remedy."""
    if (file := config.get("model_file")) is not None:
        raise UserError(
            f"{folder}: config.json asks to run code that comes with the model (model_file: {shortened(repr(file))}),"
            " which is never done (use a model of a known type)"
        )


@contextmanager
def _forms(folder: Path, config: Mapping[str, Any]) -> Iterator[list[tuple[str, Form]]]:
    """Within the block, mlx-lm's settings are made of lifted values. Yields what was made, with the part of
    config.json, in a list that grows meanwhile."""
    from mlx_lm.models.base import BaseModelArgs

    original = BaseModelArgs.__dict__["from_dict"]
    made: list[tuple[str, Form]] = []
    root = known_config(config) or known_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))

    def from_dict(cls: Any, params: Mapping[str, Any]) -> Any:
        is_root = params.get("model_type") == config.get("model_type")
        known = root if is_root else known_config(params) or getattr(root, "text_config", None)
        reader = _reader(cls)
        found = form(params, known, reader)
        if missing := [
            name for name, default in reader.fields.items() if default is REQUIRED and name not in found.values
        ]:
            raise UserError(
                f"{folder}: config.json has no {', '.join(missing)}, which mlx-lm's {reader.name} needs"
                f" ({_instead(str(config.get('model_type')))})"
            )
        if found.problems:
            raise UserError(f"{folder}: config.json: {'; '.join(found.problems)} ({_TORCH})")
        made.append(("" if is_root or "text_config" not in config else "text_config", found))
        return original.__func__(cls, found.values)

    BaseModelArgs.from_dict = classmethod(from_dict)
    try:
        yield made
    finally:
        BaseModelArgs.from_dict = original


@cache
def _reader(cls: Any) -> Reader:
    """The fields of a class of settings, and those of them that mlx-lm's code uses."""
    defaults = {}
    for one in fields(cls):
        default = one.default if one.default is not MISSING else REQUIRED
        defaults[one.name] = one.default_factory() if one.default_factory is not MISSING else default
    own = dict.fromkeys(base.__module__ for base in cls.__mro__ if base.__module__.startswith(_PACKAGE))
    own.pop(f"{_PACKAGE}base", None)
    beside = {getattr(each, "__module__", None) or "" for name in own for each in vars(sys.modules[name]).values()}
    beside = {name for name in beside if name.startswith(_PACKAGE)} - own.keys()
    sources = {name: inspect.getsource(sys.modules[name]) for name in (*own, *sorted(beside))}
    used = {name for source in sources.values() for name in used_names(source)} & defaults.keys()
    source = "\n".join(sources[name] for name in own)
    name = cls.__module__.removeprefix(_PACKAGE)
    return Reader(name, defaults, frozenset(used), source, "\n".join(sources.values()))


@contextmanager
def _names(model: Any, folder: Path) -> Iterator[list[str]]:
    """Within the block, the names of weights may have the prefix that transformers gives them, if mlx-lm expects none.

    Yields clauses, in a list that grows meanwhile, about what mlx-lm leaves out of the weights.
    """
    own = model.__dict__.get("sanitize")
    plain = getattr(model, "sanitize", lambda self, weights: weights)
    left_out: list[str] = []

    def sanitize(self: Any, weights: Mapping[str, Any]) -> Any:
        if not weights:  # for a plan
            return _without_weights(self, plain)
        wanted = set(dict(tree_flatten(self.parameters())))
        if not any(name.endswith("_blocks") for name in weights):  # quantised experts, which mlx-lm reads
            weights = as_read(str(getattr(self, "model_type", "")), weights)
        cleaned = stacked(plain(self, dict(weights)), wanted)
        if not _fit(cleaned, wanted):
            for renamed in _renamed(weights, wanted):
                if _fit(other := stacked(plain(self, renamed), wanted), wanted):
                    return other
            _refuse_names(folder, weights, cleaned.keys() - wanted)
        choices = [array for name, array in weights.items() if name.endswith(_CHOICE)]
        if choices and not any(name.endswith(_CHOICE) for name in cleaned):
            if any(bool((array != array.flatten()[0]).any()) for array in choices):  # the same for all chooses nothing
                raise UserError(
                    f"{folder}: mlx-lm leaves out {_CHOICE}, with which this model chooses experts ({_TORCH})"
                )
        elif getattr(getattr(self, "args", None), "moe_use_aux_free", False) and not choices:
            left_out.append(
                f"{_CHOICE}, with which this type of model chooses experts, was left out when it was converted"
            )
        return cleaned

    model.sanitize = sanitize
    try:
        yield left_out
    finally:
        if own is None:
            del model.sanitize
        else:
            model.sanitize = own


def _refuse_names(folder: Path, weights: Mapping[str, Any], unknown: Collection[str]) -> None:
    """UserError if transformers can have given the weights their names; others mlx-lm names itself."""
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    instead = _instead(str(kind))
    if "--backend torch" in instead and not any(name.endswith(_OF_QUANTISED) for name in weights):
        raise UserError(
            f"{folder}: {len(unknown)} weights have names that mlx-lm's {shortened(str(kind))} does not know, such as"
            f" {shortened(min(unknown), 100)} ({instead})"
        )


def _without_weights(network: Any, plain: Any) -> dict[str, Any]:
    """Let a network do what it does when it renames its weights: drop a head that is tied, say. Some that hold a language model
    cannot without weights, but that model can."""
    inner = [module.sanitize for module in network.modules() if module is not network and hasattr(module, "sanitize")]
    for renames in (partial(plain, network), *inner):
        with suppress(*UNFIT):
            return dict(renames({}))
    return {}


def _renamed(weights: Mapping[str, Any], wanted: set[str]) -> Iterator[dict[str, Any]]:
    for prefix in _PREFIXES:
        if any(name.startswith(prefix) for name in weights):
            yield {name.removeprefix(prefix): array for name, array in weights.items()}
        elif any(name.startswith(prefix) for name in wanted):
            yield {f"{prefix}{name}": array for name, array in weights.items()}


def _fit(weights: Mapping[str, Any], wanted: set[str]) -> bool:
    return {name for name in weights if not name.endswith(_OF_QUANTISED)} <= wanted


def _tell(folder: Path, lifted: Sequence[str], notes: Sequence[str], *, quiet: bool) -> None:
    """Say once what another program than ours would compute with this folder; ``quiet``: somebody else says it."""
    lines = [f"Note: {folder.name}: {note}." for note in notes]
    if lifted:
        lines.append(
            f"Note: mlx-lm alone reads config.json of {folder.name} otherwise ({'; '.join(lifted)}); here it is read as"
            f" transformers reads it. For mlx_lm.generate, fuse and server make a copy:"
            f" {shell_command('python', '-m', 'finetune', 'doctor', '--model', folder, '--mlx-lm-copy', 'FOLDER')}"
        )
    for line in lines:
        if (folder, line) not in _said and is_leader():
            _said.add((folder, line))
            if not quiet:
                say(line)
