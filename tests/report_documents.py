"""Build result documents for tests of the report: whole, consistent, and each with one trait."""

from __future__ import annotations

import math

from sdi_gate.report.document import (
    AlignmentEntry,
    CalibrationEntry,
    ContributionEntry,
    CostEntry,
    EnvironmentEntry,
    EstimateEntry,
    FileEntry,
    FindingEntry,
    IndexEntry,
    LayerShareEntry,
    MeasurementEntry,
    MismatchEntry,
    ModelEntry,
    OriginEntry,
    ParameterEntry,
    PredictionEntry,
    ProbeEntry,
    ResultDocument,
    RoleEntry,
    RoundingEntry,
    SignalEntry,
    StageEntry,
    StatementEntry,
    StratumEntry,
    TensorEntry,
    TierEntry,
    TokenizerEntry,
    VerdictEntry,
    VocabularyEntry,
    WaiverEntry,
)
from sdi_gate.report.indices import ThresholdEntry

METRICS = {
    "spectral-divergence": "spectral-divergence",
    "representation-drift": "cka-angle",
    "curvature-shift": "trace-shift",
    "weight-geometry": "relative-distance",
    "behaviour": "kl-divergence",
}
# Weight in sdi, scale, headline if nothing is scaled.
TERMS = {
    "spectral-divergence": (0.1, 0.15, 0.0812),
    "representation-drift": (0.4, 0.5, 0.297),
    "curvature-shift": (0.4, 0.35, 0.4127),
    "weight-geometry": (0.1, 0.25, 0.0443),
    "behaviour": (0.5, 0.5, 0.2871),
}
TIERS = {
    "weights": ("spectral-divergence", "weight-geometry"),
    "probe": ("spectral-divergence", "representation-drift", "weight-geometry"),
    "full": tuple(TERMS)[:4],
}
STRATA = ("general", "code", "multilingual")
NOTE = (
    "Weights and scales are provisional: set by hand, not fitted to measured degradation. "
    "The index orders candidates of one base; it predicts nothing yet."
)


def layer_names(num_layers):
    return ("embedding", *(f"layers.{i}" for i in range(num_layers)))


def estimate(value, stderr=None):
    return EstimateEntry(value=value, stderr=stderr, n=None if stderr is None else 64)


def row(metric, value, *, layer=None, tensor=None, stratum=None, stderr=None):
    return MeasurementEntry(
        metric=metric, layer=layer, tensor=tensor, stratum=stratum, estimate=estimate(value, stderr)
    )


def model(reference, **overrides):
    facts = {
        "reference": reference,
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "digest": "sha256:" + "ab" * 32,
        "architecture": "LlamaForCausalLM",
        "num_parameters": 1_235_814_400,
        "dtypes": ("BF16",),
        "files": (FileEntry(name="model.safetensors", size_bytes=2_471_645_608, sha256="cd" * 32),),
        "name": reference[3:] if reference.startswith("hf:") else None,
        "family": "llama",
        # A document that describes a quantisation in words alone leaves the method open.
        "quantisation_method": None if overrides.get("quantisation") else "none",
    }
    return ModelEntry(**{**facts, **overrides})


def stderr_of(name):
    return {"curvature-shift": 0.0315, "behaviour": 0.0183}.get(name)


def signal(name, layers, strata, scale):
    """One signal whose number grows with depth and with the place of the stratum."""
    metric, value = METRICS[name], scale * TERMS[name][2]
    inner = layers if name in {"spectral-divergence", "weight-geometry"} else layers[1:]
    rows = []
    if name != "behaviour":
        weights = [1.0 + i for i in range(len(inner))]
        total = sum(weights) / len(weights)
        rows += [
            row(metric, value * w / total, layer=layer, stderr=stderr_of(name) and 0.05)
            for layer, w in zip(inner, weights, strict=True)
        ]
        rows.append(row(metric, value, layer=inner[-1], tensor=f"{inner[-1]}.weight"))
    if name in {"representation-drift", "curvature-shift", "behaviour"}:
        rows += [
            row(metric, value * (1 + i) / len(strata), stratum=stratum, stderr=stderr_of(name))
            for i, stratum in enumerate(strata)
        ]
    if name == "behaviour":
        rows += behaviour_rows(strata, scale)
    return SignalEntry(
        name=name,
        version=1,
        parameters=(ParameterEntry(name="depth-weights", value="uniform"),),
        outcome="measured",
        metric=metric,
        headline=estimate(value, stderr_of(name)),
        reason=None,
        measurements=tuple(rows),
    )


