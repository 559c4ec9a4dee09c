"""Fetch the configuration of a model from the Hub, and nothing else of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, constants
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from sdi_gate.errors import NotFoundError
from sdi_gate.integrations.hub_errors import translated
from sdi_gate.models.listing import CONFIG, check_size

if TYPE_CHECKING:
    from sdi_gate.models.ref import ModelRef

_TIMEOUT_S = 10.0


def fetch_config(ref: ModelRef, endpoint: str | None = None) -> Path:
    """Fetch ``config.json`` into the cache that the Hub's other clients share.

    Args:
        ref: A reference with scheme ``hf``.
        endpoint: URL of the Hub; None for the client's own.

    Returns:
        The folder that holds it.

    Raises:
        NotFoundError: If the model has none.
        SourceError: If it cannot be had.
    """  # noqa: DOC502 - raised by translated()
    endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
    api = HfApi(endpoint=endpoint, library_name="sdi-gate")
    with translated(ref, endpoint):
        validate_repo_id(ref.location)
    revision = ref.revision
    if not constants.HF_HUB_OFFLINE:
        # Its size first: a stranger's file is not written to the disk whatever it has.
        with translated(ref, endpoint):
            info = api.model_info(
                ref.location, revision=revision, files_metadata=True, timeout=_TIMEOUT_S
            )
            sizes = {file.rfilename: file.size for file in info.siblings or ()}
        if sizes.get(CONFIG) is None:
            msg = f"{ref} has no {CONFIG}"
            raise NotFoundError(msg, hint="give a model, not an adapter; or its size, such as 7B")
        check_size(CONFIG, int(sizes[CONFIG] or 0), ref)
        revision = info.sha
    with translated(ref, endpoint):
        path = api.hf_hub_download(ref.location, CONFIG, revision=revision, etag_timeout=_TIMEOUT_S)
    return Path(path).parent
