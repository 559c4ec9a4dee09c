"""The weight signals' numbers on tokens: whole scans of tiny models against explicit factors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import (
    CPU,
    WEIGHTS,
    add_noise,
    build_base,
    build_tokenizer,
    load,
    loaded_of,
    model_of,
    perturb,
    request_of,
    rewrite,
    scan,
    snapshot,
    text_of,
)

from sdi_gate.gate.models import open_pair
from sdi_gate.gate.outputs import choose_tokens, compare_outputs_of, read_outputs
from sdi_gate.gate.running import Running
from sdi_gate.models.matrices import linear_maps, read_tokens
from sdi_gate.models.probe import ProbeSample, ProbeSet
from sdi_gate.models.tokens import TokenSample, tokenize
from sdi_gate.progress import NullProgress
from sdi_gate.signals.interface import Outcome, SignalName
from sdi_gate.signals.outputs import ACTIVATION_WEIGHTED, LOSS_METRIC

FAMILIES = ("llama", "mistral", "phi", "phi3", "gemma", "qwen2")
BOTH = (SignalName.WEIGHT_GEOMETRY, SignalName.SPECTRAL_DIVERGENCE)
STRATA = ("general", "code")


def probe(samples=6):
    return ProbeSet(
        name="tiny",
        samples=tuple(
            ProbeSample(stratum=stratum, text=text_of(10 * i + j, 4 + 3 * i))
            for j, stratum in enumerate(STRATA)
            for i in range(samples)
        ),
    )


def found_in(result):
    """Return every number of the new metrics by metric, layer and stratum."""
    return {
        (row.metric, row.layer, row.stratum): row.estimate.value
        for signal in result.signals
        for row in signal.measurements
        if row.metric in ACTIVATION_WEIGHTED + LOSS_METRIC
    }


def signal_of(result, name):
    return next(signal for signal in result.signals if signal.name is name)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    base = build_base(folder / "base")
    return base, perturb(base, folder / "noisy", add_noise(0.1))


@pytest.mark.parametrize("tier", ["weights", "probe", "full"])
def test_each_tier_gives_the_metrics_that_it_has_the_means_for(pair, tier):
    result = scan(*pair, tier, probe=probe())
    metrics = {
        "weights": (),
        "probe": ACTIVATION_WEIGHTED,
        "full": ACTIVATION_WEIGHTED + LOSS_METRIC,
    }[tier]
    places = [
        (layer, stratum) for layer in (None, "layers.0", "layers.1") for stratum in (None, *STRATA)
    ]
    found = found_in(result)
    assert set(found) == {(metric, *place) for metric in metrics for place in places}
    assert all(value > 0.0 for value in found.values())
    for name in BOTH:
        parameters = dict(signal_of(result, name).id.parameters)
        assert ("output-tokens" in parameters) == (tier != "weights")
        assert ("seed" in parameters) == (tier == "full")
        assert ("probe" in parameters) == (tier != "weights")


def test_no_tier_moves_the_headlines(pair):
    results = [scan(*pair, tier, probe=probe()) for tier in ("weights", "probe", "full")]
    for name in BOTH:
        assert len({signal_of(result, name).estimate for result in results}) == 1
    assert found_in(results[1]) == pytest.approx(
        {k: v for k, v in found_in(results[2]).items() if k[0] in ACTIVATION_WEIGHTED}, rel=1e-4
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_numbers_of_a_real_model_are_those_of_its_explicit_factors(tmp_path, family):
    base = build_base(tmp_path / "base", family=family)
    noisy = perturb(base, tmp_path / "noisy", add_noise(0.1))
    found = found_in(scan(base, noisy, probe=probe(), output_tokens=18))
    ours, theirs = load(base), load(noisy)
    tokens = tokenize(probe(), build_tokenizer(), 16)
    total = 0.0
    for index, stratum in enumerate(STRATA):
        own = [sample for sample in tokens.samples if sample.stratum == stratum]
        taken = choose_tokens(own, 18, CPU)
        generator = torch.Generator().manual_seed(index * 1_000_003 + 1_000_002)
        luck = torch.rand(taken.batch.ids.numel(), generator=generator, dtype=torch.float64)
        energy, distances = 0.0, {}
        for name, seen in read_tokens(ours, taken.batch, taken.chosen, luck).items():
            W0 = linear_maps(ours)[name].weight.detach().double()
            D = linear_maps(theirs)[name].weight.detach().double() - W0
            X, g = seen.inputs.double(), seen.gradients.double()
            assert len(X) == 18
            C, G = X.mT @ X / 18, g.mT @ g / 18
            energy += 0.5 * float(torch.trace(G @ D @ C @ D.mT))
            layer = name.split(".self_attn")[0].split(".mlp")[0].removeprefix("model.")
            ratio = (torch.trace(D @ C @ D.mT) / torch.trace(W0 @ C @ W0.mT)).sqrt()
            distances.setdefault(layer, []).append(float(ratio))
        assert found["loss-metric-energy", None, stratum] == pytest.approx(energy, rel=1e-6)
        for layer, ratios in distances.items():
            assert found["activation-weighted-distance", layer, stratum] == pytest.approx(
                sum(ratios) / len(ratios), rel=1e-6
            )
        total += energy / len(STRATA)
    assert found["loss-metric-energy", None, None] == pytest.approx(total, rel=1e-6)


def test_another_seed_moves_the_loss_metric_and_not_the_activation_weighted_numbers(pair):
    first, second = (found_in(scan(*pair, probe=probe(), seed=seed)) for seed in (0, 1))
    for key, value in first.items():
        assert (second[key] != value) == (key[0] in LOSS_METRIC)


def test_a_change_of_one_layer_is_in_that_layer_alone(tmp_path):
    base = build_base(tmp_path / "base")

    def change(tensors):
        moved = {name: tensor for name, tensor in tensors.items() if "layers.1." in name}
        add_noise(0.1)(moved)
        tensors.update(moved)

    for key, value in found_in(scan(base, perturb(base, tmp_path / "one", change))).items():
        assert (value > 0.0) == (key[1] != "layers.0")


def test_a_change_of_the_embedding_is_none_of_a_linear_map(tmp_path):
    base = build_base(tmp_path / "base")

    def change(tensors):
        tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"] + 0.1

    found = found_in(scan(base, perturb(base, tmp_path / "other", change)))
    assert set(found.values()) == {0.0}


def test_a_family_that_stores_its_matrices_transposed_is_measured_too(tmp_path):
    base = build_base(tmp_path / "base", family="gpt2")
    noisy = perturb(base, tmp_path / "noisy", add_noise(0.1))
    found = found_in(scan(base, noisy))
    assert found["activation-weighted-distance", None, None] == pytest.approx(0.1, rel=0.3)


def test_a_matrix_of_zeros_that_moved_has_no_ratio_and_an_energy(tmp_path):
    name = "model.layers.1.self_attn.o_proj.weight"
    whole = build_base(tmp_path / "whole")
    base = perturb(whole, tmp_path / "base", lambda tensors: tensors[name].zero_())
    found = found_in(scan(base, whole, probe=probe()))
    assert found["loss-metric-energy", None, None] > 0.0
    assert found["activation-weighted-distance", "layers.0", None] == 0.0
    for metric in ("activation-weighted-distance", "loss-metric-spectrum-distance"):
        assert (metric, "layers.1", None) not in found
        assert (metric, None, "code") not in found
        assert (metric, None, None) not in found


def test_gradients_that_are_not_finite_make_both_signals_inconclusive(pair, monkeypatch):
    def broken(*arguments):
        return {
            name: replace(found, gradients=found.gradients * torch.inf)
            for name, found in read_tokens(*arguments).items()
        }

    monkeypatch.setattr("sdi_gate.gate.outputs.read_tokens", broken)
    result = scan(*pair, probe=probe())
    name = "model.layers.0.self_attn.q_proj.weight"
    reason = (
        f"inputs or gradients of 28 matrices hold NaN or infinity, first {name} in stratum general"
    )
    for signal in BOTH:
        assert signal_of(result, signal).outcome is Outcome.INCONCLUSIVE
        assert signal_of(result, signal).reason == reason
        assert f"{signal} is inconclusive: {reason}" in result.defects
    assert result.sdi.outcome is Outcome.INCONCLUSIVE


# Read of one model, compared from the files of both.


def running(loaded):
    tokens = tokenize(probe(), build_tokenizer(), 16)
    return Running(loaded=loaded, probe=tokens, probe_digest="sha256:x", device=CPU)


def compared(pair, change=lambda readings: readings, *, with_gradients=True):
    settings = request_of(*pair).settings
    readings = read_outputs(
        running(load(pair[0])), settings, NullProgress(), with_gradients=with_gradients
    )
    weights = open_pair(snapshot(pair[0]), snapshot(pair[1]))
    return compare_outputs_of(weights, change(readings), settings, CPU, NullProgress())


def test_rows_are_in_model_order_within_each_stratum(pair):
    rows = compared(pair).rows
    names = [*linear_maps(load(pair[0]))]
    assert [(row.stratum, row.tensor) for row in rows] == [
        (stratum, name) for stratum in STRATA for name in names
    ]


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "mixtral", "qwen2_moe", "gemma3_text"])
def test_every_map_that_is_read_has_its_pair_of_tensors(tmp_path, family):
    base = build_base(tmp_path / "base", family=family)
    noisy = perturb(base, tmp_path / "noisy", add_noise(0.1))
    read = read_outputs(
        running(load(base)), request_of(base, noisy).settings, NullProgress(), with_gradients=False
    )
    rows = compared((base, noisy), with_gradients=False).rows
    assert len(rows) == sum(len(maps) for maps in read.strata.values()) > 0
    assert all(row.values["activation-weighted-distance"] > 0.0 for row in rows)


def test_a_map_of_which_only_one_model_has_the_weight_has_no_row(pair):
    def renamed(readings):
        strata = {
            stratum: {name.replace("layers.1", "layers.9"): found for name, found in maps.items()}
            for stratum, maps in readings.strata.items()
        }
        return replace(readings, strata=strata)

    whole, rest = compared(pair).rows, compared(pair, renamed).rows
    assert [row.values for row in rest] == [
        row.values for row in whole if "layers.1" not in row.tensor
    ]


def test_a_map_that_was_read_in_one_stratum_only_has_a_row_there(pair):
    name = "model.layers.1.mlp.up_proj.weight"

    def without(readings):
        rest = {key: found for key, found in readings.strata["code"].items() if key != name}
        return replace(readings, strata=readings.strata | {"code": rest})

    rows = compared(pair, without).rows
    assert [row.stratum for row in rows if row.tensor == name] == ["general"]
    assert len(rows) == len(compared(pair).rows) - 1


def test_a_candidate_of_a_finer_type_is_compared_as_it_is(tmp_path):
    base = build_base(tmp_path / "base")
    rewrite(base, lambda tensors: tensors.update({k: t.half() for k, t in tensors.items()}))
    wide = {name: tensor.float() for name, tensor in load_file(base / WEIGHTS).items()}
    same = perturb(base, tmp_path / "same", lambda tensors: tensors.update(wide))
    moved = perturb(same, tmp_path / "moved", add_noise(1e-5))
    assert {v for row in compared((base, same)).rows for v in row.values.values()} == {0.0}
    for row in compared((base, moved)).rows:
        assert 0.0 < row.values["activation-weighted-distance"] < 1e-3


# The choice of tokens.


def samples_of(*lengths):
    return [TokenSample(stratum="a", ids=tuple(range(1, n + 1))) for n in lengths]


def chosen_in(*lengths, num_tokens):
    chosen = choose_tokens(samples_of(*lengths), num_tokens, CPU).chosen
    return [row.nonzero()[:, 0].tolist() for row in chosen]


def test_tokens_are_spread_over_samples_and_within_them():
    assert chosen_in(*[9] * 10, num_tokens=16) == [[3, 7]] * 8
    assert chosen_in(*[100] * 8, num_tokens=8) == [[50]] * 8
    assert chosen_in(10, num_tokens=3) == [[2, 5, 8]]


def test_short_samples_give_all_but_their_first_token_and_more_samples_follow():
    assert chosen_in(*[3] * 20, num_tokens=24) == [[1, 2]] * 12
    assert chosen_in(3, 4, 9, num_tokens=100) == [[1, 2], [1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8]]


def test_the_last_sample_gives_what_is_missing():
    assert chosen_in(*[9] * 10, num_tokens=17) == [[3, 7]] * 8 + [[5]]
    assert chosen_in(9, 9, 9, num_tokens=10) == [[2, 5, 7]] * 3


@pytest.mark.parametrize("num_tokens", [1, 2, 7, 8, 9, 100, 128, 1000])
def test_no_more_tokens_than_asked_for_are_chosen_and_never_the_first(num_tokens):
    samples = samples_of(*[3 + i % 40 for i in range(60)])
    taken = choose_tokens(samples, num_tokens, CPU)
    available = sum(len(sample.ids) - 1 for sample in samples)
    assert int(taken.chosen.sum()) == min(num_tokens, available)
    assert not taken.chosen[:, 0].any()
    assert bool((taken.batch.mask.bool() | ~taken.chosen).all())
    assert len(taken.batch.indices) >= min(8, num_tokens)


def test_samples_are_run_whole():
    taken = choose_tokens(samples_of(9, 5), 2, CPU)
    assert taken.batch.mask.sum(1).tolist() == [9, 5]


def test_everything_that_moves_the_numbers_is_said():
    base, settings = running(loaded_of(model_of("llama"))), request_of("a", "b").settings
    for with_gradients in (False, True):
        found = read_outputs(base, settings, NullProgress(), with_gradients=with_gradients)
        assert [name for name, _ in found.parameters] == [
            "compute-dtype",
            "max-tokens",
            "probe",
            "output-tokens",
            *["seed"] * with_gradients,
        ]


def test_the_signals_that_failed_keep_the_outputs_from_being_measured(pair):
    result = scan(*pair, probe=probe(3))
    outcome = signal_of(result, SignalName.REPRESENTATION_DRIFT).outcome
    assert outcome is Outcome.INCONCLUSIVE
    assert found_in(result) == {}
