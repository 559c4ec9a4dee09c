"""Do long work in units, each with a file of its own, so that a kill loses the unit in hand alone.

A unit is done when its file is there. Files are written whole or not at all, and know nothing of
each other: machines share a manifest by taking different shards, and folders of units unite by
copying. What failed has a file too, with its reason, and is tried again only if that is asked for.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field, ValidationError

from sdi_gate.errors import PublishError, SdiGateError, UsageError
from sdi_gate.study.manifest import Strict
from sdi_gate.study.pace import Pace
from sdi_gate.study.rows import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from sdi_gate.progress import Progress

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_REASON = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Name one piece of work.

    Attributes:
        step: ``build``, ``measure`` or ``evaluate``.
        name: The pair or the model that it is about.
        key: Digest of everything that its result depends on.
        task: What whoever does the work needs; goes to another process.
    """

    step: str
    name: str
    key: str
    task: object = None


_REMOVE = "remove the file: its work is then done again"


class Done(Strict):
    """What became of a unit, as its file has it."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    step: str
    name: str
    key: str
    status: Literal["done", "failed"]
    reason: str | None = None
    seconds: float = Field(ge=0)
    payload: dict[str, Any] = Field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Return whether the unit failed."""
        return self.status == "failed"


class Work(Protocol):
    """Do a unit; picklable, since other processes do it too."""

    def __call__(self, unit: Unit) -> Mapping[str, Any]:
        """Return the payload of a unit, which JSON can hold.

        Args:
            unit: What to do.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStore:
    """Keep the files of units.

    Attributes:
        folder: Folder of the work, which has them under ``units``.
    """

    folder: Path

    def path(self, unit: Unit) -> Path:
        """Return where the file of a unit is.

        Args:
            unit: The unit.

        Returns:
            A path whose name tells a person which pair it is about.
        """
        safe = _UNSAFE.sub("_", unit.name.replace("/", "__"))[:100]
        return self.folder / "units" / unit.step / f"{safe}-{unit.key}.json"

    def read(self, unit: Unit) -> Done | None:
        """Read what became of a unit.

        Args:
            unit: The unit.

        Returns:
            Its result; None if it was not done yet.

        Raises:
            UsageError: If its file cannot be read.
        """
        path = self.path(unit)
        try:
            done = Done.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as exc:
            msg = f"cannot read the unit {str(path)!r}: {str(exc).splitlines()[0]}"
            raise UsageError(msg, hint=_REMOVE) from exc
        if (done.step, done.name, done.key) != (unit.step, unit.name, unit.key):
            msg = f"the unit {str(path)!r} is of {done.step} {done.name!r}, not of {unit.step}"
            raise UsageError(f"{msg} {unit.name!r}", hint=_REMOVE)
        return done

    def write(self, unit: Unit, done: Done) -> None:
        """Write what became of a unit.

        Args:
            unit: The unit.
            done: Its result.

        Raises:
            PublishError: If there is no room, or the folder cannot be written to.
        """
        path = self.path(unit)
        text = done.model_dump_json(by_alias=True, indent=1) + "\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text.encode())
        except OSError as exc:
            msg = f"cannot write the unit {str(path)!r}: {exc.strerror}"
            raise PublishError(msg, hint="free some room, and run again") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Hold what working uses of the world around it.

    Attributes:
        progress: Told how far the work has come.
        on_done: Told of each unit that ended in this run.
        clock: Monotonic seconds.
    """

    progress: Progress
    on_done: Callable[[Unit, Done], None] = lambda _unit, _done: None
    clock: Callable[[], float] = time.monotonic


def pending(store: UnitStore, units: Iterable[Unit], *, retry_failed: bool = False) -> list[Unit]:
    """Choose the units that are still to be done.

    Args:
        store: Their files.
        units: All units.
        retry_failed: Whether one that failed is to be tried again.

    Returns:
        Units without a result, in order; with ``retry_failed`` also those that failed.
    """
    found = []
    for unit in units:
        done = store.read(unit)
        if done is None or (retry_failed and done.failed):
            found.append(unit)
    return found


def do_unit(unit: Unit, work: Work, clock: Callable[[], float] = time.monotonic) -> Done:
    """Do one unit, and turn whatever goes wrong into a result that says so.

    Args:
        unit: What to do.
        work: Who does it.
        clock: Monotonic seconds.

    Returns:
        The result. An interrupt is none and passes.
    """
    began = clock()
    try:
        payload = dict(work(unit))
        json.dumps(payload, allow_nan=False)
    except SdiGateError as exc:
        return failure(unit, f"{type(exc).__name__}: {exc.message}", clock() - began)
    except Exception as exc:  # noqa: BLE001 - a pair that fails is a result and never dropped
        return failure(unit, f"{type(exc).__name__}: {exc}", clock() - began)
    return Done(
        step=unit.step,
        name=unit.name,
        key=unit.key,
        status="done",
        seconds=max(clock() - began, 0.0),
        payload=payload,
    )


def failure(unit: Unit, reason: str, seconds: float) -> Done:
    """Make the result of a unit that failed.

    Args:
        unit: The unit.
        reason: What went wrong; brought to one line.
        seconds: How long it took to fail.

    Returns:
        The result.
    """
    line = " ".join(reason.split())[:_MAX_REASON]
    return Done(
        step=unit.step,
        name=unit.name,
        key=unit.key,
        status="failed",
        reason=line,
        seconds=max(seconds, 0.0),
    )


def run_units(units: Sequence[Unit], work: Work, store: UnitStore, effects: Effects) -> int:
    """Do units one after the other in this process.

    Args:
        units: What is to be done; see `pending`.
        work: Who does it.
        store: Where results go.
        effects: Progress and clock.

    Returns:
        How many failed.
    """
    count = 0
    pace = Pace(len(units), effects.progress, effects.clock)
    for unit in units:
        pace.at(unit.step, unit.name)
        done = do_unit(unit, work, effects.clock)
        store.write(unit, done)
        count += done.failed
        pace.ended(unit.step, unit.name)
        effects.on_done(unit, done)
    return count
