"""The document holds what the scan found: each figure is looked up in both."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from tiny_models import (
    CPU,
    VOCABULARY,
    add_noise,
    build_base,
    edit_json,
    perturb,
    rewrite,
    tiny_probe,
)

from sdi_gate.gate.procedure import Effects, judge_scan, run_scan
from sdi_gate.gate.request import ScanRequest, Settings, TierChoice
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.models.roles import role_label
from sdi_gate.models.snapshot import SnapshotKind
from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.facts import Tier
from sdi_gate.policy.loader import load_policy, parse_policy
from sdi_gate.prediction.predict import AxisPrediction, PredictedInterval, Prediction
from sdi_gate.progress import NullProgress
from sdi_gate.report.build import build_document
from sdi_gate.report.document import dump, load
from sdi_gate.report.recorded import facts_of

POLICY = Path(__file__).parents[2] / "policies" / "strict.yml"
NOW = datetime(2026, 1, 2, 4, tzinfo=UTC)
SMALL = Settings(curvature_draws=2, curvature_samples=2, curvature_tokens=8)


def scan(base, candidate, tier):
    request = ScanRequest(
        base=ModelRef.parse(f"file:{base}"),
        candidate=ModelRef.parse(f"file:{candidate}"),
        tier=TierChoice(tier),
        device=CPU,
        probe=tiny_probe(),
        settings=SMALL,
    )
    effects = Effects(
        sources={Scheme.FILE: FolderSource()},
        progress=NullProgress(),
        clock=iter(range(100)).__next__,
        now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    return run_scan(request, effects)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    base = build_base(folder / "base")
    return base, perturb(base, folder / "candidate", add_noise(0.5))


@pytest.fixture(scope="module")
def full(folders):
    return scan(*folders, "full")


@pytest.fixture(scope="module")
def partial(folders, tmp_path_factory):
    """A candidate that lacks, adds and reshapes tensors."""

    def change(tensors):
        norm = tensors.pop("model.norm.weight")
        tensors["extra.weight"] = norm
        tensors["lm_head.weight"] = torch.ones(4, 4)

    base, candidate = folders
    return scan(base, perturb(candidate, tmp_path_factory.mktemp("x") / "c", change), "weights")


def add_tokens(path, *ids):
    plain = json.loads(path.read_text(encoding="utf-8"))
    last = plain["added_tokens"][-1]
    plain["added_tokens"] += [last | {"id": i, "content": f"<new-{i}>"} for i in ids]
    path.write_text(json.dumps(plain), encoding="utf-8")


@pytest.fixture(scope="module")
def odd(folders, tmp_path_factory):
    """The base in bfloat16, with two more tokens, a layer less and what is not compared.

    That is two rows of padding and a stored buffer.
    """

    def change(tensors):
        for name in [name for name in tensors if name.startswith("model.layers.1.")]:
            del tensors[name]
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            more = 3.0 * tensors[name][:4]
            tensors[name] = torch.cat([tensors[name], more])
        for name in tensors:
            tensors[name] = tensors[name].bfloat16()
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)

    candidate = perturb(folders[0], tmp_path_factory.mktemp("odd") / "c", change)
    changes = {"vocab_size": VOCABULARY + 4, "num_hidden_layers": 1}
    edit_json(candidate / "config.json", **changes)
    add_tokens(candidate / "tokenizer.json", VOCABULARY, VOCABULARY + 1)
    return scan(folders[0], candidate, "weights")


@pytest.mark.parametrize("judged", [True, False])
@pytest.mark.parametrize("which", ["full", "partial", "odd"])
def test_every_document_survives_writing_and_reading(which, judged, request):
    result = request.getfixturevalue(which)
    judgement = judge_scan(result, load_policy(POLICY), NOW) if judged else None
    document = build_document(result, judgement)
    assert load(dump(document), "test") == document
    assert (document.verdict is None) != judged


def test_models_are_named_with_their_files(full, folders):
    document = build_document(full, None)
    for entry, facts, folder in (
        (document.base, full.base, folders[0]),
        (document.candidate, full.candidate, folders[1]),
    ):
        assert entry.reference == f"file:{folder}"
        assert entry.commit is None
        assert entry.digest == facts.snapshot.digest
        assert entry.architecture == "LlamaForCausalLM"
        assert entry.dtypes == ("F32",)
        assert entry.num_parameters == facts.num_parameters > 0
        assert {(f.name, f.size_bytes, f.sha256) for f in entry.files} == {
            (f.name, f.size_bytes, f.sha256) for f in facts.snapshot.files
        }
    assert document.base.digest != document.candidate.digest


def test_every_signal_has_every_measurement(full):
    entries = build_document(full, None).signals
    assert [entry.name for entry in entries] == [signal.name.value for signal in full.signals]
    assert {entry.outcome for entry in entries} == {"measured"}
    for entry, signal in zip(entries, full.signals, strict=True):
        assert entry.metric == signal.metric
        assert entry.version == signal.id.version
        assert {(p.name, p.value) for p in entry.parameters} == set(signal.id.parameters)
        assert entry.headline.value == signal.estimate.value
        assert entry.headline.stderr == signal.estimate.stderr
        assert entry.headline.n == signal.estimate.n
        assert [
            (row.metric, row.layer, row.tensor, row.stratum, row.estimate.value)
            for row in entry.measurements
        ] == [
            (row.metric, row.layer, row.tensor, row.stratum, row.estimate.value)
            for row in signal.measurements
        ]


def test_an_index_is_the_sum_of_its_contributions_and_of_its_layers(full):
    document = build_document(full, None)
    for entry, divergence in ((document.sdi, full.sdi), (document.sdi_plus, full.sdi_plus)):
        assert entry.estimate.value == divergence.estimate.value
        total = sum(item.contribution for item in entry.contributions)
        assert total == pytest.approx(entry.estimate.value, rel=1e-12)
        for item in entry.contributions:
            assert item.contribution == pytest.approx(item.weight * item.phi, rel=1e-12)
    shares = sum(row.contribution for row in document.sdi.by_layer)
    assert shares == pytest.approx(document.sdi.estimate.value, rel=1e-9)


def test_the_probe_is_described_if_it_was_read(full, partial):
    entry, probe = build_document(full, None).probe, tiny_probe()
    assert (entry.name, entry.digest, entry.num_samples) == ("tiny", probe.digest, 10)
    assert {(row.name, row.num_samples) for row in entry.strata} == set(probe.strata.items())
    assert build_document(partial, None).probe is None


def test_tensors_without_a_partner_are_listed(partial):
    entry = build_document(partial, None).alignment
    assert [row.name for row in entry.base_only] == ["model.norm.weight"]
    assert [row.name for row in entry.candidate_only] == ["extra.weight"]
    assert [(row.name, row.candidate_shape) for row in entry.mismatched] == [
        ("lm_head.weight", (4, 4))
    ]
    assert entry.num_paired == len(partial.alignment.paired)
    assert entry.paired_parameters == partial.alignment.paired_parameters
    assert 0.0 < entry.coverage < 1.0


def test_what_was_not_measured_has_a_reason_and_no_number(partial):
    document = build_document(partial, None)
    missing = [entry for entry in document.signals if entry.outcome == "not-measured"]
    assert {entry.name for entry in missing} == {
        "representation-drift",
        "curvature-shift",
        "behaviour",
    }
    assert all(entry.headline is None and entry.reason for entry in missing)
    assert document.sdi_plus.estimate is None
    assert document.sdi_plus.reason


def test_a_verdict_has_every_finding_and_the_one_that_decided(full):
    judgement = judge_scan(full, load_policy(POLICY), NOW)
    entry = build_document(full, judgement).verdict
    assert entry.status == judgement.verdict.status.value
    assert entry.exit_code == judgement.verdict.exit_code
    assert entry.policy_name == "strict"
    assert entry.policy_digest == judgement.policy.digest
    assert entry.findings[entry.deciding].reason == judgement.verdict.deciding.reason
    for row, finding in zip(entry.findings, judgement.verdict.findings, strict=True):
        assert (row.rule, row.metric, row.status) == (finding.rule, finding.metric, finding.status)
        assert (row.observed, row.stderr, row.margin) == (
            finding.observed,
            finding.stderr,
            finding.margin,
        )
        assert (row.warn, row.fail) == (finding.warn, finding.fail)
        assert row.bound == (finding.bound.value if finding.bound else None)
        assert (row.layer, row.stratum) == (finding.layer, finding.stratum)


def test_the_cost_has_every_stage_and_the_beginning(full):
    cost = build_document(full, None).cost
    assert cost.started_at == "2026-01-02T03:04:05+00:00"
    of_base = ("load-base", "probe-base", "outputs-base", "curvature-base")
    of_candidate = ("load", "probe", "curvature", "outputs")
    stages = ("resolve", "align", "plan", "weights", *of_base, *of_candidate)
    whole = [stage for stage in cost.stages if "/" not in stage.stage]
    assert tuple(stage.stage for stage in whole) == stages
    assert {stage.seconds for stage in whole} == {1.0}
    parts = [stage.stage for stage in cost.stages if "/" in stage.stage]
    assert parts == ["weights/read", "weights/spectra", "probe/forward", "probe/cka"]
    assert all(stage.peak_host_bytes > 0 for stage in cost.stages)
    assert {stage.peak_device_bytes for stage in cost.stages} == {None}


def test_the_environment_names_what_the_numbers_were_computed_with(full):
    entry = build_document(full, None).environment
    assert entry.torch == torch.__version__
    assert (entry.device, entry.compute_dtype, entry.seed) == ("cpu", "float32", 0)
    assert entry.num_threads == torch.get_num_threads()


def test_defects_are_kept(folders, tmp_path):
    def damage(tensors):
        tensors["model.norm.weight"][0] = torch.nan

    base, candidate = folders
    result = scan(base, rewrite(perturb(candidate, tmp_path / "c"), damage), "probe")
    document = build_document(result, None)
    assert document.defects == result.defects != ()
    assert document.sdi.outcome == "inconclusive"


def test_names_that_are_no_text_are_made_visible(full):
    ref = ModelRef(scheme=Scheme.FILE, location="a\udcffb")
    snapshot = replace(full.base.snapshot, ref=ref)
    hostile = replace(
        full,
        base=replace(full.base, snapshot=snapshot, architecture="half \ud800"),
        probe=replace(full.probe, name="p\udcfe.jsonl"),
    )
    document = build_document(hostile, None)
    assert document.base.reference == r"file:a\udcffb"
    assert document.base.architecture == r"half \ud800"
    assert document.probe.name == r"p\udcfe.jsonl"
    assert load(dump(document), "test") == document


def test_two_plain_checkpoints_have_nothing_but_roles(full):
    document = build_document(full, None)
    for entry in (document.base, document.candidate):
        assert (entry.kind, entry.quantisation, entry.adapter) == ("full", None, None)
        assert entry.ignored == entry.tied_copies == ()
    alignment = document.alignment
    assert alignment.vocabulary == alignment.missing_layers == alignment.extra_layers == ()
    assert alignment.rounding is None


@pytest.mark.parametrize("which", ["full", "partial", "odd"])
def test_roles_hold_every_compared_parameter_once_in_order_of_appearance(which, request):
    result = request.getfixturevalue(which)
    entry = build_document(result, None).alignment
    assert sum(role.num_tensors for role in entry.roles) == entry.num_paired
    assert sum(role.num_parameters for role in entry.roles) == entry.paired_parameters
    labels = [role.label for role in entry.roles]
    assert len(labels) == len(set(labels))
    first = [role_label(pair.roles) for pair in result.alignment.paired]
    assert labels == sorted(labels, key=first.index)
    assert {"q", "down", "norm", "embedding"} <= set(labels)


def test_layers_of_one_side_and_stored_buffers_are_named(odd):
    document = build_document(odd, None)
    assert document.alignment.missing_layers == ("layers.1",)
    assert document.alignment.extra_layers == ()
    assert document.candidate.ignored == ("model.layers.0.self_attn.rotary_emb.inv_freq",)


def test_rows_of_added_tokens_come_with_their_norm(odd):
    rows = {entry.name: entry for entry in build_document(odd, None).alignment.vocabulary}
    assert rows.keys() == {"model.embed_tokens.weight", "lm_head.weight"}
    ratios = {facts.tensor: facts.norm_ratio for facts in odd.added_rows}
    for facts in odd.alignment.vocabulary:
        entry = rows[facts.name]
        assert entry.compared_rows == facts.compared
        assert entry.base_only_rows == facts.base_only
        assert entry.candidate_only_rows == facts.candidate_only
        assert entry.base_padding_rows == facts.base_padding
        assert entry.candidate_padding_rows == facts.candidate_padding
        assert entry.added_norm_ratio == ratios[facts.name]
        assert 1.0 < entry.added_norm_ratio < 10.0
        assert (entry.candidate_only_rows, entry.candidate_padding_rows) == (2, 2)


def test_rows_that_were_added_without_a_norm_have_none(odd):
    nameless = replace(odd, added_rows=())
    rows = build_document(nameless, None).alignment.vocabulary
    assert {entry.added_norm_ratio for entry in rows} == {None}


def test_what_rounding_took_away_is_kept(odd):
    rounding = build_document(odd, None).alignment.rounding
    assert (rounding.floor, rounding.num_tensors) == (
        odd.rounding.floor,
        odd.rounding.num_tensors,
    )
    assert 0.0 < rounding.floor < 2.0**-8


@pytest.mark.parametrize("kind", SnapshotKind)
def test_an_adapter_and_a_quantised_model_are_described(full, kind):
    candidate = replace(
        full.candidate,
        snapshot=replace(full.candidate.snapshot, kind=kind),
        adapter="LoRA \ud800",
        quantisation="four bits",
        quantisation_method="bitsandbytes-nf4",
        tied_copies=("lm_head.weight",),
    )
    document = build_document(replace(full, candidate=candidate), None)
    entry = document.candidate
    assert (entry.kind, entry.quantisation) == (kind.value, "four bits")
    assert entry.adapter == r"LoRA \ud800"
    assert entry.tied_copies == ("lm_head.weight",)
    assert load(dump(document), "test") == document


def predicted(value):
    narrow = PredictedInterval(level=0.8, lower=value, upper=value + 0.1)
    wide = PredictedInterval(level=0.95, lower=0.0, upper=value + 0.3)
    found = Prediction(value=value, lower=0.0, upper=0.0, level=0.0, intervals=(narrow, wide))
    return found.at(0.8)


def everything_known(result):
    """A scan of Hub models that says everything that facts have room for."""
    ref = ModelRef.parse("hf:org/tune@main")
    snapshot = replace(result.candidate.snapshot, ref=ref, commit="ab" * 20)
    silent = Prediction(reason="nothing was fitted")
    return replace(
        result,
        candidate=replace(
            result.candidate,
            snapshot=snapshot,
            quantisation="four bits",
            quantisation_method="bitsandbytes-nf4",
        ),
        tier=replace(result.tier, cuts=("half of the probe",), whole=Tier.WEIGHTS),
        uncalibrated=None,
        prediction=predicted(0.25),
        axis_predictions=(
            AxisPrediction(axis="safety", prediction=predicted(0.5)),
            AxisPrediction(axis="code", prediction=silent),
        ),
        notices=("a notice",),
        registered_name="tune",
    )


def unreadable(result):
    ref = ModelRef(scheme=Scheme.FILE, location="a\udcffb")
    family = "half \ud800"
    return replace(
        result,
        base=replace(result.base, snapshot=replace(result.base.snapshot, ref=ref), family=family),
        candidate=replace(result.candidate, family=family),
    )


SEEN = {
    "as it was": lambda result: result,
    "everything known": everything_known,
    "unreadable": unreadable,
    "another family": lambda result: replace(result, base=replace(result.base, family="qwen")),
}


@pytest.mark.parametrize("change", SEEN.values(), ids=SEEN)
@pytest.mark.parametrize("which", ["full", "partial", "odd"])
def test_the_facts_of_a_recorded_scan_are_those_of_the_scan(which, change, request):
    result = change(request.getfixturevalue(which))
    document = build_document(result, None)
    assert facts_of(document) == result.facts
    assert facts_of(load(dump(document), "test")) == result.facts


DEMANDING = b"""
apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: demanding, owner: model-governance, version: "2.1", revision: 7}
required-tier: weights
maximum-age: 1.0
accepted-formats: [full, adapter]
allowed-families: [llama]
allowed-quantisations: [none]
required-parameters: {seed: 0}
required-calibration: {families: [llama], min-pairs: 1}
limits:
  sdi: {warn: 0.1, fail: 0.2}
  signals: {weight-geometry: {fail: 0.01}}
  behaviour: {nll-change: {fail: 0.1}}
  by-layer: {"layers.*": {spectral-divergence: {fail: 0.3}}}
  by-role: {q: {weight-geometry: {warn: 0.05, fail: 0.1}}}
  coverage: {fail: 0.5}
  predicted-degradation: {mean: {fail: 0.4, confidence: 0.8}}
