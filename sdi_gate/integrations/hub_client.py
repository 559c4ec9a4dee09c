"""Hold what every reader of the Hub is given: where it is, who asks, and which cache is used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, constants, get_token

from sdi_gate.errors import AccessError
from sdi_gate.integrations.hub_errors import host_of, translated

if TYPE_CHECKING:
    from sdi_gate.models.ref import ModelRef

_TOKEN = re.compile(r"[!-~]+")


class HubClient:
    """Read from the Hub (``hf:``) through the cache that its other clients share.

    What is None is left to the client's own reading of HF_TOKEN, HF_ENDPOINT, HF_HOME and
    HF_HUB_OFFLINE.

    Args:
        token: Token that may read the repositories.
        endpoint: URL of the Hub.
        cache_folder: Folder of the cache.
        offline: Whether to use the cache only.
        timeout_s: How long to wait for an answer about a repository or a file.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        endpoint: str | None = None,
        cache_folder: Path | None = None,
        offline: bool | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        # An Actions secret that is not set arrives as an empty string.
        self._token = token or None
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._cache_folder = Path(cache_folder or constants.HF_HUB_CACHE).absolute()
        self._offline = constants.HF_HUB_OFFLINE if offline is None else offline
        self._timeout_s = timeout_s
        self._api = HfApi(endpoint=self._endpoint, token=self._token, library_name="sdi-gate")

    def __repr__(self) -> str:
        """Return the reader without its token."""
        name = type(self).__name__
        return f"{name}(endpoint={host_of(self._endpoint)!r}, offline={self._offline})"

    def _check_token(self, ref: ModelRef) -> None:
        # Looked at before it is sent: the errors of the layers below would quote it.
        with translated(ref, self._endpoint):
            token = get_token() if self._token is None else self._token
        if token is not None and not _TOKEN.fullmatch(token):
            msg = f"the token for {ref} holds a space, a line break or another character that"
            raise AccessError(f"{msg} no token has", hint="set HF_TOKEN again, to the token alone")
