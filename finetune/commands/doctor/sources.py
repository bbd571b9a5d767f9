"""Where models come from: the Hub, the caches, the builtin model."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from finetune.commands.doctor.finding import Finding
from finetune.errors import UserError, shell_command
from finetune.models import hub
from finetune.models.find import DEFAULT_MODEL, HUB_FILES, converted_dir


def variables() -> Iterator[Finding]:
    """Reads .env; a variable with an invalid value is a UserError."""
    hub.read_dotenv()
    yield from ()


def hub_cache() -> Path:
    """Where the Hub's client keeps what it has fetched."""
    hub.read_dotenv()  # before the client is imported: it reads some variables only then
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def hub_access() -> Iterator[Finding]:
    """Whether the Hub answers, whether there is a token, and whether the default model is open to this user."""
    problem = hub.ask_hub(DEFAULT_MODEL, "model")
    from huggingface_hub import constants

    endpoint = re.sub(r"//[^/@]*@", "//", constants.ENDPOINT)  # without the password of a mirror
    if constants.HF_HUB_OFFLINE:
        found = f"HF_HUB_OFFLINE is set: {endpoint} is not contacted, only cached files can be used"
        yield Finding("hub", "warn", found, "unset HF_HUB_OFFLINE to download")
    elif problem and not problem.answered:
        remedy = "check the network, HTTPS_PROXY and HF_ENDPOINT; builtin and cached models and rows work offline"
        yield Finding("hub", "warn", f"{endpoint}: {problem.clause}", remedy)
    else:
        yield Finding("hub", "ok", f"{endpoint} answers")

    yield Finding("token", "ok", _token())

    if problem is None:
        yield Finding("default model", "ok", f"you have access to {DEFAULT_MODEL}")
    elif hub.cached_snapshot(DEFAULT_MODEL, "model", HUB_FILES):
        yield Finding("default model", "ok", f"{DEFAULT_MODEL} is in the cache")
    else:
        remedy = "fix this, or use --model builtin"
        if problem.answered:
            remedy = (
                f"accept the licence at {endpoint}/{DEFAULT_MODEL}, create a token at {endpoint}/settings/tokens"
                " and put it into .env as HF_TOKEN; or use --model builtin"
            )
        yield Finding("default model", "warn", f"{DEFAULT_MODEL}: {problem.clause.partition(': ')[0]}", remedy)


def _token() -> str:
    """Where the token comes from. The token itself is read by the Hub's client alone."""
    from huggingface_hub import constants

    if any(os.environ.get(name, "").strip() for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")):
        return "HF_TOKEN is set"
    if Path(constants.HF_TOKEN_PATH).is_file():
        return "logged in with hf auth login"
    return "none (only needed for gated models)"


def caches() -> Iterator[Finding]:
    from finetune.models.cached import IN_PROGRESS, cached_models

    models = cached_models()
    counts = []
    for where, name in (("hub", "from the Hub"), ("builtin", "builtin"), ("converted", "converted")):
        if sizes := [model.size for model in models if model.where == where]:
            counts.append(f"{len(sizes)} {name}, {sum(sizes) / 1e9:.1f} GB")
    bad = [model for model in models if model.problem and model.problem != IN_PROGRESS]
    found = "; ".join([*(counts or ["empty"]), *(f"{model.name}: {model.problem}" for model in bad)])
    remedy = " ; ".join(shell_command("python", "-m", "finetune", "models", "--remove", model.name) for model in bad)
    yield Finding("caches", "warn" if bad else "ok", found, remedy)


def builtin_model() -> Iterator[Finding]:
    from finetune.models import builtin, conversion

    is_converted = conversion.converted_folder(converted_dir(), builtin.FILE, builtin.SHA256) is not None
    try:
        builtin.installed_file()
    except UserError as error:
        if is_converted:
            yield Finding("builtin model", "ok", "converted; its package is not installed")
        else:
            yield Finding("builtin model", "fail", str(error).partition(" (")[0], "make setup")
        return
    yield Finding(
        "builtin model", "ok", "installed, " + ("converted" if is_converted else "will be converted on first use")
    )
