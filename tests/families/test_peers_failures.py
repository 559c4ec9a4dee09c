"""What afterburn, modeldelta and WeightWatcher get wrong, with the right answer.

The failures are those that were seen by running the peers, or read in their code.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    CPU,
    VOCABULARY,
    WEIGHTS,
    add_noise,
    build_base,
    build_tokenizer,
    edit_json,
    load,
    model_of,
    perturb,
    scan,
    snapshot,
    tiny_probe,
)

from sdi_gate.gate.procedure import judge_scan
from sdi_gate.models.layers import layer_of
from sdi_gate.models.opening import open_candidate, open_model
from sdi_gate.models.tokens import tokenize
from sdi_gate.policy.facts import Tier
from sdi_gate.policy.loader import parse_policy
from sdi_gate.policy.verdict import Status
from sdi_gate.report.build import build_document
from sdi_gate.report.document import dump
from sdi_gate.signals.cka import debiased_linear_cka
from sdi_gate.signals.geometry import sums_of_squares
from sdi_gate.signals.interface import Outcome, SignalName
from sdi_gate.signals.linalg import (
    LowRank,
    MatrixPair,
    gram,
    singular_values,
    singular_values_of_product,
)
from sdi_gate.signals.matrices import compare_matrices, effective_rank, stable_rank

Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def by_name(result):
    return {signal.name: signal for signal in result.signals}


def tensors_measured(result, signal=SignalName.WEIGHT_GEOMETRY):
    return {row.tensor for row in by_name(result)[signal].measurements if row.tensor}


def distances(result, metric="relative-distance"):
    rows = by_name(result)[SignalName.WEIGHT_GEOMETRY].measurements
    return {row.tensor: row.estimate.value for row in rows if row.tensor and row.metric == metric}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    base = build_base(folder / "base")
    return base, perturb(base, folder / "tuned", add_noise(0.05))


# afterburn: sums in float32 gave a cosine of 1.0005, and norms half a percent off.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_norms_of_many_millions_of_numbers_are_exact_to_nine_digits(dtype):
    count = 20_000_000
    base = torch.full((count,), 0.01, dtype=dtype)
    candidate = torch.full((count,), 0.0101, dtype=dtype)
    one, other = base[0].double().item(), candidate[0].double().item()
    base_squares, update_squares = sums_of_squares(base, candidate, CPU)
    assert base_squares == pytest.approx(count * one**2, rel=1e-9)
    assert update_squares == pytest.approx(count * (other - one) ** 2, rel=1e-9)


# afterburn: two copies of one model had a cosine of 1.000018; modeldelta: called them "surgical".


def test_a_model_and_its_copy_are_at_distance_zero_and_not_nearly(folders, tmp_path):
    base, _ = folders
    result = scan(base, perturb(base, tmp_path / "copy"))
    assert {signal.estimate.value for signal in result.signals} == {0.0}
    assert result.sdi.estimate.value == 0.0


# afterburn: ranks of an update were those of a sketch of ten values, so every update was low-rank.


def test_a_full_rank_update_has_its_full_rank():
    base, update = gaussian(128, 352), 0.01 * gaussian(128, 352, seed=1)
    found = compare_matrices(MatrixPair(base=base, candidate=base + update, device=CPU))
    values = torch.linalg.svdvals((base + update).double() - base.double())
    assert found.update_stable_rank == pytest.approx(stable_rank(values), rel=1e-6)
    assert found.update_stable_rank > 40
    assert effective_rank(singular_values(gram(update, CPU))) == pytest.approx(
        effective_rank(torch.linalg.svdvals(update.double())), rel=1e-9
    )
    assert effective_rank(torch.linalg.svdvals(update.double())) > 100


def test_the_largest_singular_value_is_not_eight_percent_low():
    update = gaussian(128, 352)
    exact = torch.linalg.svdvals(update.double())
    found = singular_values(gram(update, CPU))
    assert torch.allclose(found, exact, rtol=1e-9, atol=0.0)


# afterburn: of the seven matrices of a block only the alphabetically first had its spectrum.


def test_every_matrix_of_every_layer_has_its_spectrum(folders):
    result = scan(*folders, "weights")
    matrices = {n for n, t in load_file(folders[0] / WEIGHTS).items() if t.ndim == 2}
    assert tensors_measured(result, SignalName.SPECTRAL_DIVERGENCE) == matrices
    assert len(matrices) == 2 * 7 + 2


# afterburn: the JSON report kept the norms of five layers and nothing else.


def test_the_json_report_keeps_every_measurement_of_every_signal(folders):
    result = scan(*folders, "probe")
    plain = json.loads(dump(build_document(result, None)))
    for signal in result.signals:
        (entry,) = (item for item in plain["signals"] if item["name"] == signal.name)
        assert len(entry["measurements"]) == len(signal.measurements)
        for ours, theirs in zip(signal.measurements, entry["measurements"], strict=True):
            assert theirs["metric"] == ours.metric
            assert theirs["estimate"]["value"] == ours.estimate.value
            assert theirs.get("tensor") == ours.tensor


# afterburn: weights went through float16 before they were subtracted.


def test_differences_far_below_half_precision_are_measured(tmp_path):
    base = build_base(tmp_path / "base")
    moved = perturb(base, tmp_path / "moved", lambda t: t[Q_PROJ].mul_(1 + 1e-6))
    found = distances(scan(base, moved, "weights"))
    assert found[Q_PROJ] == pytest.approx(1e-6, rel=0.1)
    huge = perturb(base, tmp_path / "huge", lambda t: t[Q_PROJ].mul_(1e6))
    assert distances(scan(base, huge, "weights"))[Q_PROJ] == pytest.approx(1e6, rel=1e-3)


# afterburn: its pattern for layers knew three families, and everything else was one layer.


@pytest.mark.parametrize(
    "name",
    [
        "model.decoder.layers.7.fc1.weight",
        "gpt_neox.layers.7.attention.dense.weight",
        "transformer.h.7.mlp.c_fc.weight",
        "h.7.attn.c_attn.weight",
        "backbone.layers.7.mixer.in_proj.weight",
        "model.language_model.layers.7.mlp.up_proj.weight",
        "transformer.blocks.7.ffn.up_proj.weight",
    ],
)
def test_layers_of_every_family_are_layers(name):
    assert layer_of(name) == "layers.7"


# afterburn: refused it; modeldelta: dropped embedding and head without a word.


def test_a_resized_vocabulary_is_compared_and_the_rest_is_reported(folders, tmp_path):
    base, _ = folders

    def resize(tensors):
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = torch.cat([1.25 * tensors[name], gaussian(8, 16)])

    wide = perturb(base, tmp_path / "wide", resize)
    edit_json(wide / "config.json", vocab_size=VOCABULARY + 8)
    tokenizer = build_tokenizer()
    tokenizer.add_tokens([f"<added-{i}>" for i in range(8)])
    tokenizer.save_pretrained(wide)
    result = scan(base, wide, "weights")
    found = distances(result)
    assert found["model.embed_tokens.weight"] == pytest.approx(0.25, rel=1e-6)
    assert found["lm_head.weight"] == pytest.approx(0.25, rel=1e-6)
    assert len(found) == len(load_file(base / WEIGHTS))
    plain = json.loads(dump(build_document(result, None)))
    assert plain["alignment"]["coverage"] < 1.0
    rows = {item["name"]: item for item in plain["alignment"]["vocabulary"]}
    assert rows.keys() == {"model.embed_tokens.weight", "lm_head.weight"}


# modeldelta: skipped tensors of fewer than a thousand numbers.


def test_tensors_of_a_few_numbers_are_measured(tmp_path):
    base = build_base(tmp_path / "base")
    small = "model.layers.1.input_layernorm.weight"
    moved = perturb(base, tmp_path / "moved", lambda t: t[small].mul_(1.5))
    result = scan(base, moved, "weights")
    assert load_file(base / WEIGHTS)[small].numel() == 16
    assert distances(result)[small] == pytest.approx(0.5, rel=1e-6)
    assert result.alignment.coverage == 1.0


# modeldelta: took 40 dimensions of an unseeded sketch for the spectrum of a head.


def test_the_spectrum_of_a_head_of_many_rows_is_whole_and_the_same_each_time():
    base, update = gaussian(9001, 48), 0.01 * gaussian(9001, 48, seed=1)
    pair = MatrixPair(base=base, candidate=base + update, device=CPU)
    found = compare_matrices(pair)
    assert compare_matrices(pair) == found
    values = torch.linalg.svdvals((base + update).double() - base.double())
    assert found.update_stable_rank == pytest.approx(stable_rank(values), rel=1e-6)
    assert found.update_stable_rank > 40


# afterburn: its random sketch had no seed, so that two runs gave two reports.


def test_two_scans_give_the_same_numbers_to_the_bit(folders):
    first, second = scan(*folders), scan(*folders)
    assert first.signals == second.signals
    assert first.sdi == second.sdi


# afterburn: did not start with a tokenizer that transformers 5 saved, nor with one that emits
# token_type_ids.


def test_a_tokenizer_that_transformers_5_saved_is_read(folders):
    saved = json.loads((folders[0] / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert saved["tokenizer_class"] in {"TokenizersBackend", "PreTrainedTokenizerFast"}
    assert scan(*folders, "probe").tokenizer.same is True


def test_a_tokenizer_that_emits_token_type_ids_is_no_obstacle(folders, tmp_path):
    base, tuned = (perturb(folder, tmp_path / folder.name) for folder in folders)
    tokenizer = build_tokenizer()
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    assert "token_type_ids" in tokenizer("rain")
    assert tokenize(tiny_probe(), tokenizer, 16).num_tokens > 0
    for folder in (base, tuned):
        tokenizer.save_pretrained(folder)
    result = scan(base, tuned, "probe")
    assert result.tier.ran is Tier.PROBE
    assert by_name(result)[SignalName.BEHAVIOUR].outcome is Outcome.MEASURED


# modeldelta, WeightWatcher: compared what happened to be named alike, layer after layer.


def test_a_model_with_a_layer_more_is_not_equal_and_does_not_pass(folders, tmp_path):
    base, _ = folders

    def deepen(tensors):
        for name in [*tensors]:
            if ".layers.1." in name:
                tensors[name.replace(".layers.1.", ".layers.2.")] = tensors[name].clone()

    deeper = perturb(base, tmp_path / "deeper", deepen)
    edit_json(deeper / "config.json", num_hidden_layers=3)
    result = scan(base, deeper)
    assert result.alignment.extra_layers == ("layers.2",)
    assert result.alignment.coverage < 1.0
    head = b"apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: x}\n"
    policy = parse_policy(head + b"limits: {sdi: {fail: 1.0}}\n", path="x.yml")
    assert judge_scan(result, policy, datetime.now(UTC)).verdict.status is not Status.PASS


def test_layers_are_matched_by_their_numbers_and_not_by_their_place(tmp_path):
    base = build_base(tmp_path / "base", num_hidden_layers=3)

    def drop_the_second(tensors):
        for name in [*tensors]:
            if ".layers.1." in name:
                del tensors[name]

    pruned = perturb(base, tmp_path / "pruned", drop_the_second)
    result = scan(base, pruned, "weights")
    assert result.alignment.missing_layers == ("layers.1",)
    assert {*distances(result).values()} == {0.0}
    assert not any(".layers.1." in name for name in distances(result))


def test_a_bias_that_is_missing_is_not_at_distance_zero(tmp_path):
    base = build_base(tmp_path / "base", family="qwen2")
    bias = "model.layers.0.self_attn.q_proj.bias"
    without = perturb(base, tmp_path / "without", lambda tensors: tensors.pop(bias))
    result = scan(base, without)
    assert [info.name for info in result.alignment.base_only] == [bias]
    assert bias not in distances(result)
    assert result.alignment.coverage < 1.0
    assert result.tier.ran is Tier.WEIGHTS


# afterburn: a traceback; modeldelta: a missing file; WeightWatcher: forgot alpha over r.


@pytest.mark.parametrize(("rank", "alpha"), [(2, 4), (4, 2), (4, 4)])
def test_an_adapter_is_a_candidate_and_its_scale_is_applied(folders, tmp_path, rank, alpha):
    base, _ = folders
    folder = tmp_path / "adapter"
    folder.mkdir()
    left, right = gaussian(16, rank), gaussian(rank, 16, seed=1)
    path = f"base_model.model.{Q_PROJ.removesuffix('.weight')}"
    save_file(
        {f"{path}.lora_A.weight": right, f"{path}.lora_B.weight": left},
        folder / "adapter_model.safetensors",
    )
    plain = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": ["q_proj"],
        "layers_to_transform": [0],
        "base_model_name_or_path": str(base),
    }
    (folder / "adapter_config.json").write_text(json.dumps(plain), encoding="utf-8")
    opened = open_candidate(snapshot(folder), open_model(snapshot(base)))
    factors = opened.adapted.update(Q_PROJ)
    product = LowRank(left=factors.left, right=factors.right)
    unscaled = torch.linalg.svdvals(left.double() @ right.double())[:rank]
    ours = singular_values_of_product(product, CPU)[:rank]
    assert torch.allclose(ours, alpha / rank * unscaled, rtol=1e-6, atol=0.0)
    found = distances(scan(base, folder, "weights"))
    update = alpha / rank * left.double() @ right.double()
    size = load_file(base / WEIGHTS)[Q_PROJ].double().norm()
    assert found.pop(Q_PROJ) == pytest.approx(float(update.norm() / size), rel=1e-6)
    assert {*found.values()} == {0.0}


# WeightWatcher: CKA of weights without centring, which a common mean turns into likeness.


def test_cka_is_centred_so_that_a_common_mean_is_no_likeness():
    X, Y = gaussian(200, 30), gaussian(200, 30, seed=1)
    found = float(debiased_linear_cka(X + 50.0, Y + 50.0))
    assert found == pytest.approx(float(debiased_linear_cka(X, Y)), abs=1e-6)
    assert abs(found) < 0.05
    uncentred = (X + 50.0).T @ (Y + 50.0)
    own = [((Z + 50.0).T @ (Z + 50.0)).norm() for Z in (X, Y)]
    assert float(uncentred.norm() ** 2 / (own[0] * own[1])) > 0.99


# WeightWatcher: left out layers of more than 15,000 values, as embeddings have them.


def test_embeddings_of_many_rows_are_measured():
    base = gaussian(20_000, 8)
    found = compare_matrices(MatrixPair(base=base, candidate=1.1 * base, device=CPU))
    assert found.spectrum_distance > 0.09
    assert math.isfinite(found.subspace_loss)


# All of them: names of transformers 5, and models without a table of their own.


def test_todays_names_and_yesterdays_are_one_model(tmp_path):
    base = build_base(tmp_path / "base", family="mixtral")
    new = perturb(base, tmp_path / "new")
    model_of("mixtral").save_pretrained(new, save_original_format=False)
    assert load_file(base / WEIGHTS).keys() != load_file(new / WEIGHTS).keys()
    result = scan(base, new, "weights")
    assert {*distances(result).values()} == {0.0}
    assert result.alignment.coverage == 1.0


# All of them: NaN, half types side by side, and second derivatives of fused attention.


def test_nan_is_inconclusive_and_never_a_number(folders, tmp_path):
    base, _ = folders
    broken = perturb(base, tmp_path / "broken", lambda t: t[Q_PROJ].view(-1)[3:4].fill_(torch.nan))
    result = scan(base, broken)
    assert by_name(result)[SignalName.WEIGHT_GEOMETRY].outcome is Outcome.INCONCLUSIVE
    assert result.sdi.outcome is not Outcome.MEASURED
    assert result.defects


def test_half_types_side_by_side_show_rounding_and_no_drift(folders, tmp_path):
    base, _ = folders

    def cast(dtype):
        return lambda tensors: tensors.update({n: t.to(dtype) for n, t in tensors.items()})

    half = perturb(base, tmp_path / "half", cast(torch.float16))
    brain = perturb(half, tmp_path / "brain", cast(torch.bfloat16))
    result = scan(half, brain, "weights")
    assert {*distances(result).values()} == {0.0}
    assert 1e-4 < result.rounding.floor < 1e-2


def test_curvature_is_measured_through_attention_that_has_second_derivatives(folders):
    result = scan(*folders)
    assert load(folders[0]).model.config._attn_implementation == "eager"
    curvature = by_name(result)[SignalName.CURVATURE_SHIFT]
    assert curvature.outcome is Outcome.MEASURED
    # Traces may be negative; the shift between two of them is not.
    assert curvature.estimate.value > 0.0


@pytest.mark.parametrize("samples", [1, 3])
def test_cka_of_fewer_than_four_samples_has_a_reason_and_is_not_nan(folders, samples):
    result = scan(*folders, "probe", probe=tiny_probe(samples=samples))
    drift = by_name(result)[SignalName.REPRESENTATION_DRIFT]
    assert drift.outcome is Outcome.INCONCLUSIVE
    assert drift.reason == "stratum general has fewer than 4 samples"
    assert drift.estimate is None


# WeightWatcher: an update of two per cent left no trace; afterburn: "LOW (0/100)" for garbage.


def test_an_update_of_two_per_cent_is_an_update_of_two_per_cent(folders, tmp_path):
    base, _ = folders
    result = scan(base, perturb(base, tmp_path / "light", add_noise(0.02)), "weights")
    distance = by_name(result)[SignalName.WEIGHT_GEOMETRY].estimate.value
    assert distance == pytest.approx(0.02, rel=1e-3)


def test_a_model_of_other_random_weights_is_far_away(folders, tmp_path):
    base, tuned = folders
    other = build_base(tmp_path / "other", seed=9)
    assert scan(base, other).sdi.estimate.value > 0.5 > scan(base, tuned).sdi.estimate.value
