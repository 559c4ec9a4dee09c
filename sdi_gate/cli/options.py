"""Declare the options that `check` and `scan` share."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = click.Path(path_type=Path)
TIERS = ("weights", "probe", "full", "auto")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16")
MAX_THREADS = 1024

_DURATION = re.compile(r"(?:(\d{1,3})h)?(?:(\d{1,5})m)?(?:(\d{1,7})s)?")
_LONGEST_S = 7 * 24 * 3600
# As policies have it.
_LONGEST_NAME = 200


class Duration(click.ParamType[float]):
    """Read a duration such as ``10m``, ``90s`` or ``1h30m``, as seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """See `click.ParamType.convert`.

        Returns:
            Seconds.
        """
        found = _DURATION.fullmatch(str(value)) if str(value).isascii() else None
        hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0,) * 3
        total = 3600 * hours + 60 * minutes + seconds
        if not 0 < total <= _LONGEST_S:
            msg = f"expected a duration from 1s to a week, such as 10m or 1h30m; got {value!r}"
            self.fail(msg, param, ctx)
        return float(total)


class RegisteredName(click.ParamType[str]):
    """Read a name in a model registry: printable text, with no space at either end."""

    name = "name"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """See `click.ParamType.convert`.

        Returns:
            The name.
        """
        text = str(value)
        if not (0 < len(text) <= _LONGEST_NAME and text.isprintable() and text == text.strip()):
            msg = f"{text!r} is no name in a registry: 1 to {_LONGEST_NAME} printable characters."
            self.fail(msg, param, ctx)
        return text


_DECLARATIONS = (
    click.option(
        "--base",
        metavar="REF",
        help="The model it was made from; not needed for an adapter that names its base.",
    ),
    click.option("--candidate", required=True, metavar="REF", help="The fine-tune, or an adapter."),
    click.option(
        "--tier",
        type=click.Choice(TIERS),
        default="auto",
        show_default=True,
        help="Highest tier to run; auto: the highest that this machine does in ten minutes, or in"
        " the budget.",
    ),
    click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="auto",
        show_default=True,
        help="Where to compute.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="auto",
        show_default=True,
        help="Type in which the models run; auto: float32 on the CPU, bfloat16 on a GPU.",
    ),
    click.option(
        "--budget",
        type=Duration(),
        metavar="DURATION",
        help="Time for the whole scan, such as 10m or 1h30m; what does not fit is cut, and said.",
    ),
    click.option(
        "--profile",
        type=PATH,
        metavar="DIR",
        help="Profile of the base, as sdi-gate profile writes it: read before the cache.",
    ),
    click.option(
        "--cache",
        type=PATH,
        metavar="DIR",
        help="The cache of profiles; default: $SDI_GATE_CACHE, else ~/.cache/sdi-gate.",
    ),
    click.option("--no-cache", is_flag=True, help="Keep no profile, and use none but --profile."),
    click.option(
        "--out",
        type=PATH,
        default=Path("sdi-gate-out"),
        show_default=True,
        help="Folder for result.json and report.md.",
    ),
    click.option("--probe", type=PATH, help="Your own probe set (JSON Lines: text, stratum)."),
    click.option(
        "--calibration",
        type=PATH,
        envvar="SDI_GATE_CALIBRATION",
        show_envvar=True,
        help="Your own calibration, as sdi-gate calibrate writes it; default: the one that ships.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0, max=2**31),
        default=0,
        show_default=True,
        help="Seed of every random draw.",
    ),
    click.option(
        "--depth-weights",
        default="uniform",
        show_default=True,
        metavar="uniform|linear|W,W,...",
        help="How much each layer group counts in the weight signals.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1, max=MAX_THREADS),
        help="CPU threads; default: all there are.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """Hold the options of `check` and `scan` as they were given.

    Attributes:
        base: Reference of the base; None for that which the candidate, an adapter, names.
        candidate: Reference of the candidate.
        tier: Highest tier to run.
        device: Where to compute.
        out: Folder for the report.
        probe: A user's own probe set, if any.
        calibration: A user's own calibration, if any.
        seed: Seed of every random draw.
        depth_weights: Depth weights of the weight signals.
        threads: CPU threads, if not all.
        dtype: Type in which the models run.
        budget: Seconds for the whole scan, if there is a bound.
        profile: Folder with a profile of the base, if any.
        cache: Folder of profiles, if not the usual one.
        no_cache: Whether to keep none.
    """

    base: str | None
    candidate: str
    tier: str
    device: str
    out: Path
    probe: Path | None
    calibration: Path | None
    seed: int
    depth_weights: str
    threads: int | None
    dtype: str = "auto"
    budget: float | None = None
    profile: Path | None = None
    cache: Path | None = None
    no_cache: bool = False


def cpu_count() -> int:
    """Count the processors that this process may use.

    Returns:
        Processors; all of the machine's where the system does not tell a process its own.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def scan_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the shared options on a command, which receives them as one `ScanOptions`.

    Args:
        function: The command, with ``options`` as its first parameter.

    Returns:
        The command with its options.
    """
    names = ScanOptions.__dataclass_fields__

    def command(**given: Any) -> Any:  # noqa: ANN401 - click's own calling convention
        own = {key: value for key, value in given.items() if key not in names}
        shared = {key: value for key, value in given.items() if key in names}
        return function(ScanOptions(**shared), **own)

    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    # Options are shown in the order in which decorators are written: the last is applied first.
    decorated: Callable[..., Any] = command
    for declaration in reversed(_DECLARATIONS):
        decorated = declaration(decorated)
    decorated.__click_params__.extend(  # type: ignore[attr-defined]
        getattr(function, "__click_params__", [])
    )
    return decorated
