"""Do the work of one unit: build, measure or evaluate. Each class goes to other processes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from sdi_gate.errors import UsageError
from sdi_gate.gate.request import ScanRequest, Settings, TierChoice
from sdi_gate.models import probe
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.progress import NullProgress
from sdi_gate.study.manifest import DEFAULT_PROBE, WORLD_PROBE, Population

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdi_gate.models.probe import ProbeSet
    from sdi_gate.models.snapshot import ModelSource
    from sdi_gate.study.evaluation.scores import AxisTask
    from sdi_gate.study.manifest import Endpoint, Manifest, Pair
    from sdi_gate.study.units import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildWork:
    """Build the models of a pair, and its base unless it is there.

    Attributes:
        folder: Folder of the work.
        device: Where to train.
    """

    folder: Path
    device: str

    def __call__(self, unit: Unit) -> Mapping[str, Any]:
        """See `Work`.

        Args:
            unit: Its task is a `Pair`.

        Returns:
            What the builder says of the models.
        """
        from sdi_gate.study.organisms.build import build_pair  # noqa: PLC0415 - needed here alone

        pair = cast("Pair", unit.task)
        return build_pair(pair, self.folder, torch.device(self.device))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureWork:
    """Scan a pair.

    Attributes:
        manifest: Says how.
        folder: Folder of the work, where organisms are.
        device: Where to compute.
    """

    manifest: Manifest
    folder: Path
    device: str

    def __call__(self, unit: Unit) -> Mapping[str, Any]:
        """See `Work`.

        Args:
            unit: Its task is a `Pair`.

        Returns:
            Features, tier, signals, versions, seeds.
        """
        from sdi_gate.study.measure import measure_pair  # noqa: PLC0415 - needed here alone

        pair = cast("Pair", unit.task)
        if pair.base.is_organism:
            from sdi_gate.study.organisms.build import check_built  # noqa: PLC0415 - as above

            check_built(pair, self.folder)
        base, candidate = (locate(model, self.folder) for model in (pair.base, pair.candidate))
        request = scan_request(self.manifest, (base, candidate), torch.device(self.device))
        return measure_pair(request, sources_of(base, candidate))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSource:
    """Say where the tests come from, if not from the population itself.

    Attributes:
        items: Folder with a file of items for each axis, ``AXIS.jsonl``, in their place.
        benchmarks: Folder with the files of the public benchmarks, in place of the Hub's.
    """

    items: Path | None = None
    benchmarks: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateWork:
    """Evaluate one model on the axes of its population.

    Attributes:
        manifest: Says how many items.
        folder: Folder of the work, where organisms are.
        tests: Where the tests come from.
        device: Where to compute.
    """

    manifest: Manifest
    folder: Path
    tests: TaskSource
    device: str

    def __call__(self, unit: Unit) -> Mapping[str, Any]:
        """See `Work`.

        Args:
            unit: Its task is an `Endpoint`.

        Returns:
            ``scores``, by axis.
        """
        from sdi_gate.study.evaluation.evaluate import evaluate_model  # noqa: PLC0415 - an extra

        ref = locate(cast("Endpoint", unit.task), self.folder)
        snapshot = sources_of(ref)[ref.scheme].fetch(ref, NullProgress())
        scores = evaluate_model(
            snapshot.folder,
            tasks_of(self.manifest.population, self.tests),
            device=torch.device(self.device),
            limit=self.manifest.settings.evaluation_limit,
        )
        return {
            "scores": {
                axis: {"value": score.value, "stderr": score.stderr, "n": score.n}
                for axis, score in scores.items()
            },
            "commit": snapshot.commit,
        }


def locate(model: Endpoint, folder: Path) -> ModelRef:
    """Say where a model is.

    Args:
        model: The model.
        folder: Folder of the work, where organisms are.

    Returns:
        A reference that a source reads.
    """
    if not model.is_organism:
        return ModelRef.parse(model.reference)
    from sdi_gate.study.organisms.build import model_folder  # noqa: PLC0415 - for organisms alone

    return ModelRef(scheme=Scheme.FILE, location=str(model_folder(model.name, folder)))


def sources_of(*refs: ModelRef) -> dict[Scheme, ModelSource]:
    """Return the sources that references need.

    Args:
        refs: References.

    Returns:
        A source for each scheme; that of the Hub only if one of them is there.
    """
    sources: dict[Scheme, ModelSource] = {Scheme.FILE: FolderSource()}
    if any(ref.scheme is Scheme.HUB for ref in refs):
        from sdi_gate.integrations.hub import HubSource  # noqa: PLC0415 - not for organisms

        sources[Scheme.HUB] = HubSource()
    return sources


def scan_request(
    manifest: Manifest, refs: tuple[ModelRef, ModelRef], device: torch.device
) -> ScanRequest:
    """Say how a pair is scanned.

    Args:
        manifest: Settings and probe.
        refs: Base and candidate.
        device: Where to compute.

    Returns:
        The request.
    """
    chosen = manifest.settings
    return ScanRequest(
        base=refs[0],
        candidate=refs[1],
        tier=TierChoice(chosen.tier),
        device=device,
        probe=probe_of(manifest),
        settings=Settings(
            seed=chosen.seed,
            max_tokens=chosen.max_tokens,
            batch_size=chosen.batch_size,
            curvature_draws=chosen.curvature_draws,
            curvature_samples=chosen.curvature_samples,
            curvature_tokens=chosen.curvature_tokens,
            output_tokens=chosen.output_tokens,
        ),
    )


def probe_of(manifest: Manifest) -> ProbeSet:
    """Load the probe set of a manifest.

    Args:
        manifest: The manifest.

    Returns:
        The probe set that ships, that of the generated world, or that of a file.
    """
    if manifest.probe == DEFAULT_PROBE:
        return probe.load_default()
    if manifest.probe == WORLD_PROBE:
        from sdi_gate.study.organisms.build import world_probe  # noqa: PLC0415 - organisms alone

        return world_probe()
    return probe.load_file(Path(manifest.probe))


@cache
def tasks_of(population: Population, tests: TaskSource) -> Sequence[AxisTask]:
    """Make the tests of a population, once in a process.

    Args:
        population: Whose tests.
        tests: Where they come from.

    Returns:
        A task for each axis.

    Raises:
        UsageError: If the folder of items holds none.
    """  # noqa: DOC502 - raised by the listing
    if tests.items is not None:
        from sdi_gate.study.evaluation.items import read_task  # noqa: PLC0415 - an extra

        files = item_files(tests.items)
        return tuple(read_task(file.stem, file) for file in files)
    if population is Population.PUBLIC:
        from sdi_gate.study.evaluation.public import public_tasks  # noqa: PLC0415 - an extra

        return public_tasks(folder=tests.benchmarks)
    from sdi_gate.study.organisms.tests import axis_tasks, micro_tasks  # noqa: PLC0415 - an extra

    return (*axis_tasks(), *micro_tasks())


def item_files(folder: Path) -> list[Path]:
    """List the files of items in a folder.

    Args:
        folder: The folder.

    Returns:
        One file for each axis, which it is named for; at least one.

    Raises:
        UsageError: If there is none.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        msg = f"no tests in {str(folder)!r}: expected a file AXIS.jsonl for each axis"
        raise UsageError(msg)
    return files
