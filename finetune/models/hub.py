"""The Hugging Face Hub, for models and rows: whether this user may read a repository, and the download of its files.

Without a network the answer takes at most ``ANSWER_SECONDS``; with HF_HUB_OFFLINE=1 the network is not asked.
"""

import errno
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from finetune.errors import UserError
from finetune.terminal import download_bar

ANSWER_SECONDS = 5
_UNREACHABLE = "the Hub cannot be reached"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
_NO_TOKEN = "HF_TOKEN contains characters that no token has"

RepoType = Literal["model", "dataset"]


class HubUnavailable(UserError):
    """The Hub did not give the files, and the cache does not have them: a default may fall back, a given name may not."""


# A model is the files in the root of its repository. Folders hold other formats of it (original/, onnx/), and
# model.fp16.safetensors is a second copy: MLX would load both, one over the other.
_NOT_FETCHED: dict[RepoType, list[str] | None] = {"model": ["*/*", "*.*.safetensors"], "dataset": None}


@dataclass(frozen=True)
class HubProblem:
    """Why this user cannot read a repository.

    ``clause`` is one clause for an error message. ``answered`` is True if the Hub said so, False if it gave no answer.
    """

    clause: str
    answered: bool


def hub_problem(repo_id: str, repo_type: RepoType, allow_patterns: list[str] | None = None) -> str | None:
    """Why the repository cannot be used, as one clause for an error message; None if it can.

    A copy in the Hub's own cache is enough, if it has all files that match ``allow_patterns``.
    """
    problem = ask_hub(repo_id, repo_type)
    return problem.clause if problem and not cached_snapshot(repo_id, repo_type, allow_patterns) else None


def download_snapshot(
    repo_id: str, repo_type: RepoType, allow_patterns: list[str] | None = None, revision: str | None = None
) -> Path:
    """Download the files that match ``allow_patterns``; returns their folder in the Hub's cache, named after the commit.

    Of a model, files in subfolders and variants such as model.fp16.safetensors are never fetched.
    UserError if neither the Hub nor the cache has the files.
    """
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import XetDownloadError

    if problem := ask_hub(repo_id, repo_type):
        if cached := cached_snapshot(repo_id, repo_type, allow_patterns, revision):
            return cached
        raise HubUnavailable(f"{repo_id}: {problem.clause}")
    try:
        return Path(
            snapshot_download(
                repo_id,
                repo_type=repo_type,
                revision=revision,
                allow_patterns=allow_patterns,
                ignore_patterns=_NOT_FETCHED[repo_type],
                tqdm_class=download_bar(),
            )
        )
    except (httpx2.HTTPError, XetDownloadError, OSError) as error:
        kind = UserError if isinstance(error, OSError) and error.errno in _NO_ROOM else HubUnavailable
        raise kind(f"{repo_id}: {explain_hub_error(error, repo_id, repo_type)}") from error


def explain_hub_error(error: BaseException, repo_id: str, repo_type: RepoType = "model") -> str:
    """What huggingface_hub raised, as one clause for an error message that already names the repository."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # "not in the cache" hides why it could not be fetched
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set and it is not in the cache"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        page = f"{constants.ENDPOINT}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"
        if isinstance(error, GatedRepoError) or status == 403:
            return f"access to it needs a token: accept the licence at {page} and set HF_TOKEN in .env"
        if isinstance(error, RepositoryNotFoundError):
            return "no such repository on the Hub, or it is private and HF_TOKEN has no access to it"
        if status == 401:
            return "the Hub does not accept HF_TOKEN: it is wrong or has expired"
        return f"the Hub answered {status} {error.response.reason_phrase}".rstrip()
    if isinstance(error, httpx2.LocalProtocolError):
        return _NO_TOKEN
    if isinstance(error, (httpx2.RemoteProtocolError, httpx2.ReadError)):
        return "the connection to the Hub was interrupted"
    if isinstance(error, (httpx2.HTTPError, LocalEntryNotFoundError)):
        return _UNREACHABLE
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return f"its files cannot be stored in {constants.HF_HUB_CACHE}: {error.strerror}"
    return f"the download failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"


def read_dotenv() -> None:
    """Read HF_TOKEN and other variables that are not set yet from ./.env into the environment, for the Hub's client.

    UserError if HF_ENDPOINT is not a URL.
    """
    from dotenv import load_dotenv

    load_dotenv(".env")
    if token := os.environ.get("HUGGINGFACE_HUB_TOKEN"):  # a name that people use and the client does not know
        os.environ.setdefault("HF_TOKEN", token)
    try:
        urlsplit(os.environ.get("HF_ENDPOINT", ""))
    except ValueError as error:  # the client does not survive it
        raise UserError(f"HF_ENDPOINT: not a URL: {error} (set it to https://HOST, or unset it)") from None


def ask_hub(repo_id: str, repo_type: RepoType) -> HubProblem | None:
    """Ask the Hub, once, whether this user may read the repository; None if so. The cache does not count."""
    read_dotenv()  # before the client is imported: it reads some variables only then
    import httpx2
    from huggingface_hub import auth_check, repo_info
    from huggingface_hub.errors import HfHubHTTPError

    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repo_id):
        return HubProblem("not the name of a Hub repository, such as owner/name", answered=False)
    answers: list[HubProblem | None] = []

    def ask() -> None:
        try:
            try:
                auth_check(repo_id, repo_type=repo_type)
            except HfHubHTTPError as error:
                if type(error) is not HfHubHTTPError or error.response.status_code != 404:
                    raise
                repo_info(repo_id, repo_type=repo_type)  # for mirrors without auth-check
            answers.append(None)
        except UnicodeEncodeError:
            answers.append(HubProblem(_NO_TOKEN, answered=False))
        except (httpx2.HTTPError, OSError) as error:
            clause = explain_hub_error(error, repo_id, repo_type)
            answers.append(HubProblem(clause, answered=isinstance(error, HfHubHTTPError)))

    # In a thread because neither the client (no timeout here) nor the resolver gives up in time.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    if answers:
        return answers[0]
    return HubProblem(f"{_UNREACHABLE}: no answer in {ANSWER_SECONDS} seconds", answered=False)


def cached_snapshot(
    repo_id: str, repo_type: RepoType, allow_patterns: list[str] | None, revision: str | None = None
) -> Path | None:
    """The repository's folder in the Hub's own cache; None unless it has all files that match ``allow_patterns``."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                repo_id,
                repo_type=repo_type,
                revision=revision,
                allow_patterns=allow_patterns,
                ignore_patterns=_NOT_FETCHED[repo_type],
                local_files_only=True,
            )
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def listed_files(repo_id: str, commit: str, repo_type: RepoType = "model") -> list[str] | None:
    """The paths of all files of a repository at ``commit``; None unless ``download_snapshot`` has listed them.

    The Hub's client keeps the list in its cache, so the network is not asked.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return [file.path for file in get_cached_repo_tree(repo_id, repo_type=repo_type, revision=commit)]
    except CachedRepoTreeNotFoundError:
        return None
