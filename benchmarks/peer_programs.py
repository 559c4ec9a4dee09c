"""Install the peers, each in an environment of its own, and say how each compares a pair."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable

# First and alone in each environment, so that all multiply with the same library.
TORCH = "torch==2.13.0"
_WEIGHTWATCHER = Path(__file__).with_name("weightwatcher_pair.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Say what is compared, and where a report goes."""

    base: Path
    candidate: Path
    report: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Say what a program is and how it is called on two local folders.

    Attributes:
        name: Its name.
        requirements: What pip is asked for, after torch.
        arguments: Its command line in its environment's ``bin``, for a pair.
        spectra: Which spectra it computes: for fairness, since we compute all.
    """

    name: str
    requirements: tuple[str, ...]
    arguments: Callable[[Pair], list[str]]
    spectra: str


def _afterburn(pair: Pair) -> list[str]:
    models = ["--base", str(pair.base), "--trained", str(pair.candidate)]
    return ["afterburn", "weight-diff", *models, "--device", "cpu", "-o", str(pair.report)]


def _modeldelta(pair: Pair) -> list[str]:
    return ["modeldelta", str(pair.base), str(pair.candidate), "-q", "-o", str(pair.report)]


def _weightwatcher(pair: Pair) -> list[str]:
    models = [str(pair.base), str(pair.candidate)]
    return ["python", str(_WEIGHTWATCHER), *models, str(pair.report)]


PEERS = (
    Peer(
        name="afterburn",
        # It does not work with transformers 5, which its own bounds say, too.
        requirements=("afterburn==0.6.3", "transformers<5"),
        arguments=_afterburn,
        spectra="one matrix of each layer: the candidate's, and ten values of the change",
    ),
    Peer(
        name="modeldelta",
        requirements=("modeldelta==0.4.0",),
        arguments=_modeldelta,
        spectra="the change of each matrix",
    ),
    Peer(
        name="weightwatcher",
        requirements=("weightwatcher==0.7.7",),
        arguments=_weightwatcher,
        spectra="base and candidate of each matrix",
    ),
)


def install(peer: Peer, work: Path) -> Path:
    """Make a peer's environment, if it is not there.

    Args:
        peer: The program.
        work: Folder of work.

    Returns:
        The environment's folder of programs.
    """
    folder = work / "peers" / peer.name
    programs, done = folder / "bin", folder / ".installed"
    wanted = "\n".join((TORCH, *peer.requirements))
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return programs
    _check([sys.executable, "-m", "venv", "--clear", str(folder)])
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet"]
    _check([*pip, TORCH])
    _check([*pip, TORCH, *peer.requirements])
    done.write_text(wanted, encoding="utf-8")
    return programs


def _check(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        msg = f"{' '.join(command[1:])}: exit code {done.returncode}: {done.stderr[-1500:]}"
        raise BenchmarkError(msg)


def command(peer: Peer, programs: Path, pair: Pair) -> list[str]:
    """Return the command line of a peer.

    Args:
        peer: The program.
        programs: Its environment's folder of programs.
        pair: What it compares.
    """
    program, *arguments = peer.arguments(pair)
    return [str(programs / program), *arguments]


def versions(programs: Path) -> dict[str, str]:
    """Return the versions that matter of what is installed in a peer's environment."""
    names = {*(peer.name for peer in PEERS), "torch", "transformers", "numpy", "scipy"}
    listing = [str(programs / "python"), "-m", "pip", "list", "--format", "freeze"]
    lines = subprocess.run(  # noqa: S603 - our own environment
        listing, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    parts = (line.partition("==") for line in lines)
    return {name: version for name, _, version in parts if name in names}
