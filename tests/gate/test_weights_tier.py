"""Tier weights over checkpoints on disk: what is read, in which order, in how much memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_files import CONFIG, write_json
from safetensors.torch import save_file
from tiny_models import CPU, WEIGHTS, snapshot

from sdi_gate.gate.models import open_pair
from sdi_gate.gate.request import Settings
from sdi_gate.gate.weights_tier import Weights, measure_weights
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
