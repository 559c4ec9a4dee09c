"""Find what is wrong with the options of a scan before torch is loaded, which takes seconds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sdi_gate.errors import UsageError
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.prediction.calibration import load_file
from sdi_gate.report.files import remove_reports

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdi_gate.cli.options import ScanOptions

_ENDPOINT = "HF_ENDPOINT"


def look_ahead(options: ScanOptions) -> None:
    """Remove the report of a former run, and refuse what cannot be followed or read.

    The report goes first: from here on, no error leaves the verdict of another run behind.

    Args:
        options: As they were given.

    Raises:
        UsageError: If the former report cannot be removed, a reference is none, a calibration was
            given and is none, or the address of the Hub, where one is needed, is no URL.
    """  # noqa: DOC502 - raised by the functions called
    remove_reports(options.out)
    given = (options.base, options.candidate)
    references = [None if text is None else ModelRef.parse(text) for text in given]
    if options.calibration is not None:
        load_file(options.calibration)
    check_endpoint(needed=needs_hub(references))


def needs_hub(references: Iterable[ModelRef | None]) -> bool:
    """Say whether the Hub can be asked for a model.

    Args:
        references: Base and candidate; None for a base that an adapter names, which it does by
            its name on the Hub.

    Returns:
        Whether one of them is, or may be, on the Hub.
    """
    return any(ref is None or ref.scheme is Scheme.HUB for ref in references)


def check_endpoint(*, needed: bool) -> None:
    """Look at the address of the Hub before its client does, which crashes on one that is no URL.

    Args:
        needed: Whether the Hub will be asked; if not, a broken address is dropped.

    Raises:
        UsageError: If the address is needed and is no URL.
    """
    if _is_url(os.environ.get(_ENDPOINT, "")):
        return
    if needed:
        msg = f"{_ENDPOINT} is not a URL, and the Hub is needed"
        raise UsageError(msg, hint="set it to a URL such as https://huggingface.co, or unset it")
    # The Hub's client fails while it is imported, and transformers imports it for folders too.
    del os.environ[_ENDPOINT]


def _is_url(text: str) -> bool:
    if not text:
        return True  # The client takes its default.
    if any(char.isspace() for char in text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
