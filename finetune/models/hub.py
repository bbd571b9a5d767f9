"""What rows and models both need of the Hugging Face Hub: may this user read a repository, and its files.

Without a network the answer takes at most ``ANSWER_SECONDS``; with HF_HUB_OFFLINE=1 no time.
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

ANSWER_SECONDS = 5
_UNREACHABLE = "the Hub cannot be reached"
_NO_TOKEN = "HF_TOKEN holds characters that no token has"

RepoType = Literal["model", "dataset"]


@dataclass(frozen=True)
class HubProblem:
    """Why a repository cannot be read."""

    clause: str  # for people
    answered: bool  # the Hub says so; else it could not be asked


def hub_problem(repo_id: str, repo_type: RepoType, allow_patterns: list[str] | None = None) -> str | None:
    """Why the repository cannot be used, as one clause for people; None when it can.

    A copy in the Hub's own cache is good enough, if it has all files that match ``allow_patterns``.
    """
    problem = ask_hub(repo_id, repo_type)
    return problem.clause if problem and not cached_snapshot(repo_id, repo_type, allow_patterns) else None


def download_snapshot(
    repo_id: str, repo_type: RepoType, allow_patterns: list[str] | None = None, revision: str | None = None
) -> Path:
    """The folder in the Hub's cache with the repository's files; its name is the commit.

    Raises ``UserError`` when the files can be had neither from the Hub nor from the cache.
    """
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import XetDownloadError

    if problem := ask_hub(repo_id, repo_type):
        if cached := cached_snapshot(repo_id, repo_type, allow_patterns, revision):
            return cached
        raise UserError(f"{repo_id}: {problem.clause}")
    try:
        return Path(snapshot_download(repo_id, repo_type=repo_type, revision=revision, allow_patterns=allow_patterns))
    except (httpx2.HTTPError, XetDownloadError, OSError) as error:
        raise UserError(f"{repo_id}: {explain_hub_error(error, repo_id, repo_type)}") from error


def explain_hub_error(error: BaseException, repo_id: str, repo_type: RepoType = "model") -> str:
    """One clause for people out of what huggingface_hub raised."""
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
            return "there is no such repository on the Hub, or it is private and HF_TOKEN does not open it"
        if status == 401:
            return "the Hub does not accept HF_TOKEN: it is wrong or has expired"
        return f"the Hub answered {status} {error.response.reason_phrase}".rstrip()
    if isinstance(error, httpx2.LocalProtocolError):
        return _NO_TOKEN
    if isinstance(error, (httpx2.RemoteProtocolError, httpx2.ReadError)):
        return "the connection to the Hub broke off"
    if isinstance(error, (httpx2.HTTPError, LocalEntryNotFoundError)):
        return _UNREACHABLE
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return f"its files cannot be stored in {constants.HF_HUB_CACHE}: {error.strerror}"
    return f"the download failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"


def read_dotenv() -> None:
    """Take HF_TOKEN and the like from ./.env, where the environment does not have them; the Hub's client reads them there.

    UserError where the address of the Hub cannot be one.
    """
    from dotenv import load_dotenv

    load_dotenv(".env")
    if token := os.environ.get("HUGGINGFACE_HUB_TOKEN"):  # a name that people use and the client does not know
        os.environ.setdefault("HF_TOKEN", token)
    try:
        urlsplit(os.environ.get("HF_ENDPOINT", ""))
    except ValueError as error:  # the client does not survive it
        raise UserError(f"HF_ENDPOINT: not an address: {error} (give https://HOST, or unset it)") from None


def ask_hub(repo_id: str, repo_type: RepoType) -> HubProblem | None:
    """Asks the Hub, once, whether this user may read the repository: None, or why not. No cache counts."""
    read_dotenv()  # before the client is imported: it reads some variables only then
    import httpx2
    from huggingface_hub import auth_check, repo_info
    from huggingface_hub.errors import HfHubHTTPError

    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repo_id):
        return HubProblem("this is not the name of a Hub repository, which looks like owner/name", answered=False)
    answers: list[HubProblem | None] = []

    def ask() -> None:
        try:
            try:
                auth_check(repo_id, repo_type=repo_type)
            except HfHubHTTPError as error:
                if type(error) is not HfHubHTTPError or error.response.status_code != 404:
                    raise
                repo_info(repo_id, repo_type=repo_type)  # a mirror that does not know the first question
            answers.append(None)
        except UnicodeEncodeError:
            answers.append(HubProblem(_NO_TOKEN, answered=False))
        except (httpx2.HTTPError, OSError) as error:
            clause = explain_hub_error(error, repo_id, repo_type)
            answers.append(HubProblem(clause, answered=isinstance(error, HfHubHTTPError)))

    # In a thread because neither the client (no timeout here) nor the resolver gives up in time by itself.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    if answers:
        return answers[0]
    return HubProblem(f"{_UNREACHABLE}: no answer in {ANSWER_SECONDS} seconds", answered=False)


def cached_snapshot(
    repo_id: str, repo_type: RepoType, allow_patterns: list[str] | None, revision: str | None = None
) -> Path | None:
    """The repository in the Hub's own cache, if it has all files that match ``allow_patterns``."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                repo_id, repo_type=repo_type, revision=revision, allow_patterns=allow_patterns, local_files_only=True
            )
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
