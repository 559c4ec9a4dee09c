"""Tier weights over checkpoints on disk: what is read, in which order, in how much memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoint_files import CONFIG, write_json
from safetensors.torch import save_file
from tiny_models import CPU, WEIGHTS, snapshot

from sdi_gate.errors import FormatError
from sdi_gate.gate import tensor_cost
from sdi_gate.gate.models import open_pair
from sdi_gate.gate.pipeline import Crew, Job
from sdi_gate.gate.request import Settings
from sdi_gate.gate.spectra import SpectraCache
from sdi_gate.gate.weights_tier import Weights, measure_base_spectra, measure_weights
from sdi_gate.models.alignment import align
from sdi_gate.models.opening import open_model
from sdi_gate.progress import NullProgress
from sdi_gate.signals.interface import Outcome
from sdi_gate.signals.linalg import MatrixPair
from sdi_gate.signals.matrices import compare_matrices


def write(folder, tensors):
    folder.mkdir()
    write_json(folder / "config.json", CONFIG)
    save_file(tensors, folder / WEIGHTS)
    return folder


def measure(base, candidate, progress=None, **settings):
    weights = open_pair(snapshot(base), snapshot(candidate))
    return measure_weights(weights, Settings(**settings), CPU, progress or NullProgress())


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def pair(tmp_path):
    """Return a function that writes two models and measures them."""

    def run(base, candidate, **settings):
        folders = write(tmp_path / "base", base), write(tmp_path / "candidate", candidate)
        return measure(*folders, **settings)

    return run


def tensor_rows(result, metric):
    return {
        r.tensor: r.estimate.value for r in result.measurements if r.metric == metric and r.tensor
    }


def test_geometry_has_every_tensor_and_spectra_have_the_matrices(pair):
    base = {
        "model.layers.0.mlp.weight": normal(6, 4),
        "model.layers.0.norm.weight": normal(4),
        "model.layers.0.conv.weight": normal(4, 1, 3),
        "scale": torch.tensor(2.0),
        "count": torch.arange(12).reshape(3, 4),
        "empty": torch.zeros(0, 4),
    }
    candidate = {
        name: tensor + 0.1 if tensor.is_floating_point() else tensor
        for name, tensor in base.items()
    }
    found = pair(base, candidate)
    assert found.geometry.outcome is found.spectral.outcome is Outcome.MEASURED
    assert tensor_rows(found.geometry, "relative-distance").keys() == base.keys()
    assert tensor_rows(found.spectral, "spectral-divergence").keys() == {
        "model.layers.0.mlp.weight",
        "model.layers.0.conv.weight",
    }


def test_stacked_experts_are_compared_one_by_one(pair):
    base, candidate = normal(3, 8, 6, seed=1), normal(3, 8, 6, seed=2)
    name = "model.layers.0.mlp.experts.up_proj"
    found = pair({name: base}, {name: candidate}, top_k=2)
    each = [
        compare_matrices(MatrixPair(base=a, candidate=b, device=CPU), 2)
        for a, b in zip(base, candidate, strict=True)
    ]
    expected = sum(comparison.divergence for comparison in each) / 3
    assert found.spectral.estimate.value == pytest.approx(expected, rel=1e-9)


def test_one_expert_that_moved_moves_the_tensor(pair):
    base = normal(3, 8, 6)
    candidate = base.clone()
    candidate[1] += normal(8, 6, seed=3)
    found = pair({"layers.0.experts": base}, {"layers.0.experts": candidate})
    assert found.spectral.estimate.value > 0


def test_rows_are_in_model_order_though_files_are_sorted_by_name(pair):
    names = ["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"]
    names += [f"model.layers.{i}.mlp.weight" for i in (0, 2, 10)]
    found = pair({n: normal(4, 4, seed=1) for n in names}, {n: normal(4, 4, seed=2) for n in names})
    expected = ["embedding", "layers.0", "layers.2", "layers.10", "other", "head"]
    for result in (found.geometry, found.spectral):
        assert [row.layer for row in result.by_layer(result.metric)] == expected


def test_a_model_without_a_matrix_has_no_spectral_divergence(pair):
    found = pair({"norm.weight": normal(4)}, {"norm.weight": normal(4, seed=1)})
    assert found.geometry.outcome is Outcome.MEASURED
    assert found.spectral.outcome is Outcome.INCONCLUSIVE
    assert found.spectral.reason == "no weight matrix could be compared"
    assert found.defects == ()


def test_every_broken_tensor_is_counted_and_the_first_is_named(pair):
    base = {f"layers.{i}.w": normal(3, 3) for i in range(4)}
    candidate = {name: tensor.clone() for name, tensor in base.items()}
    candidate["layers.1.w"][0, 0] = torch.nan
    candidate["layers.3.w"][0, 0] = torch.inf
    found = pair(base, candidate)
    assert found.defects == ("weights: 2 tensors hold NaN or infinity, first layers.1.w",)
    assert found.geometry.estimate is found.spectral.estimate is None
    assert dict(found.spectral.id.parameters)["top-k"] == "16"
    assert dict(found.geometry.id.parameters) == {"depth-weights": "uniform"}


def test_types_that_differ_are_compared_by_value(pair):
    base = normal(8, 8).bfloat16()
    found = pair({"layers.0.w": base}, {"layers.0.w": base.float()})
    assert found.geometry.estimate.value == 0.0
    assert found.spectral.estimate.value == 0.0


def test_progress_names_every_tensor(tmp_path):
    calls = []

    class Recorder:
        def advance(self, stage, done, total, detail=""):
            calls.append((stage, done, total, detail))

    tensors = {"a": normal(2), "b": normal(2)}
    folders = write(tmp_path / "one", tensors), write(tmp_path / "two", tensors)
    measure(*folders, progress=Recorder())
    assert calls == [("weights", 0, 2, "a"), ("weights", 1, 2, "b"), ("weights", 2, 2, "")]


# Several at once.


class Counting:
    """Count how often a source is read."""

    def __init__(self, source):
        self._source, self.names = source, []

    def __getattr__(self, name):
        return getattr(self._source, name)

    def read(self, info):
        self.names.append(info.name)
        return self._source.read(info)


def some_layers(*, moved, count=6):
    """Return layers of several sizes; ``moved`` is added to the second half of them."""
    layers = {f"model.layers.{i}.w": normal(40 + 7 * i, 30, seed=i) for i in range(count)}
    names = [*layers][count // 2 :]
    return layers | {name: layers[name] + moved * normal(*layers[name].shape) for name in names}


def with_threads(count, base, candidate, spectra=None):
    before = torch.get_num_threads()
    weights = open_pair(snapshot(base), snapshot(candidate))
    try:
        torch.set_num_threads(count)
        return measure_weights(weights, Settings(), CPU, NullProgress(), spectra)
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def moved(tmp_path):
    """Return two models of which one half moved."""
    base = write(tmp_path / "base", some_layers(moved=0.0))
    return base, write(tmp_path / "candidate", some_layers(moved=0.1))


def test_numbers_are_the_same_to_the_bit_for_any_number_of_threads(moved):
    one, two, five = (with_threads(count, *moved) for count in (1, 2, 5))
    assert one.geometry == two.geometry == five.geometry
    assert one.spectral == two.spectral == five.spectral


def test_numbers_are_the_same_to_the_bit_with_kept_spectra(moved):
    cache = SpectraCache.from_part(None)
    first = with_threads(2, *moved, cache)
    again = SpectraCache.from_part(cache.to_part())
    second, plain = with_threads(2, *moved, again), with_threads(2, *moved)
    assert first.spectral == second.spectral == plain.spectral
    assert first.geometry == second.geometry == plain.geometry
    # Those of the equal half are not needed, and not computed.
    assert (again.reused, again.rejected, again.has_new) == (3, 0, False)


def test_a_base_alone_has_the_spectra_that_a_candidate_needs(moved):
    base = open_pair(snapshot(moved[0]), snapshot(moved[0]))
    cache, calls = SpectraCache.from_part(None), []

    class Recorder:
        def advance(self, *args):
            calls.append(args[:3])

    assert measure_base_spectra(base, Settings(), CPU, Recorder(), cache) == ()
    assert calls == [("weights", done, 6) for done in range(7)]
    again = SpectraCache.from_part(cache.to_part())
    assert with_threads(2, *moved, again).spectral == with_threads(1, *moved).spectral
    assert (again.reused, again.has_new) == (3, False)


def test_a_base_that_is_not_finite_is_named(tmp_path):
    folder = write(tmp_path / "m", {"a": normal(3, 3), "b": torch.full((3, 3), torch.nan)})
    weights = open_pair(snapshot(folder), snapshot(folder))
    cache = SpectraCache.from_part(None)
    assert measure_base_spectra(weights, Settings(), CPU, NullProgress(), cache) == ("b",)
    assert len(cache.to_part().facts["matrices"]) == 1


def test_shards_that_both_models_have_are_read_once(tmp_path):
    tensors = {"model.layers.0.w": normal(8, 8), "model.layers.0.b": normal(8)}
    folders = [write(tmp_path / name, tensors) for name in ("one", "two")]
    weights = open_pair(*map(snapshot, folders))
    base, candidate = Counting(weights.base.source), Counting(weights.candidate.source)
    weights = replace(
        weights,
        base=replace(weights.base, source=base),
        candidate=replace(weights.candidate, source=candidate),
    )
    found = measure_weights(weights, Settings(), CPU, NullProgress())
    assert sorted(base.names) == sorted(tensors)
    assert candidate.names == []
    assert found.geometry.estimate.value == found.spectral.estimate.value == 0.0
    assert found.work[0].bytes_read == 4 * 72
    assert found.work[1].operations == 0.0


def test_equal_tensors_in_files_that_differ_take_no_spectra(moved):
    found = with_threads(1, *moved)
    counted = {row.part: row for row in found.work}
    assert counted["read"].bytes_read == 2 * 4 * 30 * sum(40 + 7 * i for i in range(6))
    long_sides = [40 + 7 * i for i in range(3, 6)]
    assert counted["spectra"].operations == sum(3 * q * 30**2 + 4 * 30**3 for q in long_sides)
    rows = tensor_rows(found.spectral, "spectral-divergence")
    assert [rows[f"model.layers.{i}.w"] == 0.0 for i in range(6)] == [True] * 3 + [False] * 3


def test_nan_that_both_models_hold_in_the_same_bytes_is_found(tmp_path):
    tensors = {"model.layers.0.w": torch.full((4, 4), torch.nan)}
    found = measure(write(tmp_path / "one", tensors), write(tmp_path / "two", tensors))
    assert found.defects == ("weights: 1 tensors hold NaN or infinity, first model.layers.0.w",)


def test_the_first_tensor_that_cannot_be_read_is_the_one_in_the_message(moved):
    weights = open_pair(*map(snapshot, moved))

    class Broken(Counting):
        def read(self, info):
            if info.name != "model.layers.0.w":
                msg = f"no {info.name}"
                raise FormatError(msg, hint="-")
            return self._source.read(info)

    weights = replace(weights, base=replace(weights.base, source=Broken(weights.base.source)))
    with pytest.raises(FormatError, match=r"^no model\.layers\.1\.w$"):
        measure_weights(weights, Settings(), CPU, NullProgress())


def test_a_crew_has_a_thread_of_torch_each_and_room_for_the_largest_job(monkeypatch):
    monkeypatch.setattr(tensor_cost, "available_memory_bytes", lambda: 40 << 30)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    small, large = (
        Job(held_bytes=size, work_bytes=size, operations=1.0, read=int, compute=bool)
        for size in (1 << 20, 4 << 30)
    )
    assert tensor_cost.crew_for([small], CPU) == Crew(workers=8, memory_bytes=8 * (168 << 20))
    # Not more than half of what is free, and not less than one job takes.
    assert tensor_cost.crew_for([small, large], CPU) == Crew(workers=8, memory_bytes=20 << 30)
    gpu = tensor_cost.crew_for([small, large], torch.device("cuda"))
    assert gpu == Crew(workers=1, memory_bytes=8 << 30)
    assert tensor_cost.crew_for([], CPU).memory_bytes == 8 * (168 << 20)


def test_every_thread_has_room_for_a_job_of_those_that_take_the_time(monkeypatch):
    # One large embedding must not keep a second thread from the layers' matrices.
    monkeypatch.setattr(tensor_cost, "available_memory_bytes", lambda: 40 << 30)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    sizes = [450 << 20, *[276 << 20] * 10, *[20 << 20] * 10]
    jobs = [
        Job(held_bytes=0, work_bytes=size, operations=float(size), read=int, compute=bool)
        for size in sizes
    ]
    assert tensor_cost.crew_for(jobs, CPU).memory_bytes == 2 * (276 << 20)


# Memory.

MEASURE = """
import resource, sys
sys.path[:] = {paths!r}
import torch
torch.set_num_threads(1)
from test_weights_tier import measure_first
measure_first({folder!r}, {count})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def measure_first(folder, count):
    checkpoint = open_model(snapshot(folder))
    some = dict(list(checkpoint.tensors.items())[:count])
    weights = Weights(base=checkpoint, candidate=checkpoint, alignment=align(some, some))
    found = measure_weights(weights, Settings(), CPU, NullProgress())
    assert found.spectral.outcome is Outcome.MEASURED
    assert len(found.geometry.by_layer("relative-distance")) == count


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_memory_does_not_grow_with_the_number_of_tensors(tmp_path):
    W = normal(1 << 19, 4)  # 8 MB; tall, so that its spectrum is small
    folder = write(tmp_path / "m", {f"model.layers.{i}.w": W + i for i in range(40)})
    paths = [str(Path(__file__).parent), *sys.path]
    peaks = [
        int(
            subprocess.run(  # noqa: S603 - our own program
                [sys.executable, "-c", MEASURE.format(paths=paths, folder=str(folder), count=n)],
                capture_output=True,
                check=True,
                text=True,
            ).stdout
        )
        for n in (10, 40)
    ]
    # Mapped files count as resident: 30 more tensors would be 240 MB more, of each model.
    assert peaks[1] - peaks[0] < 30 * 8_000_000 / 4
