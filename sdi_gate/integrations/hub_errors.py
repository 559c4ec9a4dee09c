"""Translate the failures of the Hub's client into one clear error each.

The client's own messages never get through: they hold URLs, which can hold signatures, and
headers, which can hold a token.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    OIDCError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sdi_gate.errors import (
    AccessError,
    IntegrityError,
    NotFoundError,
    SourceError,
    StorageError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.models.ref import ModelRef

_TOKEN = "set HF_TOKEN to a token that may read this repository"  # noqa: S105 a hint
_LATER = "run again later, or set HF_HUB_OFFLINE=1 to use what the cache holds"
# What the client raises, on purpose and when an answer does not look like the Hub's:
# hf_xet knows RuntimeError only, and ModelInfo(**answer) fails in all the ways of a dict.
_FOREIGN = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    OIDCError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Translation:
    error: type[SourceError]
    message: str  # with {ref}, {host}, {revision} and {kind}
    hint: str

    def __call__(self, exc: BaseException, ref: ModelRef, host: str) -> SourceError:
        revision = ref.revision or "main"
        kind = type(exc).__name__
        message = self.message.format(ref=ref, host=host, revision=revision, kind=kind)
        return self.error(message, hint=self.hint)


_NOT_A_HUB = _Translation(
    error=UnreachableError,
    message="{host} did not answer like a Hub for {ref} ({kind})",
    hint="check HF_ENDPOINT, proxies and firewalls; files over 50 GB need hf_xet",
)
_NOT_A_URL = _Translation(
    error=UnreachableError,
    message="the address of the Hub is not a URL; asked for {ref}",
    hint="set HF_ENDPOINT to a URL such as https://huggingface.co, or unset it",
)
# The first class that fits decides: subclasses stand before their base.
_BY_CLASS: tuple[tuple[type[BaseException], _Translation], ...] = (
    (
        GatedRepoError,
        _Translation(
            error=AccessError,
            message="{ref} is gated on {host}: its authors grant access one by one",
            hint="accept the terms on the model's page, then set HF_TOKEN to your token",
        ),
    ),
    (
        DisabledRepoError,
        _Translation(
            error=AccessError,
            message="{ref} was disabled on {host}",
            hint="nobody can read it; use another copy of the model",
        ),
    ),
    (
        RepositoryNotFoundError,
        _Translation(
            error=NotFoundError,
            message="{ref} was not found on {host}, or it is private",
            hint=f"check the name; if it is private, {_TOKEN}",
        ),
    ),
    (
        RevisionNotFoundError,
        _Translation(
            error=NotFoundError,
            message="{ref}: no revision {revision!r} on {host}",
            hint="expected a branch, a tag or a commit of the model",
        ),
    ),
    (
        RemoteEntryNotFoundError,
        _Translation(
            error=NotFoundError,
            message="{ref}: a file that {host} lists is not there",
            hint="its upload may be unfinished; try another revision",
        ),
    ),
    (
        OfflineModeIsEnabled,
        _Translation(
            error=UnreachableError,
            message="offline: {host} may not be asked for {ref}",
            hint="unset HF_HUB_OFFLINE",
        ),
    ),
    (
        httpx2.TimeoutException,
        _Translation(
            error=UnreachableError,
            message="{host} did not answer in time for {ref}",
            hint=_LATER,
        ),
    ),
    (httpx2.InvalidURL, _NOT_A_URL),
    (httpx2.UnsupportedProtocol, _NOT_A_URL),
    (
        HFValidationError,
        _Translation(
            error=NotFoundError,
            message="{ref} is not a name that the Hub allows; expected org/name",
            hint="a name has no '--', no '..' and does not end in .git",
        ),
    ),
    (
        OIDCError,
        _Translation(
            error=AccessError,
            message="no token for {ref}: the exchange that HF_OIDC_RESOURCE asks for failed",
            hint="correct or unset HF_OIDC_RESOURCE, or set HF_TOKEN",
        ),
    ),
    (FileMetadataError, _NOT_A_HUB),
)
_BY_STATUS = {
    401: _Translation(
        error=AccessError,
        message="{host} refused the token, or asks for one, for {ref} (401)",
        hint=f"{_TOKEN}; a token can have expired",
    ),
    403: _Translation(
        error=AccessError,
        message="{host} forbids to read {ref} (403)",
        hint=f"{_TOKEN}; check the token's permissions",
    ),
    404: _Translation(
        error=NotFoundError,
        message="{ref} was not found on {host} (404)",
        hint="check the name, the revision and HF_ENDPOINT",
    ),
    429: _Translation(
        error=UnreachableError,
        message="{host} limits requests and refused the one for {ref} (429)",
        hint="wait some minutes and run again; with HF_TOKEN set the limits are higher",
    ),
}


@contextmanager
def translated(ref: ModelRef, endpoint: str) -> Iterator[None]:
    """Translate what the Hub's client raises into a `SourceError`, one subclass per cause.

    Args:
        ref: The model, for messages.
        endpoint: The Hub's URL; only its host gets into a message.

    Yields:
        Nothing; call the client inside the block, and nothing else.
    """
    try:
        yield
    except _FOREIGN as exc:
        error = _error_for(exc, ref, host_of(endpoint))
        raise error from exc


def host_of(endpoint: str) -> str:
    """Return the part of a URL that may be shown.

    Args:
        endpoint: A URL, perhaps with a user name and a password.

    Returns:
        Host and port; a placeholder if the URL cannot be read.
    """
    try:
        parts = urlsplit(endpoint)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the Hub"
    return f"{parts.hostname}{port}" if parts.hostname else "the Hub"


def _error_for(exc: BaseException, ref: ModelRef, host: str) -> SourceError:
    if isinstance(exc, LocalEntryNotFoundError) and exc.__cause__ is not None:
        # The client looks into the cache when the server fails, and reports that instead.
        return _error_for(exc.__cause__, ref, host)
    for cause, translation in _BY_CLASS:
        if isinstance(exc, cause):
            return translation(exc, ref, host)
    if isinstance(exc, HfHubHTTPError):
        return _by_status(exc.response.status_code)(exc, ref, host)
    if isinstance(exc, httpx2.HTTPError):
        msg = f"no connection to {host} for {ref} ({type(exc).__name__})"
        return UnreachableError(msg, hint=_LATER)
    if isinstance(exc, OSError):
        return _disk_or_line(exc, ref, host)
    return _NOT_A_HUB(exc, ref, host)


def _by_status(status: int) -> _Translation:
    other = _Translation(
        error=UnreachableError,
        message=f"{{host}} could not answer for {{ref}} ({status})",
        hint=_LATER,
    )
    return _BY_STATUS.get(status, other)


def _disk_or_line(exc: OSError, ref: ModelRef, host: str) -> SourceError:
    if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
        msg = f"the disk became full while {ref} was downloaded"
        return StorageError(msg, hint="free some room, or set HF_HOME to a larger disk")
    if exc.errno is not None:
        msg = f"the cache cannot be written for {ref}: {exc.strerror}: {exc.filename!r}"
        return StorageError(msg, hint="check its permissions, or set HF_HOME to another folder")
    if type(exc) is OSError:
        # The client's "Consistency check failed" has neither a class nor a number of its own.
        msg = f"{host} sent a file of {ref} with another size than it announced"
        return IntegrityError(msg, hint="run again; if it happens again, the server is damaged")
    msg = f"the download of {ref} from {host} failed ({type(exc).__name__})"
    return UnreachableError(msg, hint=_LATER)