def behaviour_rows(strata, scale):
    rows = [
        row("nll-change", 0.1934 * scale, stderr=0.0211),
        row("top1-flip-rate", 0.1522 * scale, stderr=0.0104),
    ]
    for i, stratum in enumerate(strata):
        change = scale * 0.1934 * (2 * (1 + i) / len(strata) - 1)
        rows += [
            row("nll-change", change, stratum=stratum, stderr=0.0211),
            row("top1-flip-rate", scale * 0.1522 * (1 + i) / len(strata), stratum=stratum),
            row("base-nll", 2.5 + i, stratum=stratum, stderr=0.041),
            row("candidate-nll", 2.5 + i + change, stratum=stratum, stderr=0.044),
        ]
    return rows


def unmeasured(name, reason, outcome="not-measured"):
    return SignalEntry(
        name=name,
        version=1,
        parameters=(),
        outcome=outcome,
        metric=METRICS[name],
        headline=None,
        reason=reason,
        measurements=(),
    )


def index(signals, weights):
    contributions = tuple(contribution(entry, weights[entry.name]) for entry in signals)
    shares = {}
    for item in contributions:
        for share in item.by_layer:
            shares[share.layer] = shares.get(share.layer, 0.0) + share.contribution
    return IndexEntry(
        outcome="measured",
        estimate=estimate(math.fsum(item.contribution for item in contributions), 0.0119),
        reason=None,
        contributions=contributions,
        by_layer=tuple(LayerShareEntry(layer=k, contribution=v) for k, v in shares.items()),
    )


def contribution(entry, weight):
    value, scale = entry.headline.value, TERMS[entry.name][1]
    phi = value / (value + scale)
    rows = [m for m in entry.measurements if m.layer and m.tensor is None and m.stratum is None]
    total = math.fsum(m.estimate.value for m in rows)
    return ContributionEntry(
        signal=entry.name,
        metric=entry.metric,
        value=value,
        phi=phi,
        weight=weight,
        contribution=weight * phi,
        by_layer=tuple(
            LayerShareEntry(
                layer=m.layer,
                contribution=weight * phi * m.estimate.value / total if total else 0.0,
            )
            for m in rows
        ),
    )


def no_index(reason, outcome="not-measured"):
    return IndexEntry(outcome=outcome, estimate=None, reason=reason, contributions=(), by_layer=())


def finding(**overrides):
    """A finding on nll-change that failed."""
    facts = {
        "rule": "limits.behaviour.nll-change",
        "metric": "nll-change",
        "status": "fail",
        "reason": "nll-change is too large.",
        "observed": 0.1934,
        "stderr": 0.0211,
        "warn": 0.05,
        "fail": 0.1,
        "bound": "upper",
        "margin": 0.1 - 0.1934,
        "layer": None,
        "stratum": "multilingual",
    }
    return FindingEntry(**{**facts, **overrides})


def plain_finding(rule, status, reason):
    return finding(
        rule=rule,
        metric="tier" if rule == "required-tier" else rule,
        status=status,
        reason=reason,
        observed=None,
        stderr=None,
        warn=None,
        fail=None,
        bound=None,
        margin=None,
        stratum=None,
    )


def tier_finding(status="pass", ran="full", required="full"):
    reason = f"The scan is of tier {ran}, and the policy requires tier {required}."
    return plain_finding("required-tier", status, reason)


def sdi_finding(observed, *, status, warn=0.45, fail=0.6):
    limit = fail if status == "fail" else warn
    return finding(
        rule="limits.sdi",
        metric="sdi",
        status=status,
        reason="sdi was judged.",
        observed=observed,
        stderr=0.0119,
        warn=warn,
        fail=fail,
        margin=limit - observed,
        stratum=None,
    )


def coverage_finding():
    return finding(
        rule="limits.coverage",
        metric="coverage",
        status="pass",
        observed=1.0,
        stderr=None,
        warn=None,
        fail=1.0,
        bound="lower",
        margin=0.0,
        stratum=None,
    )


