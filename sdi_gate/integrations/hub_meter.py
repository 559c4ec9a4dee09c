"""Measure a download by what the Hub's client tells its progress bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

# It is in this module's documentation, yet it does not mark what it exports.
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

from sdi_gate.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sdi_gate.integrations.hub_cache import PromisedFile
    from sdi_gate.models.ref import ModelRef
    from sdi_gate.progress import Progress

# A stream that breaks is taken up again, at times from its beginning: some bytes come twice.
_RETRIES = 8
_MIB = 1 << 20


class Meter:
    """Turn the client's bars into progress in MiB over all files.

    Args:
        missing: What is to be downloaded.
        progress: Told of every MiB, in stage ``download``.
        ref: The model, for messages.
    """

    def __init__(self, missing: Iterable[PromisedFile], progress: Progress, ref: ModelRef) -> None:
        self._ref = ref
        self._promised_bytes = {file.name: file.size_bytes for file in missing}
        self._total_bytes = sum(self._promised_bytes.values())
        self._total_mib = -(-self._total_bytes // _MIB)
        self._done_bytes = 0
        self._progress = progress

    def bar_for(self, name: str) -> type[tqdm]:
        """Return a class of bars for one file, which draw nothing.

        Args:
            name: The file.

        Returns:
            A class as the client takes it; its bars raise IntegrityError if the server sends far
            more than it promised.
        """
        received = 0

        def advance(count: float | None) -> None:
            nonlocal received
            received += int(count or 0)
            promised = self._promised_bytes.get(name)
            if promised is not None and received > _RETRIES * promised + _MIB:
                msg = f"the Hub sends more of {name!r} of {self._ref} than the {promised} bytes"
                raise IntegrityError(f"{msg} it promised", hint="do not trust this server")
            self._done_bytes += int(count or 0)
            # Never full before `finish`: a stage ends once.
            done = max(min(self._done_bytes // _MIB, self._total_mib - 1), 0)
            self._progress.advance("download", done, self._total_mib, name)

        return _bar_class(advance)

    def finish(self) -> None:
        """End the stage, if anything was to be downloaded."""
        if self._total_mib:
            self._progress.advance("download", self._total_mib, self._total_mib)


def _bar_class(advance: Callable[[float | None], None]) -> type[tqdm]:
    # The client takes a class, not an object. Being its own subclass gives it all the
    # attributes that the client touches; being disabled, it draws nothing.
    class Bar(tqdm):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            advance(n)

        def update_transfer(self, n: float) -> None:
            """Ignore bytes on the line: with Xet they are fewer than those in the file."""

        def set_transfer_postfix_str(self, *args: object, **kwargs: object) -> None:
            """Ignore the rate."""

    return Bar
