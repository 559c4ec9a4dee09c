"""Define the format of policy tests: what is given to a policy, and what it is to say.

A test file names one policy and holds cases. Each case gives measurements, or a recorded result,
and what the policy is expected to make of them. What a case does not give was not measured, so
that a limit on it is inconclusive: nothing is filled in, but for what the file's common ``given``
says. In particular:

- ``tier`` and ``coverage`` have no default: every case without a result has them from somewhere;
- ``model`` is the candidate's name in the registry, ``candidate.name`` that on the Hub;
- ``age`` is how many days before the case's day the scan ran; without it the time is not known.
  A negative one makes the scan younger than the clock, as a clock that is wrong does;
- numbers by stratum, by layer and by role belong to a signal (or a metric of behaviour) whose
  number over all of them is given, too: no scan has the one without the other. `without` that
  number removes them with it;
- a layer group in ``given`` is one group, such as ``layers.3``: patterns belong to policies;
- predicted degradation speaks for the models unless ``calibration`` says that it is not in scope;
  a calibration that is given and does not say is fitted, and in scope;
- a case with ``result`` takes nothing from the common ``given``;
- a case is judged at noon, UTC, of its own ``at`` or the file's; without either, now.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt

from sdi_gate.policy.facts import Tier
from sdi_gate.policy.format.limits import Fraction, Name
from sdi_gate.policy.format.provisions import Commit, Day, Digest, Line, ModelName, Text
from sdi_gate.policy.format.schema import Format
from sdi_gate.policy.format.section import Section
from sdi_gate.policy.testing.numbers_given import (
    BehaviourNumbers,
    FractionNumber,
    PredictionNumbers,
    SignalNumbers,
    StratumNumbers,
    WeightNumbers,
)
from sdi_gate.policy.verdict import Status
from sdi_gate.policy.waiver_states import WaiverState

KIND = "PolicyTest"
SCHEMA_ID = "urn:sdi-gate:policy-test:v1"

RelativePath = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]
RuleName = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[a-z0-9][A-Za-z0-9*_.-]*$")
]
WaiverId = Annotated[str, Field(min_length=1, max_length=64)]
LayerGroup = Annotated[str, Field(max_length=60, pattern=r"^[a-z][a-z0-9_-]*(\.[0-9]{1,4})?$")]
Sentences = Annotated[tuple[Line, ...], Field(strict=False)]


class GivenPredictions(Section):
    """What the calibration predicts."""

    mean: PredictionNumbers | None = Field(default=None, description="The mean over the axes.")
    axes: Annotated[dict[Name, PredictionNumbers], Field(min_length=1)] | None = Field(
        default=None, description="Single axes, by name."
    )


class GivenCalibration(Section):
    """What the index's calibration rests on."""

    families: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)] | None = Field(
        default=None, description="Families of models that it was fitted on."
    )
    pairs: Annotated[int, Field(ge=0, le=10**9)] | None = Field(
        default=None, description="Pairs that it was fitted on."
    )
    in_scope: bool | None = Field(
        default=None, description="Whether it speaks for these models; true unless said."
    )
    fitted: bool | None = Field(
        default=None, description="Whether it was fitted to measurements; true unless said."
    )


class GivenBase(Section):
    """Which model the base was."""

    name: ModelName | None = Field(default=None, description="Its name, such as org/name.")
    revision: Commit | None = Field(default=None, description="Its commit.")
    digest: Digest | None = Field(default=None, description="Digest of its weights.")


class GivenCandidate(Section):
    """Which model the candidate was."""

    name: ModelName | None = Field(default=None, description="Its name on the Hub.")
    revision: Commit | None = Field(default=None, description="Its commit.")
    digest: Digest | None = Field(default=None, description="Digest of its weights.")
    format: Format | None = Field(default=None, description="What its weight files hold.")
    quantisation: Name | None = Field(
        default=None, description="none, or the method, such as bitsandbytes-nf4."
    )