def verdict(*findings, deciding=0, mode="enforce", **overrides):
    status = findings[deciding].status
    enforced = mode == "enforce"
    code = {"pass": 0, "warn": 0, "inconclusive": 11, "fail": 10}[status] if enforced else 0
    facts = {
        "status": status,
        "enforced": enforced,
        "exit_code": code,
        "policy_name": "production",
        "policy_digest": "sha256:" + "ef" * 32,
        "deciding": deciding,
        "findings": findings,
        "mode": mode,
    }
    return VerdictEntry(**{**facts, **overrides})


def origin(line, file="policies/production.yml", **overrides):
    return OriginEntry(file=file, line=line, column=7, **overrides)


def waiver(**overrides):
    """A waiver that raises the failing limit on nll-change to 0.25."""
    facts = {
        "id": "W-1",
        "state": "waived",
        "metric": "behaviour.nll-change",
        "limit": 0.25,
        "owner": "model-governance",
        "approved_by": "risk-committee",
        "reason": "The new domain is meant to be read otherwise.",
        "ticket": "GOV-12",
        "expires": "2026-12-31",
        "days_left": 38,
        "expiring": False,
        "origin": origin(40),
    }
    return WaiverEntry(**{**facts, **overrides})


def document(*, ran="full", layers=None, strata=STRATA, scale=1.0, **overrides):
    """A consistent result of a tier; ``scale`` 0 gives identical models."""
    layers = layer_names(4) if layers is None else layers
    structural = [signal(name, layers, strata, scale) for name in TIERS[ran]]
    behaviour = [] if ran == "weights" else [signal("behaviour", layers, strata, scale)]
    missing = f"tier {ran} does not measure it"
    measured = {entry.name: entry for entry in (*structural, *behaviour)}
    total = sum(TERMS[name][0] for name in TIERS[ran])
    weights = {name: TERMS[name][0] / total for name in TIERS[ran]}
    halves = {name: weight / 2 for name, weight in weights.items()} | {"behaviour": 0.5}
    facts = {
        "schema": "sdi-gate/result/v1",
        "base": model("hf:org/base"),
        "candidate": model("hf:org/tune"),
        "alignment": alignment(),
        "tokenizer": TokenizerEntry(same=True, detail="Vocabularies and merges are equal."),
        "tier": TierEntry(requested="auto", ran=ran, reason="It fits the memory and the budget."),
        "probe": None if ran == "weights" else probe(strata),
        "signals": tuple(measured.get(name) or unmeasured(name, missing) for name in TERMS),
        "calibration": CalibrationEntry(
            name="provisional-1", version=1, calibrated=False, note=NOTE
        ),
        "sdi": index(structural, weights),
        "sdi_plus": index([*structural, *behaviour], halves)
        if behaviour
        else no_index(f"behaviour is not-measured: {missing}"),
        "defects": (),
        "notices": (),
        "verdict": None,
        "environment": environment(),
        "cost": cost(),
    }
    return ResultDocument(**{**facts, **overrides})


def alignment(**overrides):
    facts = {
        "coverage": 1.0,
        "num_paired": 38,
        "paired_parameters": 1_235_814_400,
        "base_only": (),
        "candidate_only": (),
        "mismatched": (),
        "config_differences": (),
    }
    return AlignmentEntry(**{**facts, **overrides})


def probe(strata):
    entries = tuple(StratumEntry(name=name, num_samples=111) for name in strata)
    return ProbeEntry(
        name="sdi-probe-1",
        digest="sha256:" + "12" * 32,
        num_samples=111 * len(entries),
        max_tokens=256,
        chat_template=True,
        strata=entries,
    )


def environment():
    return EnvironmentEntry(
        sdi_gate="0.1.0",
        python="3.11.9",
        torch="2.13.0",
        transformers="5.0.0",
        safetensors="0.6.2",
        platform="Linux-6.8-x86_64",
        device="cpu",
        num_threads=2,
        compute_dtype="float32",
        seed=0,
    )


