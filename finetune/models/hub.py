"""The Hugging Face Hub, for models and rows: whether this user may read a repository, and the download of its files.

Without a network the answer takes at most ``ANSWER_SECONDS``; with HF_HUB_OFFLINE=1 the network is not asked.
"""

import errno
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import responses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from finetune.errors import UserError, first_line, shortened, without_secrets
from finetune.settings import environment
from finetune.terminal import download_bar

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

ANSWER_SECONDS = 5
_UNREACHABLE = "the Hub cannot be reached"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EPERM)
_NO_TOKEN = "HF_TOKEN contains characters that no token has"
_NO_NAME = "not the name of a Hub repository, such as owner/name"

RepoType = Literal["model", "dataset"]


class HubUnavailable(UserError):
    """The Hub did not give the files, and the cache does not have them: a default may fall back, a given name may not."""


# A model is the files in the root of its repository. Folders hold other formats of it (original/, onnx/), and
# model.fp16.safetensors is a second copy: MLX would load both, one over the other.
_NOT_FETCHED: dict[RepoType, list[str] | None] = {"model": ["*/*", "*.*.safetensors"], "dataset": None}


@dataclass(frozen=True)
class HubProblem:
    """Why this user cannot read a repository.

    ``clause`` is one clause for an error message. ``answered`` is True if the Hub refused, False if it could not be asked.
    """

    clause: str
    answered: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "clause", without_secrets(self.clause))


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
    if problem := ask_hub(repo_id, repo_type):
        if cached := cached_snapshot(repo_id, repo_type, allow_patterns, revision):
            return cached
        raise HubUnavailable(f"{repo_id}: {problem.clause}")
    from huggingface_hub import snapshot_download

    with hub_answers(repo_id, repo_type):
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


@contextmanager
def hub_answers(repo_id: str, repo_type: RepoType) -> Iterator[None]:
    """For a call of the Hub's client: whatever it raises becomes HubUnavailable, or UserError if this disk has no room.

    The client takes any answer for the Hub's, so what it raises can be anything.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  see above
        kind = UserError if isinstance(error, OSError) and error.errno in _NO_ROOM else HubUnavailable
        raise kind(f"{repo_id}: {explain_hub_error(error, repo_id, repo_type)}") from None


def explain_hub_error(error: BaseException, repo_id: str, repo_type: RepoType = "model") -> str:
    """What huggingface_hub raised, as one clause for an error message that already names the repository."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        XetDownloadError,
    )

    from finetune.models.hub_client import NotTheHub, TooSlow, Unusable

    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # "not in the cache" hides why it could not be fetched
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set and it is not in the cache"
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error, repo_id, repo_type)
    if isinstance(error, Unusable):
        return str(error)
    if isinstance(error, (httpx2.LocalProtocolError, UnicodeEncodeError)):
        return _NO_TOKEN
    if isinstance(error, HFValidationError):
        return _NO_NAME
    if isinstance(error, httpx2.ProxyError):
        return f"the proxy does not let us through: {first_line(error)}: check HTTPS_PROXY, with its user and password"
    if isinstance(error, httpx2.TimeoutException):
        return f"{_UNREACHABLE}: no answer in {constants.HF_HUB_DOWNLOAD_TIMEOUT} seconds"
    if isinstance(error, TooSlow):
        return "the connection to the Hub is too slow: a few bytes per second"
    if isinstance(error, httpx2.TooManyRedirects):
        return "the Hub's answers lead in a circle: check HF_ENDPOINT and the proxy"
    if isinstance(error, httpx2.ConnectError) and "CERTIFICATE_VERIFY" in str(error):
        reason = str(error).partition("verify failed: ")[2].partition(" (_ssl")[0]
        remedy = "check HF_ENDPOINT, or set SSL_CERT_FILE to the certificate of your proxy"
        return f"{_UNREACHABLE}: its certificate is not trusted ({reason}): {remedy}"
    if isinstance(error, (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)):
        return "the connection to the Hub was interrupted"
    if isinstance(error, (httpx2.TransportError, LocalEntryNotFoundError)):
        return _UNREACHABLE + (f": {reason}" if (reason := re.sub(r"^\[.*?\] ", "", str(error).split("\n")[0])) else "")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return f"its files cannot be stored in {constants.HF_HUB_CACHE}: {error.strerror}"
    if isinstance(error, (OSError, XetDownloadError)):
        return f"the download failed: {first_line(error)}"
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return "this user has no home folder for the Hub's cache: set FINETUNE_CACHE to a folder for models"
    what = error if isinstance(error, NotTheHub) else shortened(f"{type(error).__name__}: {first_line(error)}", 120)
    return f"what answered is not the Hub ({what}): log in to this network in a browser, or check HF_ENDPOINT and the proxy"


