"""Work that other processes do, and a program that is killed while it has it done."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study_manifests import manifest_of, pair_of, planned

from sdi_gate.progress import NullProgress
from sdi_gate.study.units import Effects, Unit, UnitStore, pending
from sdi_gate.study.workers import Crew, run_in_processes

if TYPE_CHECKING:
    from sdi_gate.study.plan import PlannedPair

QUIET = Effects(progress=NullProgress())
_PAYLOADS: dict[str, dict[str, Any]] = {
    "build": {"num_parameters": 1000},
    "measure": {
        "tier": "full",
        "features": {"weight-geometry/relative-distance": {"overall": 0.5, "stderr": None}},
        "signal_ids": ["weight-geometry/1"],
    },
    "evaluate": {"scores": {"truth": {"value": 0.9, "stderr": 0.1, "n": 20}}},
}


@dataclass(frozen=True)
class SlowWork:
    """Take a while, and then say what the step would say; some units end the process."""

    seconds: float = 0.0

    def __call__(self, unit: Unit) -> dict[str, Any]:
        time.sleep(self.seconds)
        if unit.name == "dies":
            os._exit(7)
        if unit.name == "fails":
            raise ZeroDivisionError("division by zero")
        # Large enough that writing it takes more than one call.
        return _PAYLOADS.get(unit.step, {}) | {"process": os.getpid(), "ballast": "x" * 300_000}


def settle() -> None:
    """Be the first thing that a process does."""
    os.environ["SETTLED"] = "1"


def settled(_unit: Unit) -> dict[str, Any]:
    return {"settled": os.environ.get("SETTLED")}


def crew(work: Any, count: int = 2) -> Crew:
    return Crew(work=work, prepare=settle, count=count)


def study() -> tuple[Any, tuple[PlannedPair, ...], list[Unit]]:
    """Return a study of twelve pairs, and all its units."""
    manifest = manifest_of(*(pair_of(f"llama-s-{i % 2}/v{i}") for i in range(12)))
    entries = planned(manifest)
    return manifest, entries, [*{unit.key: unit for e in entries for unit in e.units}.values()]


def main(folder: Path) -> None:
    store = UnitStore(folder=folder)
    units = study()[2]
    sys.stdout.write(f"{len(pending(store, units))}\n")
    sys.stdout.flush()
    run_in_processes(pending(store, units), crew(SlowWork(0.02)), store, QUIET)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