def cost():
    stages = (("resolve", 1.25), ("weights", 42.0), ("probe", 133.7), ("curvature", 1800.2))
    return CostEntry(
        started_at="2026-01-02T03:04:05Z",
        stages=tuple(
            StageEntry(
                stage=stage,
                seconds=seconds,
                peak_host_bytes=3_221_225_472,
                peak_device_bytes=None,
            )
            for stage, seconds in stages
        ),
    )


def passing():
    sdi = document(scale=0.4).sdi.estimate.value
    found = (tier_finding(), sdi_finding(sdi, status="pass"), coverage_finding())
    return document(scale=0.4, verdict=verdict(*found, deciding=1))


def failing():
    place = {"layer": "layers.3", "stratum": "multilingual"}
    curvature = finding(
        rule="limits.signals.curvature-shift",
        metric="trace-shift",
        status="warn",
        observed=0.4127,
        stderr=0.0315,
        warn=0.4,
        fail=0.5,
        margin=0.4 - 0.4127,
        **place,
    )
    sdi = document().sdi.estimate.value
    findings = (tier_finding(), sdi_finding(sdi, status="pass"), curvature, finding())
    return document(verdict=verdict(*findings, coverage_finding(), deciding=3))


def inconclusive():
    reason = (
        "The limit is for the sdi of tier full or higher; that of tier weights is another formula."
    )
    index = plain_finding("limits.sdi", "inconclusive", reason).model_copy(
        update={"metric": "sdi", "warn": 0.45, "fail": 0.6, "bound": "upper"}
    )
    found = (tier_finding("inconclusive", "weights"), index)
    return document(ran="weights", verdict=verdict(*found))


def observing():
    return document(verdict=verdict(finding(), tier_finding(), mode="observe"))


def warned():
    """A failure under a policy that only warns."""
    found = verdict(
        finding(origin=origin(54)), tier_finding(), mode="warn", signature="not-checked"
    )
    return document(verdict=found)


def waived():
    """A failure that a waiver makes a warning, by a policy that says all that one can say."""
    found = finding(
        status="warn",
        judged=0.1934 + 0.0211,
        margin=0.05 - (0.1934 + 0.0211),
        fail=0.25,
        waiver="W-1",
        waived_limit=0.1,
        origin=origin(54, block="family llama"),
    )
    unused = waiver(
        id="W-2",
        state="unused",
        metric="sdi",
        limit=0.9,
        ticket=None,
        expires="2026-11-30",
        days_left=7,
        expiring=True,
        origin=origin(50),
    )
    index = sdi_finding(document().sdi.estimate.value, status="pass", fail=0.9)
    index = index.model_copy(update={"waiver": "W-2", "waived_limit": 0.6, "origin": origin(12)})
    return document(
        registered_name="tune",
        verdict=verdict(
            found,
            tier_finding(),
            index,
            policy_file="policies/production.yml",
            policy_version="2.1",
            policy_revision=7,
            policy_owner="model-governance",
            policy_contact="governance@example.com",
            signature="verified",
            signature_key="sha256:0123456789abcdef",
            policy_extends=("policies/default.yml",),
            blocks=("family llama", "model tune"),
            waivers=(waiver(), unused),
            documentation=(
                StatementEntry(
                    title="intended-change",
                    text="Answers in the tone of the house.\n\nNothing else is meant to change.",
                    file="policies/production.yml",
                ),
            ),
        ),
    )


def expired():
    """A failure that a waiver would have tolerated until a week ago."""
    old = waiver(state="expired", expires="2026-11-16", days_left=-7, ticket=None)
    found = finding(origin=origin(54))
    return document(verdict=verdict(found, tier_finding(), waivers=(old,)))


def unjudged():
    return document(ran="probe")


def noticed():
    """A pass but for two notices, by a user's own probe, depth weights and seed."""
    sentences = (
        "generation_config.json: temperature is 0.7 in the base and 0.1 in the candidate.",
        "The chat templates differ.",
    )
    found = tuple(plain_finding("notice", "warn", sentence) for sentence in sentences)
    own = document(scale=0.4)
    parameter = ParameterEntry(name="depth-weights", value="list:1.0:1.0:0.0:0.5:0.25")
    signals = tuple(
        entry.model_copy(update={"parameters": (parameter,)})
        if entry.name in {"spectral-divergence", "weight-geometry"}
        else entry
        for entry in own.signals
    )
    return document(
        scale=0.4,
        signals=signals,
        probe=own.probe.model_copy(update={"name": "own:sdi-probe-1"}),
        environment=own.environment.model_copy(update={"seed": 3}),
        notices=sentences,
        verdict=verdict(*found, tier_finding(), coverage_finding()),
    )


