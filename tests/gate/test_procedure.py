"""Whole scans: which tier runs and why, what is refused, and what broken numbers lead to."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import (
    CHAT_TEMPLATE,
    VOCABULARY,
    WEIGHTS,
    add_noise,
    build_base,
    build_tokenizer,
    edit_json,
    perturb,
    request_of,
    rewrite,
    scan,
    snapshot,
    tiny_probe,
)

from sdi_gate.errors import FormatError, IncomparableError, IntegrityError, UsageError
from sdi_gate.gate import plan as planning
from sdi_gate.gate import procedure
from sdi_gate.gate.procedure import Effects, judge_scan, run_scan
from sdi_gate.gate.tier import Machine
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import Scheme
from sdi_gate.models.tokenizer import load_tokenizer
from sdi_gate.models.tokens import tokenize
from sdi_gate.policy.facts import Tier
from sdi_gate.policy.loader import parse_policy
from sdi_gate.policy.verdict import Status
from sdi_gate.progress import NullProgress
from sdi_gate.signals.depth import DepthWeighting
from sdi_gate.signals.interface import Outcome, SignalName

WEIGHT_SIGNALS = {SignalName.WEIGHT_GEOMETRY, SignalName.SPECTRAL_DIVERGENCE}
PROBE_SIGNALS = WEIGHT_SIGNALS | {SignalName.REPRESENTATION_DRIFT, SignalName.BEHAVIOUR}
MEASURED = {
    Tier.WEIGHTS: WEIGHT_SIGNALS,
    Tier.PROBE: PROBE_SIGNALS,
    Tier.FULL: set(SignalName),
}
MLP = "model.layers.1.mlp.up_proj.weight"


def outcomes(result):
    return {signal.name: signal.outcome for signal in result.signals}


def reasons(result):
    return {signal.name: signal.reason for signal in result.signals if signal.reason}


def stages(result):
    return [cost.stage for cost in result.stages if not cost.is_part]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("procedure")
    base = build_base(folder / "base", template=CHAT_TEMPLATE)
    return base, perturb(base, folder / "candidate", add_noise(0.05))


@pytest.fixture
def copies(folders, tmp_path):
    """Return copies that a test may change."""
    return tuple(
        perturb(folder, tmp_path / name)
        for folder, name in zip(folders, ("base", "candidate"), strict=True)
    )


# Tiers.


@pytest.mark.parametrize("tier", list(Tier))
def test_each_tier_measures_its_own_signals_and_says_why_it_skips_the_others(folders, tier):
    result = scan(*folders, tier.value)
    assert result.tier.requested == tier.value
    assert result.tier.ran is tier
    assert result.tier.reason == f"tier {tier.value} was asked for"
    found = outcomes(result)
    assert found.keys() == set(SignalName)
    assert len(result.signals) == len(SignalName)
    assert {name for name, o in found.items() if o is Outcome.MEASURED} == MEASURED[tier]
    skipped = f"tier {tier} does not include it (tier {tier} was asked for)"
    assert reasons(result) == dict.fromkeys(set(SignalName) - MEASURED[tier], skipped)
    assert result.sdi.outcome is Outcome.MEASURED
    assert 0 < result.sdi.estimate.value < 1
    assert (result.sdi_plus.outcome is Outcome.MEASURED) == (tier > Tier.WEIGHTS)
    assert (result.probe is None) == (tier is Tier.WEIGHTS)
    of_base = ["load-base", "probe-base", "outputs-base"]
    more = {
        Tier.WEIGHTS: [],
        Tier.PROBE: [*of_base, "load", "probe", "outputs"],
        Tier.FULL: [*of_base, "curvature-base", "load", "probe", "curvature", "outputs"],
    }
    assert stages(result) == ["resolve", "align", "plan", "weights", *more[tier]]


def test_the_index_of_tier_weights_has_no_companion_with_behaviour(folders):
    result = scan(*folders, "weights")
    assert result.sdi_plus.outcome is Outcome.NOT_MEASURED
    assert result.sdi_plus.reason == "tier weights measures no behaviour"


def test_auto_takes_the_highest_tier_for_a_tiny_model(folders):
    result = scan(*folders, "auto")
    assert result.tier.ran is Tier.FULL
    assert result.tier.reason.startswith("auto takes the highest tier")


def test_a_machine_without_memory_lowers_the_tier_and_says_so(folders, monkeypatch):
    small = Machine(memory_bytes=1_000_000, rate=1e10)
    monkeypatch.setattr(planning, "this_machine", lambda _device: small)
    result = scan(*folders, "full")
    assert result.tier.ran is Tier.WEIGHTS
    assert "tier full needs about 0.6 GB of memory, more than is free" in result.tier.reason
    assert "tier probe needs about 0.6 GB" in result.tier.reason
    assert result.tier.reason in reasons(result)[SignalName.CURVATURE_SHIFT]
    assert result.probe is None


def test_a_slow_machine_lowers_auto_and_not_what_was_asked_for(folders, monkeypatch):
    # 13,520 parameters: 10 samples of 16 tokens for the probe; 2 * 2 * 2 of 8 for curvature.
    parameters = 13_520
    probe, curvature = 4 * parameters * 160, 84 * parameters * 64
    rate = (probe + curvature / 2) / 600
    slow = Machine(memory_bytes=10**12, rate=rate)
    monkeypatch.setattr(planning, "this_machine", lambda _device: slow)
    result = scan(*folders, "auto")
    assert result.tier.ran is Tier.PROBE
    minutes = (probe + curvature) / rate / 60
    expected = f"tier full would take about {minutes:.0f} minutes here; --tier full asks for it"
    assert result.tier.reason == expected
    assert scan(*folders, "full").tier.ran is Tier.FULL


# Tokenizers.


def test_other_tokenizers_leave_the_weights_and_say_so(copies):
    base, candidate = copies
    build_tokenizer(vocabulary=VOCABULARY - 10).save_pretrained(candidate)
    result = scan(base, candidate)
    assert result.tokenizer.same is False
    assert result.tier.ran is Tier.WEIGHTS
    assert result.tier.reason == (
        "the tokenizers differ: the vocabularies differ (300 and 290 entries)"
    )
    assert "load" not in stages(result)
    assert outcomes(result)[SignalName.BEHAVIOUR] is Outcome.NOT_MEASURED


def without_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink(missing_ok=True)


def test_a_candidate_without_a_tokenizer_reads_with_the_bases(copies, folders):
    base, candidate = copies
    without_tokenizer(candidate)
    result = scan(base, candidate)
    assert result.tier.ran is Tier.FULL
    assert result.tokenizer.same is None
    assert "the base's was used for both" in result.tokenizer.detail
    assert result.signals == scan(*folders).signals


def test_a_base_without_a_tokenizer_leaves_the_weights(copies):
    without_tokenizer(copies[0])
    result = scan(*copies)
    assert result.tier.ran is Tier.WEIGHTS
    assert result.tier.reason == "the base has no tokenizer"
    assert result.tokenizer.same is None


def test_in_tier_weights_no_tokenizer_is_looked_at(copies):
    (copies[0] / "tokenizer.json").write_text("garbage", encoding="utf-8")
    result = scan(*copies, "weights")
    assert result.tokenizer.detail == "not looked at in tier weights"
    assert result.tier.ran is Tier.WEIGHTS
    with pytest.raises(FormatError, match="cannot read the tokenizer"):
        scan(*copies, "probe")


def test_another_chat_template_does_not_keep_the_models_from_running(copies):
    base, candidate = copies
    (candidate / "chat_template.jinja").write_text("{{ 1 / 0 }}", encoding="utf-8")
    result = scan(base, candidate, "probe")
    assert result.tier.ran is Tier.PROBE
    assert "the chat templates differ" in result.tokenizer.detail


def test_the_probe_is_described(folders):
    result = scan(*folders, "probe")
    assert result.probe.name == "tiny"
    assert result.probe.digest == tiny_probe().digest
    assert result.probe.strata == (("general", 5), ("instruction", 5))
    assert result.probe.max_tokens == 16
    assert result.probe.chat_template
    parameters = next(s for s in result.signals if s.name is SignalName.BEHAVIOUR).id.parameters
    assert ("probe", result.probe.digest) in parameters
    assert ("max-tokens", "16") in parameters
    assert ("compute-dtype", "float32") in parameters


def test_samples_are_cut_where_a_model_has_no_more_positions(tmp_path):
    base = build_base(tmp_path / "base", family="gpt2", max_position_embeddings=12)
    result = scan(base, perturb(base, tmp_path / "copy"), max_tokens=128, curvature_tokens=64)
    assert result.tier.ran is Tier.FULL
    assert result.probe.max_tokens == 12
    assert result.sdi.estimate.value == 0.0


def test_the_shorter_of_two_models_says_where_to_cut(copies):
    edit_json(copies[1] / "config.json", max_position_embeddings=9)
    assert scan(*copies, "probe").probe.max_tokens == 9


# Alignment.


def grow(base, folder, rows):
    """Save a copy with more rows, of which those of the base are the same."""
    grown = build_base(folder, vocab_size=VOCABULARY + rows)
    old = load_file(base / WEIGHTS)

    def keep(tensors):
        for name, tensor in tensors.items():
            tensors[name] = tensor.clone()
            tensors[name][: len(old[name])] = old[name]

    return rewrite(grown, keep)


def test_a_grown_vocabulary_is_compared_in_the_rows_that_both_have(tmp_path):
    base = build_base(tmp_path / "base")
    grown = grow(base, tmp_path / "grown", 8)
    edit_tokens(grown, 8)
    result = scan(base, grown)
    rows = {found.name: found for found in result.alignment.vocabulary}
    assert rows.keys() == {"model.embed_tokens.weight", "lm_head.weight"}
    assert {(r.compared, r.candidate_only, r.base_only) for r in rows.values()} == {(300, 8, 0)}
    assert {row.num_rows for row in result.added_rows} == {8}
    assert all(row.norm_ratio == pytest.approx(1.0, rel=0.5) for row in result.added_rows)
    whole = result.candidate.num_parameters
    assert result.facts.coverage == (whole - 2 * 8 * 16) / whole
    # What both have is the same to the bit; the head's new rows take probability from the others.
    assert result.tier.ran is Tier.FULL
    by_name = {signal.name: signal for signal in result.signals}
    for name in ("weight-geometry", "spectral-divergence", "representation-drift"):
        assert by_name[name].estimate.value == 0.0
    assert 0.0 < by_name["behaviour"].estimate.value < 1.0
    assert "adds 8 tokens" in result.tokenizer.detail


def test_rows_that_no_token_addresses_are_left_out(tmp_path):
    base = build_base(tmp_path / "base")
    padded = grow(base, tmp_path / "padded", 8)
    forth, back = scan(base, padded, "weights"), scan(padded, base, "weights")
    for result in (forth, back):
        assert result.alignment.coverage == 1.0
        assert result.added_rows == ()
        assert by_signal(result, "weight-geometry") == 0.0
        assert any("no token addresses" in notice for notice in result.notices)
    assert scan(padded, base).tier.ran is Tier.FULL
    assert scan(base, padded).tier.ran is Tier.FULL


def test_tokens_that_the_candidate_lost_keep_the_models_apart(tmp_path):
    whole = build_base(tmp_path / "whole")
    less = build_base(tmp_path / "less", vocab_size=VOCABULARY - 8)
    result = scan(whole, less)
    assert {row.base_only for row in result.alignment.vocabulary} == {8}
    assert result.alignment.coverage < 1.0
    assert result.tier.ran is Tier.WEIGHTS


def by_signal(result, name):
    return next(s for s in result.signals if s.name == name).estimate.value


def edit_tokens(folder, count):
    """Give a saved tokenizer more tokens."""
    tokenizer = build_tokenizer()
    tokenizer.add_tokens([f"<new{i}>" for i in range(count)])
    tokenizer.save_pretrained(folder)


def test_a_tensor_that_is_missing_leaves_the_weights_without_a_forward_pass(copies):
    perturb(copies[0], copies[1].parent / "less", lambda tensors: tensors.pop(MLP))
    result = scan(copies[0], copies[1].parent / "less")
    assert [info.name for info in result.alignment.base_only] == [MLP]
    assert result.tier.ran is Tier.WEIGHTS
    assert "load" not in stages(result)


def test_different_architectures_are_refused_before_anything_is_measured(folders, tmp_path):
    other = build_base(tmp_path / "other", family="mistral")
    with pytest.raises(IncomparableError, match="different architectures"):
        scan(folders[0], other)


def test_models_without_a_tensor_in_common_are_refused(copies):
    renamed = perturb(
        copies[1],
        copies[1].parent / "renamed",
        lambda t: [t.update({f"x.{name}": t.pop(name)}) for name in list(t)],
    )
    with pytest.raises(IncomparableError, match="no tensor of the base"):
        scan(copies[0], renamed)


# Broken numbers.

BROKEN = list(itertools.product((torch.nan, torch.inf, -torch.inf), (0, 1)))


@pytest.mark.parametrize(("value", "side"), BROKEN, ids=str)
@pytest.mark.parametrize("tier", ["weights", "full"])
def test_a_broken_number_in_a_paired_tensor_gives_no_number_at_all(copies, value, side, tier):
    broken = perturb(
        copies[side],
        copies[side].parent / "broken",
        lambda tensors: tensors[MLP].view(-1)[7].fill_(value),
    )
    pair = (broken, copies[1]) if side == 0 else (copies[0], broken)
    check_broken(scan(*pair, tier), MLP)


def check_broken(result, first):
    said = f"1 tensors hold NaN or infinity, first {first}"
    assert result.defects == (f"weights: {said}",)
    assert result.tier.ran is Tier.WEIGHTS
    assert "load" not in stages(result)
    assert result.probe is None
    for signal in result.signals:
        attempted = signal.name in WEIGHT_SIGNALS
        assert signal.outcome is (Outcome.INCONCLUSIVE if attempted else Outcome.NOT_MEASURED)
        assert signal.estimate is None
        assert signal.measurements == ()
    assert reasons(result)[SignalName.WEIGHT_GEOMETRY] == said
    assert reasons(result)[SignalName.SPECTRAL_DIVERGENCE] == said
    assert result.sdi.outcome is Outcome.INCONCLUSIVE
    assert result.sdi.estimate is result.sdi_plus.estimate is None


@pytest.mark.parametrize("side", [0, 1], ids=["base", "candidate"])
def test_a_broken_number_in_a_tensor_of_one_model_only_gives_none_either(copies, side):
    extra = perturb(
        copies[side],
        copies[side].parent / "extra",
        lambda tensors: tensors.update(extra=torch.tensor([1.0, torch.nan])),
    )
    pair = (extra, copies[1]) if side == 0 else (copies[0], extra)
    check_broken(scan(*pair), "extra")


@pytest.mark.parametrize("side", [0, 1], ids=["base", "candidate"])
def test_a_broken_number_in_a_mismatched_tensor_gives_none_either(copies, side):
    def grow(tensors):
        tensors[MLP] = torch.cat([tensors[MLP], torch.full((1, 16), torch.inf)])

    grown = perturb(copies[side], copies[side].parent / "grown", grow)
    pair = (grown, copies[1]) if side == 0 else (copies[0], grown)
    check_broken(scan(*pair), MLP)


def test_unpaired_tensors_that_are_whole_are_no_defect(copies):
    extra = perturb(
        copies[1],
        copies[1].parent / "extra",
        lambda t: t.update(extra=torch.ones(3), n=torch.arange(3)),
    )
    result = scan(copies[0], extra)
    assert result.defects == ()
    assert outcomes(result)[SignalName.WEIGHT_GEOMETRY] is Outcome.MEASURED


def test_a_broken_number_that_the_base_was_asked_to_run_never_runs(copies):
    # Was asked for tier full, and full would have run: the plan is lowered after the weights.
    broken = perturb(
        copies[1], copies[1].parent / "b", lambda t: t["lm_head.weight"][0].fill_(torch.nan)
    )
    result = scan(copies[0], broken)
    assert result.tier.requested == "full"
    assert result.tier.reason == "the weights are not finite"
    assert all(
        "the weights are not finite" in r
        for n, r in reasons(result).items()
        if n not in WEIGHT_SIGNALS
    )


def test_finite_weights_that_overflow_give_no_index(copies):
    # Each weight is a number; what the model makes of them is not.
    large = perturb(copies[1], copies[1].parent / "large", lambda t: t[MLP].mul_(1e38))
    result = scan(copies[0], large)
    assert [defect.partition(":")[0] for defect in result.defects] == [
        "representation-drift is inconclusive",
        "behaviour is inconclusive",
    ]
    assert result.tier.ran is Tier.FULL
    found = outcomes(result)
    assert found[SignalName.REPRESENTATION_DRIFT] is Outcome.INCONCLUSIVE
    assert found[SignalName.BEHAVIOUR] is Outcome.INCONCLUSIVE
    assert found[SignalName.CURVATURE_SHIFT] is Outcome.NOT_MEASURED
    assert "no usable numbers" in reasons(result)[SignalName.CURVATURE_SHIFT]
    assert result.sdi.outcome is Outcome.INCONCLUSIVE
    assert result.sdi.estimate is None
    assert "curvature" not in stages(result)


# Settings.


def test_depth_weights_may_be_given_for_every_layer_group(folders):
    groups = ("embedding", "layers.0", "layers.1", "other", "head")
    weighting = DepthWeighting(scheme="list", values=(0.0, 0.0, 1.0, 0.0, 0.0))
    result = scan(*folders, "weights", depth_weighting=weighting)
    assert result.alignment.layers == groups
    for signal in result.signals:
        if signal.name in WEIGHT_SIGNALS:
            (layer,) = (r for r in signal.by_layer(signal.metric) if r.layer == "layers.1")
            assert signal.estimate.value == pytest.approx(layer.estimate.value)


def test_depth_weights_that_do_not_fit_are_refused(folders):
    with pytest.raises(UsageError, match="expected 5 weights"):
        scan(*folders, "weights", depth_weighting=DepthWeighting(scheme="list", values=(1.0,)))


def test_layer_groups_are_in_model_order_whatever_the_files_order(folders):
    for signal in scan(*folders).signals:
        layers = [row.layer for row in signal.by_layer(signal.metric)]
        expected = ["embedding", "layers.0", "layers.1", "other", "head"]
        assert layers == [layer for layer in expected if layer in layers]


def test_a_probe_with_a_stratum_that_is_too_small_gives_no_number(folders):
    probe = tiny_probe(3)
    result = scan(*folders, "probe", probe=probe)
    assert outcomes(result)[SignalName.REPRESENTATION_DRIFT] is Outcome.INCONCLUSIVE
    assert result.sdi.outcome is Outcome.INCONCLUSIVE


# The record.


class Recorder:
    def __init__(self):
        self.calls = []

    def advance(self, stage, done, total, detail=""):
        self.calls.append((stage, done, total, detail))


def test_progress_clock_and_time_of_day_are_those_of_the_caller(folders):
    recorder, ticks = Recorder(), itertools.count()
    effects = Effects(
        sources={Scheme.FILE: FolderSource()},
        progress=recorder,
        clock=lambda: float(next(ticks)),
        now=lambda: datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC),
    )
    result = run_scan(request_of(*folders), effects)
    assert result.started_at == "2026-03-04T05:06:07+00:00"
    assert [cost.seconds for cost in result.stages if not cost.is_part] == [1.0] * 12
    assert all(cost.peak_host_bytes > 10_000_000 for cost in result.stages)
    assert all(cost.peak_device_bytes is None for cost in result.stages)
    seen = list(dict.fromkeys(call[0] for call in recorder.calls))
    told = ("weights", "probe-base", "outputs-base", "curvature", "probe", "outputs")
    assert seen == ["digest", *told]
    for name in told:
        calls = [(done, total) for stage, done, total, _ in recorder.calls if stage == name]
        steps = [*dict.fromkeys(calls)]  # half of the curvature ends where the other begins
        assert steps == [(i, steps[-1][1]) for i in range(steps[-1][1] + 1)]


def test_the_time_of_day_is_utc_by_default(folders):
    started = datetime.fromisoformat(scan(*folders, "weights").started_at)
    assert started.utcoffset().total_seconds() == 0
    assert abs((datetime.now(UTC) - started).total_seconds()) < 60


def test_what_the_numbers_were_computed_with_is_recorded(folders):
    found = scan(*folders, "weights", seed=5).environment
    versions = dict(found.versions)
    assert list(versions) == ["python", "sdi-gate", "torch", "transformers", "safetensors"]
    assert versions["torch"] == torch.__version__
    assert (found.device, found.compute_dtype, found.seed) == ("cpu", "float32", 5)
    assert found.num_threads == torch.get_num_threads()
    assert found.platform


def test_both_models_are_described(folders):
    result = scan(*folders, "weights")
    assert result.base.architecture == result.candidate.architecture == "LlamaForCausalLM"
    assert result.base.num_parameters == 13_520
    assert result.base.dtypes == ("F32",)
    assert result.base.snapshot.folder == folders[0]


def test_a_source_that_is_not_there_is_a_bug_and_not_a_verdict(folders):
    effects = Effects(sources={}, progress=Recorder())
    with pytest.raises(KeyError, match="FILE"):
        run_scan(request_of(*folders), effects)


# The verdict.

POLICY = b"""
apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: trial}
required-tier: probe
limits:
  sdi:
    warn: 0.4
    fail: 0.6
