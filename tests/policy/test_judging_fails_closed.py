"""Test that what is not known never passes."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from typing import get_args, get_origin

import pytest
from scan_facts import (
    AXIS,
    BEHAVIOUR,
    EVERY_KEY,
    UPPER_KEYS,
    facts_of,
    found,
    judged,
    limits_at,
    path_of,
    policy_of,
    row,
    signal,
    signal_id,
    signal_of,
)

from sdi_gate.policy.chain.demands import RuleLimit, Sourced
from sdi_gate.policy.facts import CalibrationFacts, PredictedDegradation
from sdi_gate.policy.format.limits import Limit, Limits
from sdi_gate.policy.format.section import Section
from sdi_gate.policy.judging.parts import read_part
from sdi_gate.policy.judging.readings import Missing, read
from sdi_gate.policy.origins import Origin
from sdi_gate.policy.verdict import Bound, Status
from sdi_gate.signals.interface import SignalName, SignalResult, inconclusive, not_measured


@pytest.mark.parametrize("coverage", [math.nan, math.inf, -0.01, 1.01])
@pytest.mark.parametrize(
    "limits",
    [{"coverage": {"warn": 0.0}}, {"sdi": {"fail": 1.0}}],
    ids=["limited", "without-a-limit"],
)
def test_a_coverage_that_is_no_share_is_inconclusive_even_without_a_limit(coverage, limits):
    verdict = judged(policy_of(limits), facts_of(coverage=coverage))
    assert verdict.status is Status.INCONCLUSIVE
    assert found(verdict, "defect").reason == (
        f"The coverage of the scan is {coverage}, which is not between 0 and 1."
    )


def unmeasured(name: SignalName, kind: str) -> tuple[SignalResult, ...]:
    rows = tuple(row(metric, 0.0) for metric in BEHAVIOUR)
    match kind:
        case "absent":
            return ()
        case "not-measured":
            return (not_measured(signal_id(name), "kl-divergence", "The tier is too low."),)
        case _:
            reason = "Not a number in layers.3."
            return (inconclusive(signal_id(name), "other", reason, rows),)


@pytest.mark.parametrize("key", [key for key in UPPER_KEYS if signal_of(key)])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("absent", "{name} was not measured."),
        ("not-measured", "{name} was not measured: The tier is too low."),
        ("inconclusive", "{name} is inconclusive: Not a number in layers.3."),
    ],
    ids=["absent", "not-measured", "inconclusive"],
)
def test_a_limit_on_an_unmeasured_signal_never_passes(key: str, kind: str, reason: str):
    name = signal_of(key)
    facts = facts_of(signals=unmeasured(name, kind))
    verdict = judged(policy_of(limits_at(key, {"warn": 0.9})), facts)
    finding = found(verdict, f"limits.{key}")
    assert verdict.status is finding.status is Status.INCONCLUSIVE
    assert finding.reason == reason.format(name=name)
    assert (finding.observed, finding.margin, finding.warn) == (None, None, 0.9)


def test_a_metric_that_a_measured_signal_does_not_have_is_inconclusive():
    facts = facts_of(signals=(signal(SignalName.BEHAVIOUR, 0.0, metric="kl-divergence"),))
    policy = policy_of(limits_at("behaviour.top1-flip-rate", {"warn": 1.0}))
    finding = judged(policy, facts).deciding
    assert finding.status is Status.INCONCLUSIVE
    assert finding.metric == "top1-flip-rate"
    assert finding.reason == "behaviour was measured without top1-flip-rate."


@pytest.mark.parametrize("key", ["sdi", "sdi-plus"])
def test_an_index_that_could_not_be_formed_is_inconclusive(key: str):
    facts = facts_of(**{key.replace("-", "_"): None})
    finding = judged(policy_of({key: {"warn": 1.0}}), facts).deciding
    assert finding.status is Status.INCONCLUSIVE
    assert finding.reason == f"{key} was not measured."


def schema_paths(section: type[Section], path: tuple[str, ...] = ()):
    """Yield the path of every limit that the schema knows; a name is ``*``."""
    for name, field in section.model_fields.items():
        inner = (*path, field.alias or name)
        for kind in get_args(field.annotation):
            plain = get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
            if get_origin(plain) is dict:
                plain, inner = get_args(plain)[1], (*inner, "*")
            if isinstance(plain, type) and issubclass(plain, Limit):
                yield inner
            elif isinstance(plain, type) and issubclass(plain, Section):
                yield from schema_paths(plain, inner)


NAMED = {AXIS, "safety", "layers.1", "q"}


def test_every_limit_that_the_schema_knows_is_read():
    tested = {tuple("*" if part in NAMED else part for part in path_of(key)) for key in EVERY_KEY}
    assert tested == {*schema_paths(Limits)}
    for key in EVERY_KEY:
        finding = found(
            judged(policy_of(limits_at(key, {"warn": 0.5})), facts_of()), f"limits.{key}"
        )
        assert finding.observed is not None, key


def rule(*path: str) -> RuleLimit:
    return RuleLimit(path=path, bound=Bound.UPPER, warn=Sourced(1.0, Origin(file="policy")))


@pytest.mark.parametrize(
    "path",
    [
        ("limits", "charm"),
        ("limits", "signals", "charm"),
        ("limits", "signals", "behaviour"),
        ("limits", "by-stratum", "safety"),
        ("limits", "by-layer", "layers.0", "behaviour"),
        ("limits", "by-role", "q", "kl-divergence"),
        ("limits", "by-charm", "q", "weight-geometry"),
    ],
    ids=".".join,
)
def test_a_limit_that_is_not_known_here_gives_no_value(path: tuple[str, ...]):
    why = f"{'.'.join(path)} is not a rule that can be judged."
    missing = Missing(metric=path[-1], why=why)
    known = facts_of()
    assert read(rule(*path), known) == missing
    assert read_part(path, known, 1.0) == missing


@pytest.mark.parametrize(
    "levels",
    [{"limits": Limits.model_construct()}, {"limits": None}],
    ids=["an-empty-section", "no-section"],
)
def test_a_policy_without_limits_that_was_smuggled_in_is_refused(levels):
    loaded = policy_of({"sdi": {"fail": 1.0}})
    (level,) = loaded.levels
    empty = replace(level, policy=level.policy.model_copy(update=levels))
    with pytest.raises(ValueError, match="the policy trial has no limit"):
        judged(replace(loaded, levels=(empty,)), facts_of())


@pytest.mark.parametrize("family", ["llama", None])
def test_a_candidate_that_no_limit_is_for_never_passes(family: str | None):
    block = {"match": {"family": "llama"}, "limits": {"sdi": {"fail": 0.5}}}
    loaded = policy_of({"sdi": {"fail": 1.0}}, match=[block])
    (level,) = loaded.levels
    only = replace(level, policy=level.policy.model_copy(update={"limits": None}))
    policy = replace(loaded, levels=(only,))
    # A family that is not known could be any: the strictest of what could apply holds.
    assert judged(policy, facts_of(family=family)).status is Status.PASS
    verdict = judged(policy, facts_of(family="qwen"))
    assert verdict.status is Status.INCONCLUSIVE
    assert found(verdict, "limits").reason == (
        "Every limit of the policy is for other candidates than this one."
    )


def test_facts_hold_each_signal_once():
    twice = (signal(SignalName.WEIGHT_GEOMETRY, 0.0),) * 2
    with pytest.raises(ValueError, match="each signal is there at most once"):
        facts_of(signals=twice)


def test_the_time_of_a_scan_and_of_a_judgement_has_a_time_zone():
    naive = datetime(2026, 11, 23)  # noqa: DTZ001 - that is what is tested
    with pytest.raises(ValueError, match="the time of a scan has a time zone; got 2026-11-23"):
        facts_of(measured_at=naive)
    with pytest.raises(ValueError, match="the time of a judgement has a time zone; got 2026-11-23"):
        judged(policy_of({"sdi": {"fail": 1.0}}), facts_of(), naive)


CALIBRATION = CalibrationFacts(
    name="trial", fitted=True, families=("llama",), num_pairs=40, out_of_scope=None
)
MEAN = "predicted-degradation.mean"
ON_AXIS = f"predicted-degradation.axes.{AXIS}"


@pytest.mark.parametrize(
    ("key", "changes", "reason"),
    [
        (MEAN, {"predictions": ()}, "The calibration does not predict mean degradation."),
        (
            ON_AXIS,
            {"predictions": facts_of().predictions[:1]},
            "The calibration does not predict degradation on an axis accuracy.",
        ),
        (
            "predicted-degradation.axes.mean",
            {},
            "The calibration does not predict degradation on an axis mean.",
        ),
        (
            MEAN,
            {"predictions": (PredictedDegradation(axis="mean", reason="It has no weights."),)},
            "Degradation is not predicted: It has no weights.",
        ),
        (
            MEAN,
            {"calibration": replace(CALIBRATION, out_of_scope="another probe set")},
            "The calibration does not speak for these models: another probe set.",
        ),
        (MEAN, {"predictions": facts_of().predictions[:1] * 2}, None),
    ],
    ids=["none", "no-such-axis", "mean-is-no-axis", "no-prediction", "out-of-scope", "twice"],
)
def test_degradation_that_is_not_predicted_for_these_models_is_inconclusive(key, changes, reason):
    policy = policy_of(limits_at(key, {"warn": 1.0, "fail": 1.0}))
    finding = found(judged(policy, facts_of(**changes)), f"limits.{key}")
    assert (finding.status, finding.observed) == (Status.INCONCLUSIVE, None)
    assert reason is None or finding.reason == reason


@pytest.mark.parametrize(
    ("confidence", "status"), [(0.95, Status.PASS), (0.96, Status.INCONCLUSIVE)]
)
def test_an_interval_that_aims_at_less_than_the_confidence_is_inconclusive(confidence, status):
    policy = policy_of(limits_at(MEAN, {"fail": 0.5, "confidence": confidence}))
    finding = found(judged(policy, facts_of(calibration=CALIBRATION)), f"limits.{MEAN}")
    assert finding.status is status
    aims = (
        "The interval of the prediction aims at a coverage of 0.95, and the policy asks for 0.96."
    )
    assert (finding.reason == aims) is (status is Status.INCONCLUSIVE)


def test_a_limit_on_a_prediction_without_a_confidence_gives_no_value():
    missing = read(rule("limits", "predicted-degradation", "mean"), facts_of())
    assert isinstance(missing, Missing)
    assert missing.why.endswith("and the policy asks for 1.")


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"value": 0.5, "upper": 0.6},
        {"value": 0.5, "upper": math.nan, "level": 0.9},
        {"value": 0.5, "upper": math.inf, "level": 0.9},
        {"value": 0.5, "upper": 0.6, "level": 0.9, "reason": "It is out of scope."},
        {"value": 0.5, "reason": "It is out of scope."},
    ],
    ids=["nothing", "no-level", "nan", "infinite", "both", "half"],
)
def test_a_prediction_has_three_finite_numbers_or_a_reason(numbers):
    with pytest.raises(ValueError, match="mean: a prediction has three finite numbers or a reason"):
        PredictedDegradation(axis="mean", **numbers)


@pytest.mark.parametrize(
    ("confidence", "upper"),
    [(0.5, 0.3), (0.8, 0.3), (0.81, 0.4), (0.9, 0.4), (0.95, 0.5)],
    ids=str,
)
def test_of_several_intervals_the_narrowest_that_reaches_the_confidence_counts(confidence, upper):
    # A scan tells the calibration's own level first.
    told = tuple(
        PredictedDegradation(axis="mean", value=0.2, upper=end, level=level)
        for level, end in ((0.9, 0.4), (0.8, 0.3), (0.95, 0.5))
    )
    facts = facts_of(predictions=told, calibration=CALIBRATION)
    policy = policy_of(limits_at(MEAN, {"fail": upper, "confidence": confidence}))
    finding = found(judged(policy, facts), f"limits.{MEAN}")
    assert (finding.status, finding.observed, finding.judged) == (Status.PASS, 0.2, upper)
    tighter = policy_of(limits_at(MEAN, {"fail": upper - 0.01, "confidence": confidence}))
    assert found(judged(tighter, facts), f"limits.{MEAN}").status is Status.FAIL
    beyond = policy_of(limits_at(MEAN, {"fail": 1.0, "confidence": 0.96}))
    reason = found(judged(beyond, facts), f"limits.{MEAN}").reason
    assert "aims at a coverage of 0.95, and the policy asks for 0.96" in reason
    refused = replace(told[0], value=None, upper=None, level=None, reason="It is out of scope")
    torn = facts_of(predictions=(*told, refused), calibration=CALIBRATION)
    assert found(judged(policy, torn), f"limits.{MEAN}").status is Status.INCONCLUSIVE
