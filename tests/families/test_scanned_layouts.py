"""Scans of models that hold the same weights otherwise, or other numbers of layers and tokens."""

from __future__ import annotations

import shutil

import pytest
import torch
from family_proofs import rename, save_as_run
from safetensors.torch import load_file
from tiny_models import (
    VOCABULARY,
    WEIGHTS,
    add_noise,
    build_base,
    build_tokenizer,
    edit_json,
    load,
    model_of,
    perturb,
    rewrite,
    scan,
)

from sdi_gate.policy.facts import Tier
from sdi_gate.signals.interface import Outcome, SignalName

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
EMBEDDING = "model.embed_tokens.weight"


def estimates(result):
    return {s.name: (s.estimate.value, s.estimate.stderr) for s in result.signals if s.estimate}


def by_name(result):
    return {signal.name: signal for signal in result.signals}


def relative_distances(result):
    rows = by_name(result)[SignalName.WEIGHT_GEOMETRY].measurements
    metric = "relative-distance"
    return {r.tensor: r.estimate.value for r in rows if r.tensor and r.metric == metric}


def without_tokenizer(*folders):
    for folder in folders:
        for name in TOKENIZER_FILES:
            (folder / name).unlink(missing_ok=True)


# Names, shards, buffers.


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "gpt_neox"])
def test_a_change_measures_the_same_in_either_layout(tmp_path, family):
    old = build_base(tmp_path / "old", family=family)
    new = save_as_run(old, tmp_path / "new", family)
    assert load_file(old / WEIGHTS).keys() != load_file(new / WEIGHTS).keys()
    noisy = perturb(old, tmp_path / "noisy", add_noise(0.05))
    assert estimates(scan(new, noisy)) == estimates(scan(old, noisy))


def test_experts_of_one_layer_may_lie_in_many_shards(tmp_path):
    base = build_base(tmp_path / "base", family="mixtral")
    copy = tmp_path / "copy"
    shutil.copytree(base, copy)
    (copy / WEIGHTS).unlink()
    model_of("mixtral").save_pretrained(copy, max_shard_size="8KB")
    assert len(list(copy.glob("*.safetensors"))) > 5
    assert set(estimates(scan(base, copy)).values()) <= {(0.0, None), (0.0, 0.0)}


def test_masks_that_transformers_4_saved_are_listed_and_change_nothing(tmp_path):
    base = build_base(tmp_path / "base", family="gpt2")

    def as_it_was(tensors):
        rename(tensors, lambda name: name.removeprefix("transformer."))
        for i in range(2):
            tensors[f"h.{i}.attn.bias"] = torch.ones(1, 1, 64, 64).tril().to(torch.uint8)
            tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)

    old = perturb(base, tmp_path / "old", as_it_was)
    result = scan(old, base)
    assert result.tier.ran is Tier.FULL
    assert result.base.ignored == tuple(
        f"h.{i}.attn.{name}" for i in range(2) for name in ("bias", "masked_bias")
    )
    assert result.candidate.ignored == ()
    assert result.base.num_parameters == result.candidate.num_parameters
    assert result.alignment.coverage == 1.0
    assert {value for value, _ in estimates(result).values()} == {0.0}


def test_a_tensor_that_looks_like_a_mask_and_is_none_lowers_the_coverage(tmp_path):
    base = build_base(tmp_path / "base")
    name = "model.layers.0.attn.bias"
    other = perturb(base, tmp_path / "other", lambda t: t.update({name: torch.ones(1, 1, 8, 8)}))
    result = scan(base, other)
    assert [info.name for info in result.alignment.candidate_only] == [name]
    assert result.alignment.coverage < 1.0
    assert result.tier.ran is Tier.WEIGHTS
    assert "do not have the same tensors" in result.tier.reason


# Ties.


@pytest.mark.parametrize(
    ("family", "embedding"), [("gemma", EMBEDDING), ("gpt2", "transformer.wte.weight")]
)
def test_a_tied_head_that_is_stored_too_counts_once(tmp_path, family, embedding):
    base = build_base(tmp_path / "base", family=family)
    twice = perturb(
        base, tmp_path / "twice", lambda t: t.update({"lm_head.weight": t[embedding].clone()})
    )
    result = scan(base, twice)
    assert result.candidate.tied_copies == ("lm_head.weight",)
    assert result.candidate.num_parameters == result.base.num_parameters
    assert result.alignment.coverage == 1.0
    assert result.tier.ran is Tier.FULL
    assert {value for value, _ in estimates(result).values()} == {0.0}