def broken():
    """A candidate with NaN: two signals are inconclusive, and so is the index."""
    reason = "3 tensors hold NaN or infinity, first layers.2.mlp.weight"
    signals = (
        unmeasured("spectral-divergence", reason, "inconclusive"),
        *document().signals[1:3],
        unmeasured("weight-geometry", reason, "inconclusive"),
        unmeasured("behaviour", "a model predicts NaN", "inconclusive"),
    )
    defect = f"The candidate is damaged: {reason}."
    no = no_index(f"spectral-divergence is inconclusive: {reason}", "inconclusive")
    return document(
        signals=signals,
        sdi=no,
        sdi_plus=no,
        defects=(defect,),
        verdict=verdict(plain_finding("defect", "inconclusive", defect), tier_finding()),
    )


def fitted(**overrides):
    facts = {
        "name": "organisms-1",
        "version": 1,
        "status": "fitted",
        "calibrated": True,
        "note": "Fitted to 240 pairs of organisms (101 of them high regressions) of 20 bases.",
        "threshold": ThresholdEntry(
            value=0.4,
            bound=0.15,
            num_missed=12,
            num_degraded=101,
            num_false_alarms=23,
            num_others=139,
        ),
    }
    return CalibrationEntry(**{**facts, **overrides})


def calibrated():
    """A model that the calibration speaks for: one signal by strata, one of weight 0."""
    plain = document()

    def changed(index_):
        parts = []
        for part in index_.contributions:
            update = {}
            if part.signal == "representation-drift":
                update = {"aggregation": "mean-of-strata"}
            if part.signal == "weight-geometry":
                none = tuple(s.model_copy(update={"contribution": 0.0}) for s in part.by_layer)
                zero = {"weight": 0.0, "contribution": 0.0, "by_layer": none}
                update = {"reason": "it adds nothing", **zero}
            parts.append(part.model_copy(update=update))
        return index_.model_copy(update={"contributions": tuple(parts)})

    return document(
        sdi=changed(plain.sdi),
        sdi_plus=changed(plain.sdi_plus),
        calibration=fitted(),
        prediction=PredictionEntry(
            value=0.0831, lower=0.0213, upper=0.1449, level=0.9, reason=None
        ),
    )


def out_of_scope():
    """A model that is larger than any that the calibration was fitted on."""
    reason = "calibrated on organisms of 0.1 M to 0.6 M parameters; this model has 1.2 B parameters"
    nothing = PredictionEntry(value=None, lower=None, upper=None, level=None, reason=reason)
    return document(
        calibration=fitted(calibrated=False, reason=reason, threshold=None), prediction=nothing
    )


def adapter():
    """An adapter, measured on the base that it was put on."""
    plain = passing()
    file = FileEntry(name="adapter_model.safetensors", size_bytes=6_824_216, sha256="ab" * 32)
    settings = FileEntry(name="adapter_config.json", size_bytes=812, sha256="cd" * 32)
    candidate = model(
        "file:runs/7/adapter",
        commit=None,
        files=(settings, file),
        kind="adapter",
        adapter="LoRA and full weights on 33 tensors; rank 8, 16; 1,703,936 parameters",
    )
    return plain.model_copy(update={"candidate": candidate, "alignment": by_role()})


def by_role():
    roles = (("embedding", 1, 262_668_288), ("q", 16, 67_108_864), ("norm", 33, 67_584))
    return alignment(
        roles=tuple(RoleEntry(label=a, num_tensors=n, num_parameters=p) for a, n, p in roles)
    )


QUANTISED = (
    "112 tensors are stored as bitsandbytes-nf4 and were dequantised by bitsandbytes 0.50.2, so "
    "quantisation is part of what was measured; activations are measured unquantised."
)


