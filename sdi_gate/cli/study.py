"""The commands of the study: build, measure, evaluate, collect, merge, fit, report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sdi_gate.cli.options import DEVICES, MAX_THREADS, PATH

if TYPE_CHECKING:
    from collections.abc import Callable

_SHARD = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


class _Shard(click.ParamType[tuple[int, int]]):
    """Read ``I/N``."""

    name = "I/N"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        match = _SHARD.fullmatch(str(value))
        index, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= index <= count:
            self.fail(f"expected I/N with I from 1 to N, such as 2/8; got {value!r}", param, ctx)
        return index, count


_WHERE = (
    click.option(
        "--manifest",
        required=True,
        metavar="FILE|NAME",
        help="The pairs: a YAML file, or the name of a manifest that ships (public).",
    ),
    click.option(
        "--work",
        type=PATH,
        default=Path("study-work"),
        show_default=True,
        help="Folder for models and for the files of the units.",
    ),
    click.option(
        "--results",
        type=PATH,
        default=Path("study/results"),
        show_default=True,
        help="Results table (.jsonl), or the folder that has it under the manifest's name.",
    ),
    click.option(
        "--tasks",
        type=PATH,
        metavar="DIR",
        help="Items to evaluate with, AXIS.jsonl each, in place of the population's own tests.",
    ),
)
_HOW = (
    click.option("--only", default="*", metavar="GLOB", help="Pairs whose name matches."),
    click.option(
        "--shard",
        type=_Shard(),
        default="1/1",
        show_default=True,
        help="This machine's share of the pairs.",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(min=1, max=MAX_THREADS),
        default=1,
        show_default=True,
        help="Processes; with more than one, each has a single thread.",
    ),
    click.option("--retry-failed", is_flag=True, help="Try again what failed."),
    click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="auto",
        show_default=True,
        help="Where to compute.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1, max=MAX_THREADS),
        help="CPU threads of one process; default: all there are.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOptions:
    """Hold what every command of the study was given.

    Attributes:
        manifest: File or name of the manifest.
        work: Folder for models and units.
        results: Table, or folder of tables.
        tasks: Folder of items that stand for the population's own tests.
        only: Pattern of the names of pairs.
        shard: Which share, from 1, and how many there are.
        jobs: Processes.
        retry_failed: Whether to try again what failed.
        device: Where to compute.
        threads: CPU threads, if not all.
    """

    manifest: str
    work: Path
    results: Path
    tasks: Path | None
    only: str = "*"
    shard: tuple[int, int] = (1, 1)
    jobs: int = 1
    retry_failed: bool = False
    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOptions:
    """Hold which calibration is to be written.

    Attributes:
        file: Where to; None writes none.
        name: Its name, if not that of the file.
        version: Its version.
    """

    file: Path | None
    name: str | None
    version: int


def _options(*declarations: Callable[..., Any]) -> Callable[..., Any]:
    # The command receives the shared options as one `StudyOptions`.
    names = StudyOptions.__dataclass_fields__

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def command(**given: Any) -> Any:  # noqa: ANN401 - click's own calling convention
            own = {key: value for key, value in given.items() if key not in names}
            shared = {key: value for key, value in given.items() if key in names}
            return function(StudyOptions(**shared), **own)

        command.__doc__, command.__name__ = function.__doc__, function.__name__
        decorated: Callable[..., Any] = command
        for declaration in reversed(declarations):
            decorated = declaration(decorated)
        decorated.__click_params__.extend(  # type: ignore[attr-defined]
            getattr(function, "__click_params__", [])
        )
        return decorated

    return decorate


@click.group()
def study() -> None:
    """Measure whether the index predicts degradation: build, measure, evaluate, fit, report.

    Each step goes on where it was stopped. Machines share a manifest by --shard, and what they
    did unites by copying the folder units of --work, or with merge.
    """


@study.command()
@_options(*_WHERE, *_HOW)
def build(options: StudyOptions) -> None:
    """Build the models of a manifest of organisms."""
    from sdi_gate.cli.study_steps import run_build  # noqa: PLC0415 - loads torch

    run_build(options)


@study.command()
@_options(*_WHERE, *_HOW)
def measure(options: StudyOptions) -> None:
    """Scan each pair: every metric of every signal."""
    from sdi_gate.cli.study_steps import run_measure  # noqa: PLC0415 - loads torch

    run_measure(options)


@study.command()
@_options(*_WHERE, *_HOW)
@click.option(
    "--benchmarks",
    type=PATH,
    metavar="DIR",
    help="Files of the public benchmarks, in place of the Hub's.",
)
def evaluate(options: StudyOptions, benchmarks: Path | None) -> None:
    """Run the capability tests on each model once."""
    from sdi_gate.cli.study_steps import run_evaluate  # noqa: PLC0415 - loads torch

    run_evaluate(options, benchmarks)


@study.command()
@_options(*_WHERE)
def collect(options: StudyOptions) -> None:
    """Write the rows of all pairs whose work has ended to the results table."""
    from sdi_gate.cli.study_steps import run_collect  # noqa: PLC0415 - loads torch

    run_collect(options)


@study.command()
@_options(*_WHERE)
@click.option("--calibration", type=PATH, metavar="FILE", help="Calibration to write, too.")
@click.option("--name", metavar="NAME", help="Its name; default: that of its file.")
@click.option(
    "--version", type=click.IntRange(min=1), default=1, show_default=True, help="Its version."
)
def fit(options: StudyOptions, calibration: Path | None, name: str | None, version: int) -> None:
    """Fit the index to the rows of a manifest, and hold it against the families left out."""
    from sdi_gate.cli.calibrate import require_scipy  # noqa: PLC0415 - with the others

    require_scipy()
    from sdi_gate.cli.study_results import run_fit  # noqa: PLC0415 - loads torch

    run_fit(options, CalibrationOptions(file=calibration, name=name, version=version))


@study.command()
@_options(*_WHERE)
@click.option(
    "--out",
    type=PATH,
    default=Path("docs/study.md"),
    show_default=True,
    help="The document to write; its figures go beside it.",
)
def report(options: StudyOptions, out: Path) -> None:
    """Write the document of the study from its results table and its fit."""
    from sdi_gate.cli.study_results import run_report  # noqa: PLC0415 - loads torch

    run_report(options, out)


@study.command()
@click.argument("tables", nargs=-1, required=True, type=PATH)
@click.option("--results", required=True, type=PATH, help="Results table to append to.")
def merge(tables: tuple[Path, ...], results: Path) -> None:
    """Append the rows of other results tables to one."""
    from sdi_gate.cli.output import put, say  # noqa: PLC0415 - as the other commands
    from sdi_gate.study.rows import append_rows, read_rows  # noqa: PLC0415 - loads pydantic

    count = 0
    for table in tables:
        count += append_rows(results, read_rows(table, say))
    put(f"{count} rows added to {results}\n")