def _explain_status(error: "HfHubHTTPError", repo_id: str, repo_type: RepoType) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    status, headers = error.response.status_code, error.response.headers
    if isinstance(error, GatedRepoError) or (status == 403 and _is_about_access(error)):
        page = f"{constants.ENDPOINT}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"
        return f"access to it needs a token: accept the licence at {page} and set HF_TOKEN in .env"
    if isinstance(error, RepositoryNotFoundError):
        return "no such repository on the Hub, or it is private and HF_TOKEN has no access to it"
    if status == 401 and "authorization" in error.response.request.headers:
        return "the Hub does not accept HF_TOKEN: it is wrong or has expired"
    if status == 407:
        return "the proxy wants a user and a password: set HTTP_PROXY and HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT"
    said = f"the Hub answered {status} {responses.get(status, '')}".rstrip()
    if status == 429 or status >= 500:
        wait = headers.get("Retry-After", "")
        return f"{said}: try again {f'in {wait} seconds' if wait.isdigit() and len(wait) < 9 else 'later'}"
    return said if _is_about_access(error) else f"{said}: a proxy or a firewall may have answered in its place"


def _is_about_access(error: "HfHubHTTPError") -> bool:
    """Whether the Hub itself refuses. A page of HTML comes from a proxy: the Hub's API has none."""
    is_page = "html" in error.response.headers.get("Content-Type", "")
    return error.response.status_code in (401, 403, 404) and not is_page


def ask_hub(repo_id: str, repo_type: RepoType) -> HubProblem | None:
    """Ask the Hub, once, whether this user may read the repository; None if so. The cache does not count."""
    environment.load()  # before the client is imported: it reads some variables only then
    from huggingface_hub import auth_check, repo_info
    from huggingface_hub.errors import HfHubHTTPError

    from finetune.models import hub_client

    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repo_id):
        return HubProblem(_NO_NAME, answered=False)
    hub_client.prepare()
    answers: list[HubProblem | None] = []

    def ask() -> None:
        try:
            hub_client.open_session()
            try:
                auth_check(repo_id, repo_type=repo_type)
            except HfHubHTTPError as error:
                if type(error) is not HfHubHTTPError or error.response.status_code != 404:
                    raise
                repo_info(repo_id, repo_type=repo_type)  # for mirrors without auth-check
            answers.append(None)
        except Exception as error:  # noqa: BLE001  as in hub_answers; the caller waits for it
            clause = explain_hub_error(error, repo_id, repo_type)
            answered = isinstance(error, HfHubHTTPError) and _is_about_access(error)
            answers.append(HubProblem(clause, answered=answered))

    # In a thread because neither the client (a time-out counts anew for each byte) nor the resolver gives up in time.
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

    with suppress(HubUnavailable), hub_answers(repo_id, repo_type):
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
    return None


def listed_files(repo_id: str, commit: str, repo_type: RepoType = "model") -> list[str] | None:
    """The paths of all files of a repository at ``commit``; None unless ``download_snapshot`` has listed them.

    The Hub's client keeps the list in its cache, so the network is not asked.
    """
    from huggingface_hub import get_cached_repo_tree

    with suppress(HubUnavailable), hub_answers(repo_id, repo_type):
        return [file.path for file in get_cached_repo_tree(repo_id, repo_type=repo_type, revision=commit)]
    return None