def quantised():
    """A candidate in four bits, whose files hold buffers and a copy of the embedding too."""
    buffers = tuple(f"model.layers.{i}.self_attn.rotary_emb.inv_freq" for i in range(16))
    candidate = model(
        "hf:org/tune-nf4",
        dtypes=("BF16", "F32", "U8"),
        quantisation=QUANTISED,
        quantisation_method="bitsandbytes-nf4",
        ignored=buffers,
        tied_copies=("lm_head.weight",),
    )
    return failing().model_copy(update={"candidate": candidate})


def vocabulary(name, **overrides):
    facts = {
        "name": name,
        "compared_rows": 128_000,
        "base_only_rows": 0,
        "candidate_only_rows": 2,
        "base_padding_rows": 256,
        "candidate_padding_rows": 0,
        "added_norm_ratio": 1.0832,
    }
    return VocabularyEntry(**{**facts, **overrides})


def resized():
    """A candidate in another type, with two more tokens and one layer less."""
    lost = tuple(
        TensorEntry(name=f"model.layers.15.mlp.{name}.weight", shape=(8192, 2048))
        for name in ("gate_proj", "up_proj")
    )
    head = vocabulary(
        "lm_head.weight", candidate_only_rows=0, base_only_rows=3, added_norm_ratio=None
    )
    return document(
        ran="weights",
        base=model("hf:org/base", dtypes=("F32",)),
        alignment=alignment(
            coverage=0.9527,
            num_paired=36,
            base_only=lost,
            vocabulary=(vocabulary("model.embed_tokens.weight"), head),
            missing_layers=("layers.15",),
            rounding=RoundingEntry(floor=0.0016612, num_tensors=36),
        ),
        verdict=verdict(tier_finding("pass", "weights", "weights")),
    )


HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    "a|b|c",
    "line\nbreak\r\n# heading",
    "\x1b[31mred\x1b[0m",
    '"]\n bar [9999]',
    "@octocat #1 GH-7 https://example.org www.example.org [x](http://y) ![i](z)",
    "`code` **bold** _em_ ~~gone~~ $x$ :smile:",
    "[bold red]markup[/] <!-- comment --> &lt;",
    "\u202egnp.exe\u200b",
    "x" * 10_000,
)


def hostile():
    """Every string that a stranger can choose is an attack."""
    names = HOSTILE_NAMES
    tensors = tuple(TensorEntry(name=name, shape=(2, 3)) for name in names)
    mismatched = tuple(
        MismatchEntry(name=name, base_shape=(2,), candidate_shape=()) for name in names
    )
    found = finding(
        layer=names[4], stratum=names[1], origin=origin(1, file=names[5], block=names[6])
    )
    defect = plain_finding("defect", "inconclusive", names[0])
    return document(
        layers=names,
        strata=names,
        base=model(
            names[5],
            architecture=names[0],
            quantisation=names[2],
            quantisation_method=names[0],
            ignored=names,
            tied_copies=names,
        ),
        candidate=model(
            names[0],
            commit=None,
            kind="adapter",
            adapter=names[3],
            quantisation=names[4],
            quantisation_method=names[0],
        ),
        alignment=alignment(
            coverage=0.99996,
            base_only=tensors,
            candidate_only=tensors,
            mismatched=mismatched,
            **facts_of(names),
        ),
        tokenizer=TokenizerEntry(same=False, detail=names[2]),
        tier=TierEntry(requested="full", ran="full", reason=names[6]),
        defects=names,
        notices=names,
        registered_name=names[2],
        verdict=verdict(found, defect, **policy_of(names)),
    )


def policy_of(names):
    """What a verdict can say of its policy, all of it in these words."""
    return {
        **dict.fromkeys(("policy_name", "policy_digest", "policy_file"), names[0]),
        **dict.fromkeys(("policy_version", "policy_owner", "policy_contact"), names[1]),
        **dict.fromkeys(("policy_extends", "blocks"), names),
        "policy_revision": 10**9,
        "waivers": tuple(
            waiver(
                id=name,
                state="unused",
                **dict.fromkeys(("metric", "owner", "approved_by", "reason", "ticket"), name),
                origin=origin(3, file=name, block=name),
            )
            for name in names
        ),
        "documentation": tuple(
            StatementEntry(title=name, text="\n\n".join((name,) * 3), file=name) for name in names
        ),
    }


