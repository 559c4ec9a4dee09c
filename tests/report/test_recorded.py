"""A recorded result is judged by what it says, and what it does not say is not known."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import report_documents as docs

from sdi_gate.errors import UsageError
from sdi_gate.policy.facts import Tier
from sdi_gate.report.document import dump, load
from sdi_gate.report.recorded import facts_of

CASES = pytest.mark.parametrize("make", docs.CASES.values(), ids=docs.CASES.keys())
NEW = {
    "base": ("name", "family", "quantisation_method"),
    "candidate": ("name", "family", "quantisation_method"),
    "tier": ("whole", "cuts"),
    "calibration": ("families", "num_pairs"),
}


@CASES
def test_the_facts_of_a_document_survive_writing_and_reading(make):
    assert facts_of(load(dump(make()), "test")) == facts_of(make())


@CASES
def test_no_verdict_in_a_document_matters_for_its_facts(make):
    assert facts_of(make().model_copy(update={"verdict": None})) == facts_of(make())


def test_the_facts_of_a_document_are_what_it_says():
    facts = facts_of(docs.waived())
    assert (facts.tier, facts.uncut_tier, facts.coverage) == (Tier.FULL, Tier.FULL, 1.0)
    assert facts.base.name == "org/base"
    assert (facts.candidate.name, facts.model_name, facts.family) == ("org/tune", "tune", "llama")
    assert facts.measured_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert facts.sdi.value == docs.waived().sdi.estimate.value
    assert facts.tensor_roles[0] == ("layers.3.weight", ("other",))


def older(make=docs.failing):
    plain = json.loads(dump(make()))
    for part, keys in NEW.items():
        for key in keys:
            del plain[part][key]
    for key in ("axis_predictions", "registered_name", "prediction"):
        del plain[key]
    return plain


def test_what_an_older_document_does_not_say_is_not_known():
    facts = facts_of(load(json.dumps(older()).encode(), "old.json"))
    assert (facts.base.name, facts.base.quantisation) == (None, None)
    assert (facts.family, facts.registered_name, facts.model_name) == (None, None, None)
    assert (facts.calibration.families, facts.calibration.num_pairs) == (None, None)
    assert facts.predictions == ()
    assert facts.whole_tier is None


def test_a_calibration_that_does_not_speak_for_the_models_says_why_or_that_nobody_does():
    told = facts_of(docs.out_of_scope()).calibration
    assert told.out_of_scope == docs.out_of_scope().calibration.reason
    silent = facts_of(docs.failing()).calibration
    assert (silent.fitted, silent.out_of_scope is None) == (False, False)
    speaking = facts_of(docs.calibrated()).calibration
    assert (speaking.fitted, speaking.out_of_scope) == (True, None)


TIMES = {
    "no time": "yesterday",
    "no zone": "2026-01-02T03:04:05",
    "before the first year": "0001-01-01T00:00:00+14:00",
}


@pytest.mark.parametrize("text", TIMES.values(), ids=TIMES)
def test_a_time_that_nobody_can_place_is_not_known(text):
    whole = docs.passing()
    cost = whole.cost.model_copy(update={"started_at": text})
    assert facts_of(whole.model_copy(update={"cost": cost})).measured_at is None


def test_a_time_of_another_zone_is_brought_to_utc():
    whole = docs.passing()
    cost = whole.cost.model_copy(update={"started_at": "2026-01-02T05:04:05+02:00"})
    found = facts_of(whole.model_copy(update={"cost": cost})).measured_at
    assert found.isoformat() == "2026-01-02T03:04:05+00:00"


def test_a_document_with_a_signal_twice_has_no_facts():
    whole = docs.passing()
    twice = whole.model_copy(update={"signals": (*whole.signals, whole.signals[0])})
    with pytest.raises(UsageError, match="not the result of a scan: each signal is there at most"):
        facts_of(twice)


def test_a_signal_without_a_number_or_a_reason_is_of_no_scan():
    plain = json.loads(dump(docs.passing()))
    plain["signals"][0]["headline"] = None
    with pytest.raises(UsageError, match="measured means an estimate and no reason"):
        facts_of(load(json.dumps(plain).encode(), "r.json"))


def test_reading_recorded_facts_loads_no_machine_learning_library():
    code = (
        "import sys\n"
        "import sdi_gate.report.document, sdi_gate.report.recorded\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'safetensors', 'rich', 'jinja2'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert ran.stdout == "[]\n"