match:
  - match: {family: llama}
    limits: {sdi: {fail: 0.3}}
  - match: {model: tune}
    mode: warn
maximum-waiver-days: 90
waivers:
  - id: W-1
    owner: research
    reason: The new domain is meant to be read otherwise.
    approved-by: risk-committee
    granted: 2026-01-01
    expires: 2026-01-31
    model: tune
    metric: signals.weight-geometry
    limit: 9.0
documentation: {reviewer: the review board}
"""


@pytest.mark.parametrize("change", SEEN.values(), ids=SEEN)
@pytest.mark.parametrize("which", ["full", "partial", "odd"])
def test_a_recorded_scan_is_judged_as_the_scan_was(which, change, request):
    result = change(request.getfixturevalue(which))
    policy = parse_policy(DEMANDING, path="demanding.yml")
    judgement = judge_scan(result, policy, NOW)
    document = load(dump(build_document(result, judgement)), "test")
    assert judge(policy, facts_of(document), now=NOW) == judgement.verdict
    assert build_document(result, judgement) == document


def test_a_verdict_says_which_policy_it_follows_from_and_where_each_limit_stands(full):
    policy = parse_policy(DEMANDING, path="demanding.yml")
    entry = build_document(everything_known(full), judge_scan(full, policy, NOW)).verdict
    assert (entry.policy_file, entry.policy_owner) == ("demanding.yml", "model-governance")
    assert (entry.policy_version, entry.policy_revision) == ("2.1", 7)
    assert (entry.policy_contact, entry.policy_extends) == (None, ())
    assert [(each.title, each.text) for each in entry.documentation] == [
        ("reviewer", "the review board")
    ]
    lines = DEMANDING.decode().split("\n")
    places = {found.rule: found.origin for found in entry.findings}
    assert "coverage: {fail: 0.5}" in lines[places["limits.coverage"].line - 1]
    assert lines[places["accepted-formats"].line - 1].startswith("accepted-formats:")
    assert places["limits.sdi"].block == "family llama"


def test_a_waiver_that_keeps_a_scan_from_failing_is_in_the_document(full):
    policy = parse_policy(DEMANDING, path="demanding.yml")
    result = everything_known(full)
    verdict = build_document(result, judge_scan(result, policy, NOW)).verdict
    found = next(each for each in verdict.findings if each.rule.endswith("s.weight-geometry"))
    assert (found.status, found.waiver, found.waived_limit) == ("warn", "W-1", 0.01)
    assert found.is_saved
    assert [(each.id, each.state, each.days_left) for each in verdict.waivers] == [
        ("W-1", "waived", 29)
    ]
    assert verdict.blocks == ("family llama", "model tune")
    assert (verdict.mode, verdict.enforced, verdict.exit_code) == ("warn", False, 0)


def test_a_statement_of_a_policy_stands_in_place_of_its_parents(full, tmp_path):
    head = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: x}\n"
    parent, child = tmp_path / "parent.yml", tmp_path / "child.yml"
    said = "documentation: {scope: all, reviewer: parent}\nlimits: {sdi: {fail: 1.0}}\n"
    parent.write_text(head + said, encoding="utf-8")
    child.write_text(
        f"{head}extends: ./parent.yml\ndocumentation: {{reviewer: child}}\n", encoding="utf-8"
    )
    verdict = build_document(full, judge_scan(full, load_policy(child), NOW)).verdict
    assert verdict.policy_extends == (str(parent),)
    assert [(each.title, each.text, each.file) for each in verdict.documentation] == [
        ("scope", "all", str(parent)),
        ("reviewer", "child", str(child)),
    ]
