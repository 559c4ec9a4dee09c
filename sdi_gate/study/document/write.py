"""Write the document of a study and its figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.errors import PublishError
from sdi_gate.study.document.figures.draw import NAMES, draw
from sdi_gate.study.document.markdown import render_markdown
from sdi_gate.study.document.view import view_of
from sdi_gate.study.rows import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.study.fit.result import FitResult
    from sdi_gate.study.row import Row


def write_document(
    fit: FitResult, rows: Sequence[Row], path: Path, figures: Path | None = None
) -> tuple[Path, ...]:
    """Write the document of a study and its figures.

    Args:
        fit: The fit.
        rows: The rows that it was fitted on.
        path: The document.
        figures: Folder of the figures; ``figures`` beside the document if not given.

    Returns:
        Every file that the document consists of, itself first. Equal arguments give equal bytes,
        and a file that has them already is not touched. A figure of a former run that this one
        does not have is removed.

    Raises:
        PublishError: If a file cannot be written.
    """
    folder = path.parent / "figures" if figures is None else figures
    drawn = draw(fit)
    seen = Path(os.path.relpath(folder, path.parent)).as_posix()
    text = render_markdown(view_of(fit, rows, drawn), seen)
    files = {path: text.encode()} | {folder / figure.name: figure.svg for figure in drawn}
    stale = [folder / name for name in NAMES if folder / name not in files]
    try:
        for file, content in files.items():
            _write(file, content)
        for file in stale:
            file.unlink(missing_ok=True)
    except OSError as exc:
        msg = f"cannot write {str(exc.filename or path)!r}: {exc.strerror}"
        raise PublishError(msg, hint="free some room, and run again") from exc
    return tuple(files)


def _write(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
