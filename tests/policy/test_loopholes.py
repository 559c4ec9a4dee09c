"""Try what somebody would who wants the gate to open: each way in that was once found is shut."""

from __future__ import annotations

import pytest
from scan_facts import NOW, facts_of, policy_of

from sdi_gate.policy.evaluate import judge
from sdi_gate.policy.facts import ModelIdentity
from sdi_gate.policy.verdict import Status
from sdi_gate.signals.interface import Estimate


@pytest.mark.parametrize("field", ["family", "registered_name"])
def test_an_empty_name_is_no_name_and_gets_the_strictest_that_could_apply(field: str):
    key = "family" if field == "family" else "model"
    block = {"match": {key: "llama"}, "limits": {"sdi": {"fail": 0.1}}}
    policy = policy_of({"sdi": {"fail": 0.9}}, match=[block])
    found = facts_of(sdi=Estimate(value=0.5), **{field: ""})
    assert judge(policy, found, now=NOW).status is Status.FAIL


@pytest.mark.parametrize("name", ["Org/Tune", "ORG/TUNE", "org/TUNE"])
def test_a_name_in_other_case_gets_the_strictest_that_could_apply(name: str):
    strict = {"match": {"model": "org/tune"}, "limits": {"sdi": {"fail": 0.1}}}
    loose = {"match": {"model": "org/tune"}, "limits": {"sdi": {"fail": 0.9}}}
    found = facts_of(sdi=Estimate(value=0.5), registered_name=name)
    for block in (strict, loose):
        policy = policy_of({"sdi": {"fail": 0.4 if block is loose else 0.9}}, match=[block])
        assert judge(policy, found, now=NOW).status is Status.FAIL
    both = [strict, {"match": {"model": name}, "limits": {"sdi": {"fail": 0.6}}}]
    policy = policy_of({"sdi": {"fail": 0.05}}, match=both)
    assert judge(policy, found, now=NOW).status is Status.PASS


QUANTISED = {
    "none": ("none", "none", Status.PASS),
    "a method called like none": ("none", "none-at-all", Status.FAIL),
    "another none": ("none-at-all", "none", Status.FAIL),
    "one type of a method": ("fp8", "fp8-block-128-by-128", Status.PASS),
    "another type of the method": ("fp8-channel", "fp8-block-128-by-128", Status.FAIL),
    "the method for one type": ("fp8-block-128-by-128", "fp8", Status.FAIL),
    "a method that goes on": ("fp8", "fp80", Status.FAIL),
}


@pytest.mark.parametrize(("entry", "method", "status"), QUANTISED.values(), ids=QUANTISED)
def test_an_entry_for_a_method_is_for_its_types_and_that_for_none_is_for_none(
    entry: str, method: str, status: Status
):
    policy = policy_of({"sdi": {"fail": 0.9}}, **{"allowed-quantisations": [entry]})
    candidate = ModelIdentity(reference="x", quantisation=method)
    found = facts_of(sdi=Estimate(value=0.5), candidate=candidate)
    assert judge(policy, found, now=NOW).status is status
