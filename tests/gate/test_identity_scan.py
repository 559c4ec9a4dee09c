"""Scans of real models against themselves and against ever noisier copies."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from checkpoint_files import write_json
from safetensors.torch import load_file, save_file
from tiny_models import (
    CHAT_TEMPLATE,
    FAMILIES,
    WEIGHTS,
    add_noise,
    build_base,
    perturb,
    scan,
)

from sdi_gate.policy.facts import Tier
from sdi_gate.signals.interface import Outcome, SignalName
from sdi_gate.signals.outputs import LOSS_METRIC

ALL = tuple(SignalName)


def by_name(result):
    return {signal.name: signal for signal in result.signals}


@pytest.mark.parametrize("family", [*FAMILIES, "mixtral"])
def test_a_model_is_exactly_zero_away_from_itself_in_everything(tmp_path, family):
    base = build_base(tmp_path / "base", family=family, template=CHAT_TEMPLATE)
    copy = perturb(base, tmp_path / "copy")
    result = scan(base, copy)
    assert result.tier.ran is Tier.FULL
    assert result.tier.reason == "tier full was asked for"
    assert result.defects == ()
    assert result.alignment.coverage == 1.0
    assert result.tokenizer.same is True
    assert set(by_name(result)) == set(ALL)
    for signal in result.signals:
        assert signal.outcome is Outcome.MEASURED
        assert signal.estimate.value == 0.0
        assert not signal.estimate.stderr
    moved = {
        "distance",
        "shift",
        "loss",
        "flip",
        "kl-",
        "nll-change",
        "update",
        "intruder",
        "angle",
    }
    for signal in result.signals:
        for row in signal.measurements:
            if any(word in row.metric for word in moved) and "hessian" not in row.metric:
                assert row.estimate.value == 0.0, row
    assert result.sdi.estimate.value == 0.0
    assert result.sdi_plus.estimate.value == 0.0
    assert not result.sdi.estimate.stderr
    assert all(item.contribution == 0.0 for item in result.sdi.contributions)


def test_the_same_weights_in_shards_are_the_same_model(tmp_path):
    base = build_base(tmp_path / "base")
    tensors = load_file(base / WEIGHTS)
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    (copy / WEIGHTS).unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2]}
    shards["model-00002-of-00002.safetensors"] = names[1::2]
    for shard, own in shards.items():
        save_file({name: tensors[name] for name in own}, copy / shard, metadata={"format": "pt"})
    weight_map = {name: shard for shard, own in shards.items() for name in own}
    index = copy / "model.safetensors.index.json"
    write_json(index, {"metadata": {}, "weight_map": weight_map})
    result = scan(base, copy)
    assert result.sdi.estimate.value == result.sdi_plus.estimate.value == 0.0
    assert result.tier.ran is Tier.FULL


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder")
    base = build_base(folder / "base")
    noisy = [perturb(base, folder / str(x), add_noise(x)) for x in (0.003, 0.03, 0.3, 1.0)]
    return base, noisy


def test_growing_noise_gives_growing_numbers(ladder):
    base, noisy = ladder
    results = [scan(base, each, curvature_draws=4, curvature_samples=4) for each in noisy]
    for name in (
        SignalName.SPECTRAL_DIVERGENCE,
        SignalName.REPRESENTATION_DRIFT,
        SignalName.WEIGHT_GEOMETRY,
        SignalName.BEHAVIOUR,
    ):
        values = [by_name(result)[name].estimate.value for result in results]
        assert values == sorted(values)
        assert 0 < values[0] < values[-1]
    for index in ([r.sdi for r in results], [r.sdi_plus for r in results]):
        values = [item.estimate.value for item in index]
        assert values == sorted(values)
        assert 0 < values[0] < 0.2
        assert 0.5 < values[-1] < 1


def test_the_relative_distance_is_the_noise_that_was_added(ladder):
    base, noisy = ladder
    result = scan(base, noisy[1], "weights")
    geometry = by_name(result)[SignalName.WEIGHT_GEOMETRY]
    # The norms' gains of one are moved by the same share as the matrices.
    assert geometry.estimate.value == pytest.approx(0.03, rel=1e-3)


def test_a_scan_gives_the_same_result_twice(ladder):
    base, noisy = ladder
    first, second = (scan(base, noisy[2]) for _ in range(2))
    assert replace(first, started_at="", stages=()) == replace(second, started_at="", stages=())
    assert [cost.stage for cost in first.stages] == [cost.stage for cost in second.stages]


def test_another_seed_moves_the_curvature_and_the_loss_metric_and_nothing_else(ladder):
    base, noisy = ladder
    first, second = (by_name(scan(base, noisy[2], seed=seed)) for seed in (0, 1))
    for name in set(ALL) - {SignalName.CURVATURE_SHIFT}:
        assert first[name].estimate == second[name].estimate
        for row, other in zip(first[name].measurements, second[name].measurements, strict=True):
            assert (row == other) == (row.metric not in LOSS_METRIC)
    one, other = (each[SignalName.CURVATURE_SHIFT] for each in (first, second))
    assert one.estimate != other.estimate
    assert ("seed", "1") in other.id.parameters


def half(tensors):
    tensors.update({name: tensor.bfloat16() for name, tensor in tensors.items()})


@pytest.mark.parametrize("candidate", ["coarser", "finer"])
def test_the_same_weights_in_another_type_score_zero_and_the_rounding_is_shown(tmp_path, candidate):
    fine = build_base(tmp_path / "fine")
    coarse = perturb(fine, tmp_path / "coarse", half)
    result = scan(fine, coarse) if candidate == "coarser" else scan(coarse, fine)
    assert result.tier.ran is Tier.FULL
    assert {result.base.dtypes, result.candidate.dtypes} == {("F32",), ("BF16",)}
    assert all(signal.estimate.value == 0.0 for signal in result.signals)
    assert result.sdi.estimate.value == 0.0
    # Half a step of 8 bits, spread evenly, over numbers of all sizes: see docs/sdi.md.
    assert result.rounding.floor == pytest.approx(1.66e-3, rel=0.05)
    assert len(result.notices) == (candidate == "finer")


def test_an_update_in_a_finer_type_is_measured_though_it_rounds_to_the_base(tmp_path):
    fine = build_base(tmp_path / "fine")
    base = perturb(fine, tmp_path / "base", half)

    def whisper(tensors):
        tensors.update({name: 1.0005 * tensor.float() for name, tensor in tensors.items()})

    candidate = perturb(base, tmp_path / "candidate", whisper)
    loud = scan(base, candidate, "weights")
    value = by_name(loud)[SignalName.WEIGHT_GEOMETRY].estimate.value
    assert value == pytest.approx(5e-4, rel=1e-3)
    assert loud.rounding is None


def test_training_in_the_coarser_type_is_measured_from_the_rounded_base(tmp_path):
    fine = build_base(tmp_path / "fine")
    coarse = perturb(fine, tmp_path / "coarse", half)
    name = "model.layers.0.mlp.up_proj.weight"
    moved = perturb(coarse, tmp_path / "moved", lambda t: t[name].mul_(2))
    result = scan(fine, moved, "weights")
    rows = by_name(result)[SignalName.WEIGHT_GEOMETRY].measurements
    found = {
        r.tensor: r.estimate.value for r in rows if r.metric == "relative-distance" and r.tensor
    }
    assert found.pop(name) == 1.0
    assert set(found.values()) == {0.0}


def test_the_candidates_own_noise_is_measured_from_the_base_not_the_reverse(ladder):
    base, noisy = ladder
    forth, back = scan(base, noisy[3], "weights"), scan(noisy[3], base, "weights")
    values = [by_name(r)[SignalName.WEIGHT_GEOMETRY].estimate.value for r in (forth, back)]
    assert values[0] == pytest.approx(1.0, rel=1e-3)
    assert values[1] < 0.9
    assert torch.is_grad_enabled()