"""
LAX = b"""
apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: lax}
limits: {sdi: {fail: 1.0}}
"""
NOW = datetime(2100, 1, 1, tzinfo=UTC)


def verdict_of(result, policy=POLICY):
    return judge_scan(result, parse_policy(policy, path="trial.yml"), NOW).verdict.status


def test_a_copy_passes_noise_fails_and_what_was_not_measured_is_inconclusive(copies):
    base, candidate = copies
    noise = perturb(base, base.parent / "noise", add_noise(2.0))
    broken = perturb(candidate, base.parent / "broken", lambda t: t[MLP].fill_(torch.nan))
    shutil.copytree(base, base.parent / "copy")
    assert verdict_of(scan(base, base.parent / "copy")) is Status.PASS
    assert verdict_of(scan(base, noise)) is Status.FAIL
    assert verdict_of(scan(base, broken)) is Status.INCONCLUSIVE
    assert verdict_of(scan(base, base.parent / "copy", "weights")) is not Status.PASS


def test_a_judgement_keeps_its_policy(folders):
    policy = parse_policy(POLICY, path="trial.yml")
    assert judge_scan(scan(*folders, "probe"), policy, NOW).policy is policy


def test_facts_hold_everything_that_is_judged(folders):
    result = scan(*folders, "probe")
    facts = replace(result, defects=("a defect",)).facts
    assert facts.tier is Tier.PROBE
    assert facts.coverage == 1.0
    assert facts.sdi == result.sdi.estimate
    assert facts.sdi_plus == result.sdi_plus.estimate
    # By which layers count most, no policy goes.
    assert facts.signals == tuple(replace(found, layer_weights=()) for found in result.signals)
    assert facts.defects == ("a defect",)
    for model, found in ((facts.base, result.base), (facts.candidate, result.candidate)):
        assert model.reference == f"file:{found.snapshot.folder}"
        assert (model.name, model.commit, model.digest) == (None, None, found.snapshot.digest)
        assert (model.format, model.quantisation) == ("full", "none")
    assert (facts.family, facts.registered_name) == ("llama", None)
    assert facts.calibration.name == result.calibration.name
    assert facts.calibration.out_of_scope == result.uncalibrated
    assert facts.calibration.families == result.calibration.families
    assert facts.predictions[0].axis == "mean"
    assert dict(facts.tensor_roles)["model.layers.0.mlp.down_proj.weight"] == ("down",)
    assert facts.measured_at == datetime.fromisoformat(result.started_at)


def test_the_name_that_was_given_for_the_candidate_is_judged_by(folders):
    result = run_scan(
        replace(request_of(*folders, tier="weights"), registered_name="org/tune"),
        Effects(sources={Scheme.FILE: FolderSource()}, progress=NullProgress()),
    )
    assert result.facts.model_name == "org/tune"


def test_a_configuration_that_computes_something_else_never_passes_unseen(copies):
    base, _ = copies
    config = json.loads((base / "config.json").read_text())
    twin = perturb(base, base.parent / "twin")
    (twin / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    blind = scan(base, twin, "weights")
    assert blind.config_differences == ("rms_norm_eps",)
    assert blind.sdi.estimate.value == 0.0
    assert blind.defects == (
        "the configurations differ (rms_norm_eps) and tier weights cannot see what that does",
    )
    assert verdict_of(blind, LAX) is Status.INCONCLUSIVE
    seen = scan(base, twin, "probe")
    assert seen.defects == ()
    assert seen.sdi.estimate.value > 0.0


def test_a_candidate_that_takes_shorter_texts_than_the_base_does_not_pass(copies):
    base, _ = copies
    config = json.loads((base / "config.json").read_text())
    twin = perturb(base, base.parent / "twin")
    (twin / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 6}))
    result = scan(base, twin, "probe")
    assert result.sdi.estimate.value == 0.0
    assert result.defects == (
        "the candidate takes shorter texts than the base, so the probe was cut short",
    )
    assert scan(twin, base, "probe").defects == ()


def test_what_the_probe_cannot_see_is_a_notice(copies):
    base, _ = copies
    twin = perturb(base, base.parent / "twin")
    config = json.loads((base / "config.json").read_text())
    changed = {**config, "max_position_embeddings": 4096, "eos_token_id": 1}
    (twin / "config.json").write_text(json.dumps(changed))
    result = scan(base, twin, "probe")
    assert result.defects == ()
    assert result.notices == (
        "settings differ that may act beyond the probe's short texts: max_position_embeddings",
        "settings of generation differ, which are not measured: eos_token_id",
    )
    assert verdict_of(result, LAX) is Status.WARN


def test_many_settings_that_differ_are_listed_in_part(copies):
    base, _ = copies
    config = json.loads((base / "config.json").read_text())
    twin = perturb(base, base.parent / "twin")
    novel = {f"novel_{i}": i + 1 for i in range(7)}
    (twin / "config.json").write_text(json.dumps({**config, **novel}))
    (defect,) = scan(base, twin, "weights").defects
    assert "novel_4 and 2 more" in defect


def test_tokenizer_files_that_differ_are_noticed_where_no_text_is_read(copies):
    base, candidate = copies
    with (candidate / "tokenizer.json").open("a", encoding="utf-8") as file:
        file.write(" ")
    (notice,) = scan(base, candidate, "weights").notices
    assert notice == "the tokenizers' files differ, and tier weights reads no text"


def test_auto_does_not_give_up_the_tier_that_a_policy_requires_for_time(folders, monkeypatch):
    slow = Machine(memory_bytes=10**12, rate=1.0)
    monkeypatch.setattr(planning, "this_machine", lambda _device: slow)
    assert scan(*folders, "auto").tier.ran is Tier.WEIGHTS
    request = replace(request_of(*folders, "auto"), required=Tier.PROBE)
    effects = Effects(sources={Scheme.FILE: FolderSource()}, progress=NullProgress())
    assert run_scan(request, effects).tier.ran is Tier.PROBE


def test_a_model_that_changes_while_it_is_measured_is_an_error(copies, monkeypatch):
    base, candidate = copies
    measure = procedure.measure_weights

    def swap(*arguments):
        found = measure(*arguments)
        (candidate / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
        return found

    monkeypatch.setattr(procedure, "measure_weights", swap)
    with pytest.raises(IntegrityError, match="changed while it was measured"):
        scan(base, candidate, "weights")


def test_weights_that_the_candidates_configuration_does_not_fit_are_a_notice_at_tier_weights(
    copies,
):
    edit_json(copies[1] / "config.json", num_hidden_layers=1)
    notices = scan(*copies, "weights").notices
    assert any("do not fit its config.json" in notice for notice in notices)


def test_files_of_weights_that_nobody_loads_are_a_notice(copies):
    shutil.copy(copies[1] / WEIGHTS, copies[1] / "model-00001-of-00001.safetensors")
    (notice,) = scan(*copies, "weights").notices
    assert "1 files of weights that transformers does not load" in notice
    assert "'model-00001-of-00001.safetensors'" in notice


@pytest.mark.parametrize(
    "setting", [{"return_dict": False}, {"output_hidden_states": "auto"}], ids=str
)
def test_what_a_configuration_says_of_outputs_ends_no_scan(copies, setting):
    edit_json(copies[1] / "config.json", **setting)
    assert scan(*copies, "probe").tier.ran is Tier.PROBE


def test_a_candidate_whose_type_has_no_room_for_its_numbers_is_noticed(tmp_path):
    base = build_base(tmp_path / "base")
    name = "model.layers.0.mlp.up_proj.weight"
    small = perturb(base, tmp_path / "small", lambda t: t[name].mul_(1e-9))
    lost = perturb(small, tmp_path / "lost", lambda t: t.update({name: t[name].half()}))
    result = scan(small, lost, "weights")
    assert result.rounding.floor == pytest.approx(1.0)
    assert any("vanish" in notice for notice in result.notices)


def test_a_token_that_no_probe_text_holds_does_not_hide_a_new_embedding(copies):
    read = {token for row in tokens_of(copies[0]) for token in row}
    unread = max(set(range(VOCABULARY)) - read)
    name = "model.embed_tokens.weight"
    rewrite(copies[1], lambda t: t[name][unread].neg_())
    (notice,) = [n for n in scan(*copies, "probe").notices if "no probe text" in n]
    assert "1 tokens" in notice
    assert f"first token {unread}:" in notice
    rewrite(copies[1], lambda t: t[name][min(read)].neg_())
    assert any(f"first token {unread}:" in n for n in scan(*copies, "probe").notices)


def test_embeddings_that_moved_little_are_no_notice(copies, tmp_path):
    little = perturb(copies[0], tmp_path / "little", add_noise(0.2))
    assert not any("no probe text" in n for n in scan(copies[0], little, "probe").notices)


def tokens_of(folder):
    probe = tiny_probe()
    return [s.ids for s in tokenize(probe, load_tokenizer(snapshot(folder)), 16).samples]