@pytest.mark.parametrize("tied", [None, False], ids=["still-tied-in-config", "untied-in-config"])
def test_a_head_of_its_own_is_compared_with_the_embedding_that_the_base_ties(tmp_path, tied):
    base = build_base(tmp_path / "base", family="gemma")
    untied = perturb(
        base, tmp_path / "untied", lambda t: t.update({"lm_head.weight": 1.25 * t[EMBEDDING]})
    )
    if tied is False:
        edit_json(untied / "config.json", tie_word_embeddings=False)
    result = scan(base, untied)
    assert result.tier.ran is Tier.FULL
    assert result.alignment.coverage == 1.0
    assert all(signal.outcome is Outcome.MEASURED for signal in result.signals)
    distances = relative_distances(result)
    assert distances.pop("lm_head.weight") == pytest.approx(0.25, rel=1e-6)
    assert {*distances.values()} == {0.0}
    assert result.candidate.num_parameters - result.base.num_parameters == VOCABULARY * 16
    assert by_name(result)[SignalName.REPRESENTATION_DRIFT].estimate.value == 0.0
    assert by_name(result)[SignalName.BEHAVIOUR].estimate.value > 0.0


# Layers.


def copy_layer(tensors, source, target):
    for name in [*tensors]:
        if f".layers.{source}." in name:
            new = name.replace(f".layers.{source}.", f".layers.{target}.")
            tensors[new] = tensors[name].clone()


def test_a_deeper_candidate_is_compared_in_what_both_have_and_its_layer_is_priced(tmp_path):
    base = build_base(tmp_path / "base")
    deeper = perturb(base, tmp_path / "deeper", lambda t: copy_layer(t, 1, 2))
    edit_json(deeper / "config.json", num_hidden_layers=3)
    layer = sum(t.numel() for n, t in load_file(base / WEIGHTS).items() if ".layers.1." in n)
    whole = sum(t.numel() for t in load_file(base / WEIGHTS).values())
    grown = scan(base, deeper)
    assert grown.alignment.extra_layers == ("layers.2",)
    assert grown.alignment.missing_layers == ()
    pruned = scan(deeper, base)
    assert pruned.alignment.missing_layers == ("layers.2",)
    assert pruned.alignment.extra_layers == ()
    for result in (grown, pruned):
        assert result.alignment.coverage == whole / (whole + layer)
        assert result.tier.ran is Tier.WEIGHTS
        assert "num_hidden_layers" in result.config_differences
        assert any("num_hidden_layers" in defect for defect in result.defects)


# Vocabulary.


def resized(base, folder, family, rows, seed=5):
    """Save a model with more or fewer rows, whose common ones are the base's."""
    shutil.copytree(base, folder)
    model = load(base).model
    wide = model_of(family, seed=seed, vocab_size=rows)
    state = wide.state_dict()
    for name, value in model.state_dict().items():
        state[name] = torch.cat([value, state[name][len(value) :]])[: len(state[name])]
    wide.load_state_dict(state)
    wide.save_pretrained(folder)
    return folder


def larger_tokenizer(folder, num_added):
    tokenizer = build_tokenizer()
    tokenizer.add_tokens([f"<added-{i}>" for i in range(num_added)])
    tokenizer.save_pretrained(folder)


TENSORS = {
    "llama": {EMBEDDING, "lm_head.weight"},
    "phi": {EMBEDDING, "lm_head.weight", "lm_head.bias"},
    "gemma": {EMBEDDING},
    "gpt2": {"transformer.wte.weight"},
    "opt": {"model.decoder.embed_tokens.weight"},
}


