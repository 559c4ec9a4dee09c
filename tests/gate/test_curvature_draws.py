"""Curvature draws of base and candidate: chance, pairing, methods, and what enters an id."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import CPU, build_tokenizer, loaded_of, model_of, tiny_probe

from sdi_gate.gate import full_tier
from sdi_gate.gate.full_tier import base_draws, candidate_draws, generator_of, shift_of
from sdi_gate.gate.luck import draw_luck, in_advance
from sdi_gate.gate.request import CurvatureMethod, Settings
from sdi_gate.gate.running import Running
from sdi_gate.models.hessian import curvature_products, quadratic_form
from sdi_gate.models.tokens import TokenSample, tokenize
from sdi_gate.progress import NullProgress
from sdi_gate.signals.interface import Outcome
from sdi_gate.signals.signs import rademacher

QUIET = NullProgress()
METHODS = list(CurvatureMethod)


@pytest.fixture
def settings():
    return Settings(
        max_tokens=16,
        curvature_draws=2,
        curvature_samples=2,
        curvature_tokens=8,
        curvature_blocks=2,
    )


def running_of(model=None, probe=None):
    return Running(
        loaded=loaded_of(model or model_of("llama", seed=1)),
        probe=probe or tokenize(tiny_probe(), build_tokenizer(), 16),
        probe_digest="sha256:x",
        device=CPU,
    )


def update_to(candidate):
    theirs = dict(candidate.loaded.model.named_parameters())
    return lambda name, parameter: theirs[name].detach() - parameter


def shift_between(base, candidate, settings, update=None):
    ours = base_draws(base, update, settings, QUIET)
    theirs = candidate_draws(candidate, ours.shapes, settings, QUIET)
    return shift_of(ours, theirs, base.parameters, settings)


class Spy:
    """Record what goes into every product."""

    def __init__(self, monkeypatch):
        self.calls = []
        monkeypatch.setattr(full_tier, "curvature_products", self)

    def __call__(self, loaded, batch, signs, uniforms, update):
        named = dict(loaded.model.named_parameters())
        self.calls.append((batch, {name: signs(name, p) for name, p in named.items()}, uniforms))
        return curvature_products(loaded, batch, signs, uniforms, update)


class Steps:
    """Record progress."""

    def __init__(self):
        self.told = []

    def advance(self, *step):
        self.told.append(step)


# What base and candidate share.


def test_base_and_candidate_share_signs_tokens_and_luck_and_no_two_draws_do(settings, monkeypatch):
    spy = Spy(monkeypatch)
    settings = replace(settings, curvature_draws=3)
    base, candidate = running_of(), running_of(model_of("llama", seed=2))
    shift_between(base, candidate, settings)
    assert len(spy.calls) == 2 * 2 * 3
    seen = []
    for ours, theirs in zip(spy.calls[:6], spy.calls[6:], strict=True):
        assert torch.equal(ours[0].ids, theirs[0].ids)
        assert torch.equal(ours[0].mask, theirs[0].mask)
        assert ours[1].keys() == theirs[1].keys()
        assert all(torch.equal(ours[1][name], theirs[1][name]) for name in ours[1])
        assert torch.equal(ours[2], theirs[2])
        assert all(set(sign.unique().tolist()) <= {-1.0, 1.0} for sign in ours[1].values())
        assert len(ours[2]) >= int(ours[0].mask.sum())
        seen.append(ours[1]["lm_head.weight"])
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_the_random_numbers_are_signs_in_the_bases_order_then_uniforms_then_added_rows(settings):
    base = {"a": (3, 5), "b": (7,)}
    own = {"b": (9,), "a": (5, 5)}
    luck = draw_luck(base, own, 4, generator_of(settings, 1, 2))
    plain = torch.Generator().manual_seed(full_tier.SEED_STRIDE + 2)
    a, b = rademacher((3, 5), plain), rademacher((7,), plain)
    uniforms = torch.rand(4, generator=plain, dtype=torch.float64)
    more_b, more_a = rademacher((2,), plain), rademacher((2, 5), plain)
    assert torch.equal(luck.uniforms, uniforms)
    assert torch.equal(luck.of("a", torch.empty(5, 5)), torch.cat([a, more_a]))
    assert torch.equal(luck.of("b", torch.empty(9)), torch.cat([b, more_b]))
    fewer = draw_luck(base, {"a": (2, 5), "b": (7,)}, 4, generator_of(settings, 1, 2))
    assert torch.equal(fewer.of("a", torch.empty(2, 5)), a[:2])
    assert torch.equal(fewer.of("b", torch.empty(7)), b)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("rows", [290, 310])
def test_rows_that_only_one_model_has_leave_the_signs_of_the_others_alone(
    settings, monkeypatch, rows, tied
):
    spy = Spy(monkeypatch)
    probe = tokenize(tiny_probe(), build_tokenizer(), 16)
    low = tuple(replace(s, ids=tuple(i % 290 for i in s.ids)) for s in probe.samples)
    base, candidate = (
        running_of(
            model_of("llama", seed=1, vocab_size=size, tie_word_embeddings=tied),
            replace(probe, samples=low),
        )
        for size in (300, rows)
    )
    found = shift_between(base, candidate, settings)
    assert found.outcome is Outcome.MEASURED
    shared = min(300, rows)
    for ours, theirs in zip(spy.calls[:4], spy.calls[4:], strict=True):
        assert ("lm_head.weight" in ours[1]) != tied
        for name, signs in ours[1].items():
            both = shared if len(signs) == 300 else len(signs)
            assert torch.equal(signs[:both], theirs[1][name][:both])
        assert torch.equal(ours[2], theirs[2])
        assert theirs[1]["model.embed_tokens.weight"].shape[0] == rows


def test_draws_walk_through_a_stratum_and_begin_again_at_its_end(settings, monkeypatch):
    spy = Spy(monkeypatch)
    samples = tuple(TokenSample(stratum="s", ids=(i, i, i, i)) for i in range(5))
    running = running_of()
    running = replace(running, probe=replace(running.probe, samples=samples))
    few = replace(settings, curvature_draws=3, curvature_samples=2, curvature_tokens=3)
    base_draws(running, None, few, QUIET)
    batches = [call[0].ids for call in spy.calls]
    assert [ids[:, 0].tolist() for ids in batches] == [[0, 1], [2, 3], [4, 0]]
    assert all(ids.shape == (2, 3) for ids in batches)


def test_strata_do_not_share_their_signs(settings, monkeypatch):
    spy = Spy(monkeypatch)
    found = base_draws(running_of(), None, settings, QUIET)
    assert found.strata == ("general", "general", "instruction", "instruction")
    general, instruction = spy.calls[0][1], spy.calls[2][1]
    assert not torch.equal(general["lm_head.weight"], instruction["lm_head.weight"])


@pytest.mark.parametrize("workers", [1, 3, 9])
def test_what_is_made_in_advance_comes_in_order_and_all_of_it(workers):
    assert [*in_advance(lambda i: i * i, 7, workers)] == [*in_advance(lambda i: i * i, 7, 0)]
    assert [*in_advance(str, 0, workers)] == []


def test_what_cannot_be_made_in_advance_is_said_when_it_is_asked_for():
    coming = in_advance(lambda i: 1 // (2 - i), 5, 2)
    assert [next(coming), next(coming)] == [0, 1]
    with pytest.raises(ZeroDivisionError, match="division"):
        next(coming)


def test_random_numbers_that_are_made_ahead_of_a_device_are_the_same(settings, monkeypatch):
    base = running_of()
    expected = base_draws(base, None, settings, QUIET)
    batches = []

    def on_cpu(samples, indices, device):
        batches.append(device.type)
        return pad(samples, indices, CPU)

    pad = full_tier.pad
    monkeypatch.setattr(full_tier, "pad", on_cpu)
    elsewhere = replace(base, device=torch.device("cuda"))
    assert base_draws(elsewhere, None, settings, QUIET) == expected
    assert batches == ["cuda"] * 4


# The methods.


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_identical_models_have_a_shift_of_exactly_zero_by_every_method(settings, method):
    found = shift_between(running_of(), running_of(), replace(settings, curvature_method=method))
    assert (found.estimate.value, found.estimate.stderr) == (0.0, 0.0)
    shifts = [row for row in found.measurements if row.metric.endswith("shift")]
    assert {row.estimate.value for row in shifts} == {0.0}


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_other_weights_have_another_curvature_by_every_method(settings, method):
    settings = replace(settings, curvature_method=method)
    found = shift_between(running_of(), running_of(model_of("llama", seed=2)), settings)
    assert 0.0 < found.estimate.value <= 1.0
    assert [row.layer for row in found.by_layer(found.metric)] == ["layers.0", "layers.1"]


def test_a_single_block_and_the_rest_has_the_fisher_trace_of_the_joint_draw(settings):
    blocks = replace(settings, curvature_method=CurvatureMethod.BLOCKS, curvature_blocks=1)
    joint = base_draws(running_of(), None, settings, QUIET)
    found = base_draws(running_of(), None, blocks, QUIET)
    for ours, theirs in zip(joint.tables, found.tables, strict=True):
        assert ours.keys() == theirs.keys()
        fisher = [key for key in ours if key[0] == "fisher-trace"]
        assert [ours[key] for key in fisher] == pytest.approx([theirs[key] for key in fisher])


@pytest.mark.parametrize(
    ("method", "added", "metric"),
    [
        (CurvatureMethod.JOINT, {}, "trace-shift"),
        (CurvatureMethod.BLOCKS, {"curvature-blocks": "2"}, "trace-shift"),
        (CurvatureMethod.FISHER, {"curvature-method": "fisher"}, "fisher-trace-shift"),
    ],
    ids=METHODS,
)
def test_everything_that_moves_curvature_is_in_its_id(settings, method, added, metric):
    found = shift_between(running_of(), running_of(), replace(settings, curvature_method=method))
    assert found.metric == metric
    assert dict(found.id.parameters) == added | {
        "compute-dtype": "float32",
        "curvature-draws": "2",
        "curvature-samples": "2",
        "curvature-tokens": "8",
        "max-tokens": "16",
        "probe": "sha256:x",
        "seed": "0",
    }


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_one_draw_gives_no_error_and_so_no_number(settings, method):
    settings = replace(settings, curvature_draws=1, curvature_method=method)
    found = shift_between(running_of(), running_of(), settings)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reason == "a stratum has fewer than 2 paired draws"


@pytest.mark.parametrize("who", ["base", "candidate"])
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_curvature_that_overflows_is_inconclusive(settings, method, who):
    broken = model_of("llama", seed=1)
    with torch.no_grad():
        broken.lm_head.weight.mul_(1e38)
    pair = {"base": running_of(), "candidate": running_of()} | {who: running_of(broken)}
    found = shift_between(**pair, settings=replace(settings, curvature_method=method))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.estimate is None


# The quadratic form.


def test_the_quadratic_form_is_half_of_update_hessian_update_at_the_base(settings, monkeypatch):
    spy = Spy(monkeypatch)
    base, candidate = running_of(), running_of(model_of("llama", seed=2))
    update = update_to(candidate)
    found = base_draws(base, update, settings, QUIET)
    expected = tuple(quadratic_form(base.loaded, call[0], update) for call in spy.calls)
    assert found.quadratic == expected
    shift = shift_between(base, candidate, settings, update)
    assert shift.overall("update-quadratic-form").value == pytest.approx(sum(expected) / 4)


def test_no_update_has_no_quadratic_form_of_it(settings):
    found = base_draws(running_of(), lambda *_: None, settings, QUIET)
    assert found.quadratic == (0.0,) * 4


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_quadratic_form_that_was_not_measured_has_no_row(settings, method):
    settings = replace(settings, curvature_method=method)
    update = None if method is CurvatureMethod.JOINT else lambda *_: pytest.fail("asked for")
    found = shift_between(running_of(), running_of(), settings, update)
    assert found.overall("update-quadratic-form") is None


# Progress.


def test_base_and_candidate_are_the_halves_of_one_stage(settings):
    steps = Steps()
    ours = base_draws(running_of(), None, settings, steps)
    candidate_draws(running_of(), ours.shapes, settings, steps)
    assert [step[:3] for step in steps.told] == [
        *(("curvature", done, 8) for done in (0, 1, 2, 3, 4)),
        *(("curvature", done, 8) for done in (4, 5, 6, 7, 8)),
    ]
    details = [step[3] for step in steps.told[:5]]
    assert details == ["general", "general", "instruction", "instruction", ""]


def test_draws_that_do_not_belong_together_are_a_bug(settings):
    ours = base_draws(running_of(), None, settings, QUIET)
    more = replace(settings, curvature_draws=3)
    theirs = candidate_draws(running_of(), ours.shapes, more, QUIET)
    with pytest.raises(ValueError, match="the same draws of both; got 4, 6"):
        shift_of(ours, theirs, (), settings)