class Given(Section):
    """What a scan found; what is left out was not measured."""

    tier: Annotated[Tier, Field(strict=False)] | None = Field(
        default=None, description="How much the scan looked at: weights, probe or full."
    )
    whole_tier: Annotated[Tier, Field(strict=False)] | None = Field(
        default=None, description="The highest tier of which nothing was cut."
    )
    cuts: Sentences | None = Field(default=None, description="What was measured on less.")
    coverage: Fraction | None = Field(
        default=None, description="Share of all parameters that were compared."
    )
    sdi: FractionNumber | None = Field(default=None, description="The index.")
    sdi_plus: FractionNumber | None = Field(
        default=None, description="The index that adds behaviour."
    )
    predicted_degradation: GivenPredictions | None = Field(
        default=None, description="What the calibration predicts."
    )
    signals: SignalNumbers | None = Field(default=None, description="The four signals.")
    behaviour: BehaviourNumbers | None = Field(
        default=None, description="Behaviour, on the worst stratum."
    )
    by_stratum: Annotated[dict[Name, StratumNumbers], Field(min_length=1)] | None = Field(
        default=None, description="Single strata of the probe set, by name."
    )
    by_layer: Annotated[dict[LayerGroup, SignalNumbers], Field(min_length=1)] | None = Field(
        default=None, description="Single layer groups, such as layers.3."
    )
    by_role: Annotated[dict[Name, WeightNumbers], Field(min_length=1)] | None = Field(
        default=None, description="Tensors by what they do, such as head."
    )
    calibration: GivenCalibration | None = Field(
        default=None, description="What the index's calibration rests on."
    )
    parameters: (
        Annotated[dict[Name, StrictInt | StrictFloat | StrictBool | Line], Field(min_length=1)]
        | None
    ) = Field(default=None, description="Parameters that every signal was measured with.")
    family: Name | None = Field(default=None, description="Family of the models.")
    model: ModelName | None = Field(
        default=None, description="Name of the candidate in the registry."
    )
    base: GivenBase | None = Field(default=None, description="Which model the base was.")
    candidate: GivenCandidate | None = Field(
        default=None, description="Which model the candidate was."
    )
    age: Annotated[float, Field(ge=-3650.0, le=36500.0)] | None = Field(
        default=None, description="Days since the scan; negative where a clock is wrong."
    )
    notices: Sentences | None = Field(default=None, description="What no number shows.")
    defects: Sentences | None = Field(default=None, description="What can never pass.")


class Expect(Section):
    """What the policy is to say; what is left out may be anything."""

    verdict: Annotated[Status, Field(strict=False)] = Field(
        description="pass, warn, fail or inconclusive."
    )
    gate: Literal["open", "closed"] | None = Field(
        default=None, description="Whether the candidate may be promoted."
    )
    decided_by: RuleName | None = Field(
        default=None, description="The rule that decided, such as limits.sdi."
    )
    findings: (
        Annotated[dict[RuleName, Annotated[Status, Field(strict=False)]], Field(min_length=1)]
        | None
    ) = Field(
        default=None,
        description="How single rules come out; of several findings of one rule, the worst.",
    )
    waivers: (
        Annotated[dict[WaiverId, Annotated[WaiverState, Field(strict=False)]], Field(min_length=1)]
        | None
    ) = Field(default=None, description="What becomes of waivers, by id.")


class Case(Section):
    """One case: what is given, and what is expected."""

    name: Line = Field(description="A sentence; no two cases of a file share one.")
    given: Given | None = Field(
        default=None, description="Laid over the file's common given, key by key."
    )
    without: Annotated[tuple[Line, ...], Field(min_length=1, strict=False)] | None = Field(
        default=None,
        description="What is taken out of the given, such as behaviour or behaviour.nll-change.",
    )
    result: RelativePath | None = Field(
        default=None, description="A recorded result.json, relative to this file."
    )
    at: Day | None = Field(default=None, description="Day on which the case is judged.")
    expect: Expect = Field(description="What the policy is to say.")


class PolicyTest(Section):
    """Cases that say what a policy makes of measurements."""

    called: ClassVar[str] = "policy test"

    api_version: Literal["sdi-gate/v1"] = Field(
        alias="apiVersion", description="Version of this format; always sdi-gate/v1."
    )
    kind: Literal["PolicyTest"] = Field(description="Always PolicyTest.")
    policy: RelativePath = Field(description="The policy file, relative to this file.")
    description: Text | None = Field(default=None, description="What the cases are about.")
    at: Day | None = Field(
        default=None, description="Day on which cases are judged that do not say; default: today."
    )
    given: Given | None = Field(
        default=None, description="What every case measures unless it says otherwise."
    )
    cases: Annotated[tuple[Case, ...], Field(min_length=1, max_length=1000, strict=False)] = Field(
        description="The cases."
    )
