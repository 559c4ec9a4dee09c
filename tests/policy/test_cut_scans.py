from dataclasses import replace

import pytest
from scan_facts import facts_with

from sdi_gate.policy.facts import Tier


@pytest.mark.parametrize("tier", Tier)
def test_facts_with_cuts_that_do_not_say_what_is_whole_have_nothing_whole(tier):
    facts = replace(facts_with("sdi", 0.1), tier=tier, whole_tier=None)
    assert facts.uncut_tier is tier
    assert replace(facts, cuts=("no curvature",)).uncut_tier is Tier.WEIGHTS