def facts_of(names):
    """What an alignment can say beside its lists of tensors, all of it under these names."""
    return {
        "vocabulary": tuple(vocabulary(name) for name in names),
        "missing_layers": names,
        "extra_layers": names,
        "rounding": RoundingEntry(floor=1.7e308, num_tensors=2**63 - 1),
        "roles": tuple(RoleEntry(label=name, num_tensors=1, num_parameters=1) for name in names),
    }


def large(name="model.language_model.layers"):
    """120 layers and 9 strata, files in shards, and tensors without a partner."""
    layers = ("embedding", *(f"{name}.{i}" for i in range(119)))
    strata = tuple(f"{name} stratum {i}" for i in range(9))
    tensors = tuple(TensorEntry(name=f"{name}.{i}.weight", shape=(4096, 4096)) for i in range(400))
    files = tuple(
        FileEntry(name=f"{name}-{i}.safetensors", size_bytes=5 * 2**30, sha256="ab" * 32)
        for i in range(30)
    )
    return document(
        layers=layers,
        strata=strata,
        base=model("hf:org/base", files=files),
        candidate=model("hf:org/tune", files=files),
        alignment=alignment(coverage=0.8, base_only=tensors, candidate_only=tensors),
        verdict=verdict(finding(layer=layers[-1]), tier_finding()),
    )


def largest(char, *, saved=False):
    """As long as a document can make the report: every bounded list full, of one character.

    Its findings fail, or, if saved, a waiver keeps each of them from it.
    """
    worst = char * 300
    names = tuple(f"{worst}{i:03d}" for i in range(250))
    found = tuple(
        finding(
            rule=f"limits.{worst}",
            **dict.fromkeys(("metric", "layer", "stratum", "reason", "waiver"), worst),
            waived_limit=0.05,
            **({"status": "warn", "fail": 0.9, "margin": 0.05 - 0.1934} if saved else {}),
            origin=origin(10**9, file=worst, block=worst),
        )
        for _ in range(60)
    )
    policy = policy_of((worst, *names))
    if saved:
        opener = waiver(
            limit=0.9,
            **dict.fromkeys(("id", "metric", "owner", "approved_by", "reason", "ticket"), worst),
        )
        policy["waivers"] = (opener, *policy["waivers"])
    statement = StatementEntry(title=worst, text="\n\n".join((8 * worst,) * 30), file=worst)
    whole = large(worst)
    facts = {
        **dict.fromkeys(("architecture", "digest", "commit"), worst),
        **dict.fromkeys(("adapter", "quantisation", "quantisation_method"), worst),
        **dict.fromkeys(("ignored", "tied_copies"), names),
        "dtypes": (worst,),
    }
    signals = [unmeasured(name, worst, "inconclusive") for name in TIERS["full"]]
    index_ = document(layers=names).sdi
    parts = tuple(
        index_.contributions[0].model_copy(update={"signal": name}) for name in names[:20]
    )
    return document(
        layers=names,
        strata=names,
        base=model(worst, **facts),
        candidate=model(worst, **{**facts, "quantisation": 2 * worst, "kind": "gguf"}),
        alignment=whole.alignment.model_copy(update=facts_of(names)),
        tokenizer=TokenizerEntry(same=None, detail=worst),
        tier=TierEntry(requested="full", ran="full", reason=worst),
        calibration=CalibrationEntry(name=worst, version=1, calibrated=False, note=worst),
        defects=(worst,) * 60,
        notices=(worst,) * 60,
        signals=(*signals, document(strata=names).signals[-1]),
        sdi=index_.model_copy(update={"contributions": parts}),
        sdi_plus=index_.model_copy(update={"contributions": parts}),
        registered_name=worst,
        verdict=verdict(*found, **{**policy, "documentation": (statement,) * 60}),
    )


CASES = {
    "pass": passing,
    "fail-full": failing,
    "inconclusive-weights": inconclusive,
    "observe": observing,
    "warn": warned,
    "waived": waived,
    "expired": expired,
    "no-policy": unjudged,
    "defect": broken,
    "notice": noticed,
    "calibrated": calibrated,
    "out-of-scope": out_of_scope,
    "adapter": adapter,
    "quantised": quantised,
    "resized": resized,
    "hostile": hostile,
    "large": large,
}

# Cases whose calibration is not the provisional one.
FITTED = ("calibrated", "out-of-scope")
