"""Tiers probe and full over loaded models: chance, pairing, and what enters an id."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import CPU, build_tokenizer, loaded_of, model_of, request_of, tiny_probe
from torch import nn

from sdi_gate.gate import full_tier
from sdi_gate.gate.full_tier import measure_curvature
from sdi_gate.gate.probe_tier import Models, measure_probe
from sdi_gate.models.hessian import curvature_products, parameters_of
from sdi_gate.models.tokens import TokenSample, tokenize
from sdi_gate.progress import NullProgress
from sdi_gate.signals.interface import Outcome


@pytest.fixture
def settings(tmp_path):
    return request_of(tmp_path, tmp_path).settings


def models_of(base=None, candidate=None, probe=None):
    return Models(
        base=loaded_of(base or model_of("llama", seed=1)),
        candidate=loaded_of(candidate or model_of("llama", seed=1)),
        probe=probe or tokenize(tiny_probe(), build_tokenizer(), 16),
        probe_digest="sha256:x",
        device=CPU,
    )


class _Noisy(nn.Module):
    """A head that draws anew at every call."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, hidden):
        raw = self.head(hidden)
        return raw + 1e-6 * torch.rand(raw.shape, generator=self.generator)


@pytest.mark.parametrize("who", ["base", "candidate"])
def test_a_model_that_is_not_deterministic_is_a_defect(settings, who):
    noisy = model_of("llama", seed=1)
    noisy.lm_head = _Noisy(noisy.lm_head)
    found = measure_probe(models_of(**{who: noisy}), settings, NullProgress())
    assert found.defects == (f"the {who} gives different numbers for the same probe batch",)


def test_deterministic_models_have_no_defect(settings):
    found = measure_probe(models_of(), settings, NullProgress())
    assert found.defects == ()
    assert found.representation.estimate.value == found.behaviour.estimate.value == 0.0
    assert ("pooling", "mean-without-first") in found.representation.id.parameters


def test_behaviour_is_that_of_each_sample_with_its_own_stratum(settings):
    models = models_of(candidate=model_of("llama", seed=2))
    whole = measure_probe(models, settings, NullProgress()).behaviour
    for stratum in ("general", "instruction"):
        samples = tuple(s for s in models.probe.samples if s.stratum == stratum)
        alone = replace(models, probe=replace(models.probe, samples=samples))
        part = measure_probe(alone, settings, NullProgress()).behaviour
        (row,) = (r for r in whole.by_stratum("kl-divergence") if r.stratum == stratum)
        assert row.estimate.value == pytest.approx(part.estimate.value, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_moves_no_number_beyond_rounding(settings, batch_size):
    models = models_of(candidate=model_of("llama", seed=2))
    one = measure_probe(models, settings, NullProgress())
    other = measure_probe(models, replace(settings, batch_size=batch_size), NullProgress())
    for ours, theirs in (
        (one.behaviour, other.behaviour),
        (one.representation, other.representation),
    ):
        assert ours.estimate.value == pytest.approx(theirs.estimate.value, rel=1e-4)


def test_a_model_without_decoder_layers_has_no_representation(settings):
    models = models_of()
    bare = replace(
        models, base=replace(models.base, layers=()), candidate=replace(models.candidate, layers=())
    )
    found = measure_probe(bare, settings, NullProgress())
    assert found.representation.outcome is Outcome.INCONCLUSIVE
    assert "no decoder layers" in found.representation.reason


# Curvature.


class Spy:
    """Record the arguments of every product."""

    def __init__(self, monkeypatch):
        self.calls = []
        monkeypatch.setattr(full_tier, "curvature_products", self)

    def __call__(self, loaded, batch, signs, uniforms, update):
        self.calls.append((loaded, batch, signs, uniforms, update))
        return curvature_products(loaded, batch, signs, uniforms, update)


def test_base_and_candidate_share_signs_tokens_and_luck_and_no_two_draws_do(settings, monkeypatch):
    spy = Spy(monkeypatch)
    models = models_of(candidate=model_of("llama", seed=2))
    measure_curvature(models, replace(settings, curvature_draws=3), NullProgress())
    assert len(spy.calls) == 2 * 2 * 3
    seen = []
    for base, candidate in zip(spy.calls[::2], spy.calls[1::2], strict=True):
        assert base[0] is models.base
        assert candidate[0] is models.candidate
        assert base[1] is candidate[1]
        assert base[2].keys() == candidate[2].keys()
        assert all(base[2][name] is candidate[2][name] for name in base[2])
        assert base[3] is candidate[3]
        assert candidate[4] is None
        assert base[2].keys() == parameters_of(models.base).keys()
        assert all(set(sign.unique().tolist()) <= {-1.0, 1.0} for sign in base[2].values())
        assert len(base[3]) >= int(base[1].mask.sum())
        seen.append(base[2]["lm_head.weight"])
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_the_update_is_candidate_minus_base(settings, monkeypatch):
    spy = Spy(monkeypatch)
    models = models_of(candidate=model_of("llama", seed=2))
    measure_curvature(models, settings, NullProgress())
    ours, theirs = parameters_of(models.base), parameters_of(models.candidate)
    for name, update in spy.calls[0][4].items():
        assert torch.equal(update, (theirs[name] - ours[name]).detach())


def test_draws_walk_through_a_stratum_and_begin_again_at_its_end(settings, monkeypatch):
    spy = Spy(monkeypatch)
    samples = tuple(TokenSample(stratum="s", ids=(i, i, i, i)) for i in range(5))
    models = models_of()
    probe = replace(models.probe, samples=samples)
    few = replace(settings, curvature_draws=3, curvature_samples=2, curvature_tokens=3)
    measure_curvature(replace(models, probe=probe), few, NullProgress())
    batches = [call[1].ids for call in spy.calls[::2]]
    assert [ids[:, 0].tolist() for ids in batches] == [[0, 1], [2, 3], [4, 0]]
    assert all(ids.shape == (2, 3) for ids in batches)


def test_strata_do_not_share_their_signs(settings, monkeypatch):
    spy = Spy(monkeypatch)
    measure_curvature(models_of(), settings, NullProgress())
    general, instruction = spy.calls[0][2], spy.calls[-1][2]
    assert not torch.equal(general["lm_head.weight"], instruction["lm_head.weight"])


def test_everything_that_moves_curvature_is_in_its_id(settings):
    found = measure_curvature(models_of(), settings, NullProgress())
    assert dict(found.id.parameters) == {
        "compute-dtype": "float32",
        "curvature-draws": "2",
        "curvature-samples": "2",
        "curvature-tokens": "8",
        "max-tokens": "16",
        "probe": "sha256:x",
        "seed": "0",
    }
    assert found.estimate.value == 0.0


def test_embeddings_head_and_final_norm_are_outside_the_headline(settings):
    found = measure_curvature(
        models_of(candidate=model_of("llama", seed=2)), settings, NullProgress()
    )
    assert [row.layer for row in found.by_layer(found.metric)] == ["layers.0", "layers.1"]


def test_one_draw_gives_no_error_and_so_no_number(settings):
    found = measure_curvature(models_of(), replace(settings, curvature_draws=1), NullProgress())
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reason == "a stratum has fewer than 2 paired draws"


def test_curvature_that_overflows_is_inconclusive(settings):
    broken = model_of("llama", seed=1)
    with torch.no_grad():
        broken.lm_head.weight.mul_(1e38)
    found = measure_curvature(models_of(candidate=broken), settings, NullProgress())
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.estimate is None
