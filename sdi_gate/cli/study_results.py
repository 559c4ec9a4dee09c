"""Fit the results of a study, and write its document."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from sdi_gate.cli.output import printable, put
from sdi_gate.cli.rendering import render_lists
from sdi_gate.cli.study_steps import Study, open_study, rows_of
from sdi_gate.errors import PublishError, UsageError
from sdi_gate.prediction.calibration import dump as dump_calibration
from sdi_gate.study.fit.calibrate import calibration_from
from sdi_gate.study.fit.fit import fit_study
from sdi_gate.study.fit.result import FitResult, dump, load
from sdi_gate.study.fit.summary import established, not_established
from sdi_gate.study.rows import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sdi_gate.cli.study import CalibrationOptions, StudyOptions
    from sdi_gate.study.row import Row

_COMMAND = "sdi-gate study fit"


def run_fit(options: StudyOptions, wanted: CalibrationOptions) -> None:
    """Fit the index to the rows of a manifest.

    Args:
        options: What was asked for.
        wanted: Which calibration to write, if any.
    """
    study = open_study(options)
    rows = _rows(study)
    fit = fit_study(rows)
    files = {fit_path(study): dump(fit)}
    if wanted.file is not None:
        name = wanted.name or wanted.file.stem
        made = calibration_from(fit, rows, name, version=wanted.version, command=_COMMAND)
        files[wanted.file] = dump_calibration(made)
    for path, content in files.items():
        _write(path, content)
    put(_told(fit) + "".join(f"Wrote {printable(str(path))}\n" for path in files))


def run_report(options: StudyOptions, out: Path) -> None:
    """Write the document of a study.

    Args:
        options: What was asked for.
        out: The document.

    Raises:
        UsageError: If what draws figures is not installed.
    """
    study = open_study(options)
    rows = _rows(study)
    fit = load_fit(study, rows)
    if find_spec("matplotlib") is None:
        msg = "figures need Matplotlib, which is not installed"
        raise UsageError(msg, hint="pip install 'sdi-gate[study]'")
    from sdi_gate.study.document.write import write_document  # noqa: PLC0415 - an extra

    put("".join(f"Wrote {printable(str(path))}\n" for path in write_document(fit, rows, out)))


def fit_path(study: Study) -> Path:
    """Say where the fit of a study is.

    Args:
        study: The study.

    Returns:
        A file beside the results table.
    """
    return study.table.with_name(f"{study.table.stem}-fit.json")


def load_fit(study: Study, rows: Sequence[Row]) -> FitResult:
    """Read the fit of a study.

    Args:
        study: The study.
        rows: Its rows.

    Returns:
        The fit.

    Raises:
        UsageError: If there is none, or it is of other rows.
    """
    from sdi_gate.study.fit.fit import results_digest  # noqa: PLC0415

    path = fit_path(study)
    try:
        content = path.read_bytes()
    except OSError as exc:
        msg = f"cannot read the fit {str(path)!r}: {exc.strerror}"
        raise UsageError(msg, hint="run sdi-gate study fit") from exc
    fit = load(content, str(path))
    if fit.results_digest != results_digest(rows):
        msg = f"{path}: a fit of other rows than those of {study.table}"
        raise UsageError(msg, hint="run sdi-gate study fit again")
    return fit


def _rows(study: Study) -> tuple[Row, ...]:
    rows = rows_of(study)
    if not rows:
        msg = f"{study.table} has no row of the manifest as it is now"
        hint = "run the steps before: build, measure, evaluate"
        raise UsageError(msg, hint=hint)
    return rows


def _write(path: Path, content: bytes) -> None:
    try:
        if path.exists() and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as exc:
        msg = f"cannot write {str(path)!r}: {exc.strerror}"
        raise PublishError(msg, hint="free some room, and run again") from exc


def _told(fit: FitResult) -> str:
    head = f"{fit.num_pairs} pairs of {fit.num_bases} bases, {fit.num_degraded} high regressions."
    lists = {"Established": established(fit), "Not established": not_established(fit)}
    return render_lists(printable(head), lists)
