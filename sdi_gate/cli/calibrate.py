"""The command that makes a calibration from an organisation's own history."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from sdi_gate.cli.options import PATH
from sdi_gate.cli.output import printable, put
from sdi_gate.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from sdi_gate.study.fit.result import FitResult


@click.command()
@click.argument("results", type=PATH)
@click.option("--out", required=True, type=PATH, help="The calibration file to write.")
@click.option("--name", required=True, metavar="NAME", help="Its name, such as support-models-1.")
def calibrate(results: Path, out: Path, name: str) -> None:
    """Fit the index to your own history of fine-tunes.

    RESULTS is a results table (.jsonl) or a folder of them, one row for each pair of a base and a
    fine-tune that was measured and evaluated. At least 20 pairs, 8 of them high regressions.
    """
    require_scipy()
    from sdi_gate.prediction.calibration import dump  # noqa: PLC0415
    from sdi_gate.study.fit.calibrate import calibration_from, write_file  # noqa: PLC0415
    from sdi_gate.study.fit.fit import fit_study  # noqa: PLC0415
    from sdi_gate.study.rows import read_rows  # noqa: PLC0415

    _keep_apart(results, out)
    rows = read_rows(results)
    fit = fit_study(rows)
    calibration = calibration_from(fit, rows, name)
    write_file(out, dump(calibration))
    put(_told(fit) + printable(f"\nCalibration: {out}\nUse it: --calibration {out}\n"))


def _keep_apart(results: Path, out: Path) -> None:
    tables = [results, *results.glob("*.jsonl")] if results.is_dir() else [results]
    if out.resolve() in {table.resolve() for table in tables}:
        msg = f"--out {str(out)!r} is the table of results itself"
        raise UsageError(msg, hint="give the calibration a file of its own")


def require_scipy() -> None:
    """Refuse to fit without the library that fits.

    Raises:
        UsageError: If SciPy is not installed.
    """
    if find_spec("scipy") is None:
        msg = "fitting needs SciPy, which is not installed"
        raise UsageError(msg, hint="pip install 'sdi-gate[calibrate]'")


def _told(fit: FitResult) -> str:
    from sdi_gate.cli.rendering import render_lists  # noqa: PLC0415
    from sdi_gate.study.fit.summary import established, not_established  # noqa: PLC0415

    families = ", ".join(fit.families)
    head = (
        f"{fit.num_pairs} pairs of {fit.num_bases} bases, families {families}; "
        f"{fit.num_degraded} high regressions. {fit.definition}"
    )
    lists = {"Established": established(fit), "Not established": not_established(fit)}
    return render_lists(printable(head), lists)