@pytest.mark.parametrize("family", TENSORS)
def test_rows_of_added_tokens_are_reported_and_the_others_compared(tmp_path, family):
    base = build_base(tmp_path / "base", family=family)
    wide = resized(base, tmp_path / "wide", family, VOCABULARY + 10)
    larger_tokenizer(wide, 10)
    result = scan(base, wide)
    rows = {item.name: item for item in result.alignment.vocabulary}
    assert rows.keys() == TENSORS[family]
    assert all(row.compared == VOCABULARY for row in rows.values())
    assert all(row.candidate_only == 10 for row in rows.values())
    assert {item.tensor: item.num_rows for item in result.added_rows} == dict.fromkeys(rows, 10)
    assert result.alignment.mismatched == ()
    added = 10 * sum(row.width for row in rows.values())
    whole = result.base.num_parameters
    assert result.alignment.coverage == whole / (whole + added)
    found = by_name(result)
    assert found[SignalName.WEIGHT_GEOMETRY].estimate.value == 0.0
    assert found[SignalName.SPECTRAL_DIVERGENCE].estimate.value == 0.0


@pytest.mark.parametrize("family", TENSORS)
def test_padded_rows_that_no_token_addresses_are_left_out(tmp_path, family):
    base = build_base(tmp_path / "base", family=family)
    padded = resized(base, tmp_path / "padded", family, VOCABULARY + 20)
    for pair in ((base, padded), (padded, base)):
        result = scan(*pair)
        assert result.alignment.coverage == 1.0
        assert result.added_rows == ()
        rows = result.alignment.vocabulary
        assert {row.name for row in rows} == TENSORS[family]
        assert all(row.base_padding + row.candidate_padding == 20 for row in rows)
        found = by_name(result)
        assert found[SignalName.WEIGHT_GEOMETRY].estimate.value == 0.0
        assert result.tier.ran is Tier.FULL


def test_without_tokenizers_no_row_counts_as_padding(tmp_path):
    base = build_base(tmp_path / "base")
    wide = resized(base, tmp_path / "wide", "llama", VOCABULARY + 10)
    without_tokenizer(base, wide)
    result = scan(base, wide, "weights")
    assert all(row.candidate_only == 10 for row in result.alignment.vocabulary)
    assert result.alignment.coverage < 1.0
    smaller = scan(wide, base, "weights")
    assert all(row.base_only == 10 for row in smaller.alignment.vocabulary)
    assert smaller.alignment.coverage == result.alignment.coverage


def test_rows_that_are_paired_are_still_compared_when_others_are_added(tmp_path):
    base = build_base(tmp_path / "base")
    wide = resized(base, tmp_path / "wide", "llama", VOCABULARY + 10)
    rewrite(wide, lambda t: t[EMBEDDING][:VOCABULARY].mul_(1.5))
    larger_tokenizer(wide, 10)
    distances = relative_distances(scan(base, wide, "weights"))
    assert distances.pop(EMBEDDING) == pytest.approx(0.5, rel=1e-6)
    assert {*distances.values()} == {0.0}


# Types.


@pytest.mark.parametrize("types", ["fb", "fh", "bf", "hf", "hb", "bh"], ids="-".join)
def test_the_same_weights_in_two_types_are_no_drift(tmp_path, types):
    dtypes = {"f": torch.float32, "b": torch.bfloat16, "h": torch.float16}

    def cast(letter):
        return lambda t: t.update({name: value.to(dtypes[letter]) for name, value in t.items()})

    base = rewrite(build_base(tmp_path / "base"), cast(types[0]))
    result = scan(base, perturb(base, tmp_path / "other", cast(types[1])))
    assert {value for value, _ in estimates(result).values()} == {0.0}
    assert result.alignment.coverage == 1.0
    assert result.tier.ran is Tier.FULL
    finer = types in {"bf", "hf", "bh"}
    assert (result.rounding is None) == finer
    if not finer:
        assert 1e-5 < result.rounding.floor < 3e-3


def test_the_original_of_a_rounded_base_is_no_drift_and_the_rounding_is_shown(tmp_path):
    original = build_base(tmp_path / "original")
    base = perturb(
        original,
        tmp_path / "base",
        lambda t: t.update({name: value.bfloat16() for name, value in t.items()}),
    )
    result = scan(base, original)
    assert {value for value, _ in estimates(result).values()} == {0.0}
    assert 1e-3 < result.rounding.floor < 3e-3
    assert any("equal the base's but for its rounding" in notice for notice in result.notices)
