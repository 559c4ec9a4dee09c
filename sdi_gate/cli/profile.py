"""The command that measures a base ahead of its candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from sdi_gate.cli.cache import open_target
from sdi_gate.cli.options import DEVICES, DTYPES, MAX_THREADS, PATH, TIERS
from sdi_gate.cli.output import printable, progress_on_stderr, put

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdi_gate.gate.profile import ProfileRequest
    from sdi_gate.profiles.parts import ProfileStore

_DECLARATIONS = (
    click.option("--base", required=True, metavar="REF", help="The model to measure."),
    click.option(
        "--tier",
        type=click.Choice(TIERS),
        default="auto",
        show_default=True,
        help="Highest tier to measure for; auto: what this machine does in ten minutes.",
    ),
    click.option("--probe", type=PATH, help="Your own probe set (JSON Lines: text, stratum)."),
    click.option(
        "--seed",
        type=click.IntRange(min=0, max=2**31),
        default=0,
        show_default=True,
        help="Seed of every random draw.",
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
        help="Type in which the model runs; auto: float32 on the CPU, bfloat16 on a GPU.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1, max=MAX_THREADS),
        help="CPU threads; default: all there are.",
    ),
    click.option(
        "--out",
        type=PATH,
        metavar="DIR",
        help="A folder for the profile alone, to be shipped; default: the cache.",
    ),
    click.option(
        "--cache",
        type=PATH,
        metavar="DIR",
        help="The cache; default: $SDI_GATE_CACHE, else ~/.cache/sdi-gate.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions:
    """Hold the options of `profile` as they were given.

    Attributes:
        base: Reference of the base.
        tier: Highest tier to measure for.
        probe: A user's own probe set, if any.
        seed: Seed of every random draw.
        device: Where to compute.
        dtype: Type in which the model runs.
        threads: CPU threads, if not all.
        out: A folder for the profile alone, if not the cache.
        cache: The cache, if not the usual one.
    """

    base: str
    tier: str
    probe: Path | None
    seed: int
    device: str
    dtype: str
    threads: int | None
    out: Path | None
    cache: Path | None


def _declared(function: Callable[..., None]) -> Callable[..., None]:
    for declaration in reversed(_DECLARATIONS):
        function = declaration(function)
    return function


@click.command()
@_declared
def profile(**given: Any) -> None:  # noqa: ANN401 - click's own calling convention
    """Measure a base ahead of time, so that its candidates cost less.

    A scan with the same settings, on the same kind of machine, finds what this command keeps in
    the cache, or in the folder of --out if it is given as --profile.
    """
    from sdi_gate.cli.precheck import check_endpoint, needs_hub  # noqa: PLC0415
    from sdi_gate.models.ref import ModelRef  # noqa: PLC0415

    options = ProfileOptions(**given)
    check_endpoint(needed=needs_hub([ModelRef.parse(options.base)]))
    _run(options)


def _run(options: ProfileOptions) -> None:
    from sdi_gate.cli.scanning import set_up, sources_for  # noqa: PLC0415 - loads torch
    from sdi_gate.gate.procedure import Effects  # noqa: PLC0415
    from sdi_gate.gate.profile import make_profile  # noqa: PLC0415

    store, folder = open_target(options.out, options.cache)
    request = _request(options, store)
    set_up(options.threads, request.device)
    with progress_on_stderr() as progress:
        effects = Effects(sources=sources_for([request.base]), progress=progress)
        parts = make_profile(request, effects)
    made = ", ".join(parts) or "nothing"
    put(printable(f"Profile of {request.base}: {made}, in {folder}\n"))


def _request(options: ProfileOptions, store: ProfileStore) -> ProfileRequest:
    from sdi_gate.cli.scanning import choose_device, choose_dtype  # noqa: PLC0415
    from sdi_gate.gate.profile import ProfileRequest  # noqa: PLC0415
    from sdi_gate.gate.request import Settings, TierChoice  # noqa: PLC0415
    from sdi_gate.models import probe  # noqa: PLC0415
    from sdi_gate.models.ref import ModelRef  # noqa: PLC0415

    device = choose_device(options.device)
    return ProfileRequest(
        base=ModelRef.parse(options.base),
        tier=TierChoice(options.tier),
        device=device,
        dtype=choose_dtype(options.dtype, device),
        probe=probe.load_file(options.probe) if options.probe else probe.load_default(),
        settings=Settings(seed=options.seed),
        store=store,
    )
