from datetime import UTC, datetime

from written_policies import simple, write, write_chain

from sdi_gate.policy.loader import load_policy
from sdi_gate.policy.telling.describe import describe

NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
WHOLE = """Policy child
Contact: governance@example.com
Version: 2.1
Revision: 7
File: @child.yml
Digest: @DIGEST
Extends:
  parent (@parent.yml, revision 3)
Demands:
  mode: enforce; a verdict of fail or inconclusive closes the gate
  required-tier: weights or higher; a scan of a lower tier is inconclusive  [@parent.yml:5]
  standard-errors: 1 standard error on the bad side of a stochastic value
  notices: a notice is a finding that warns
  sdi: warns above 0.45, fails above 0.6  [@parent.yml:7]
  behaviour.nll-change: warns above 0.05, fails above 0.15
  coverage: fails below 0.9  [@parent.yml:8]
  allowed-families: only llama, qwen
For family llama:
  sdi: warns above 0.45, fails above 0.5  [@parent.yml:7, @child.yml:13 (family llama)] (tightened)
  behaviour.nll-change: warns above 0.05, fails above 0.2 (loosened)
Waivers, as they stand on 2026-01-20:
  W-1, expiring: the limit of its own file on behaviour.nll-change fails at 0.3 for tune from \
2026-01-01 to 2026-01-31, asked for by research, approved by risk-committee: \
The new domain is meant to be read otherwise.  \
[@child.yml:17]
Documentation copied into reports: reviewer"""
EVERY_DEMAND = """mode: observe
required-tier: full
standard-errors: 2
notices: fail
limits:
  predicted-degradation:
    mean: {fail: 0.2, confidence: 0.9}
  by-layer:
    layers.0-3: {weight-geometry: {warn: 0.5}}
required-calibration: {families: [qwen, llama], min-pairs: 30}
required-parameters: {seed: 0}
accepted-formats: [full]
allowed-bases:
  - {name: org/base}
allowed-families: [llama]
allowed-quantisations: [none]
maximum-age: 1
"""
IN_WORDS = """\
  mode: observe; the verdict is reported, and the gate stays open
  required-tier: full or higher; a scan of a lower tier is inconclusive
  standard-errors: 2 standard errors on the bad side of a stochastic value
  notices: a notice is a finding that fails
  predicted-degradation.mean: fails above 0.2, at a confidence of 0.9
  by-layer.layers.0-3.weight-geometry: warns above 0.5
  required-calibration: fitted on each of llama, qwen, on at least 30 pairs, it speaks for the \
models compared
  required-parameters.seed: must be 0
  accepted-formats: only full
  allowed-families: only llama
  allowed-quantisations: only none
  allowed-bases: only org/base
  maximum-age: at most 1 day old
  coverage: no limit; a scan that left any parameter out is inconclusive"""


def test_a_chain_is_told_whole_with_the_place_of_what_a_parent_states(tmp_path):
    loaded = load_policy(write_chain(tmp_path))
    told = describe(loaded, now=NOW)
    assert told.replace(f"{tmp_path}/", "@").replace(loaded.digest, "@DIGEST") == WHOLE


def test_every_demand_has_words(tmp_path):
    loaded = load_policy(write(tmp_path, "every", simple("every", EVERY_DEMAND)))
    told = describe(loaded, now=NOW)
    assert told.partition("Demands:\n")[2] == IN_WORDS


def test_a_waiver_is_shown_as_it_stands_on_the_day(tmp_path):
    loaded = load_policy(write_chain(tmp_path))
    days = {
        datetime(2025, 12, 31, 23, tzinfo=UTC): "not yet in force",
        datetime(2026, 1, 1, tzinfo=UTC): "in force",
        datetime(2026, 1, 16, 23, tzinfo=UTC): "in force",
        datetime(2026, 1, 17, tzinfo=UTC): "expiring",
        datetime(2026, 1, 31, 23, 59, tzinfo=UTC): "expiring",
        datetime(2026, 2, 1, tzinfo=UTC): "expired",
    }
    for now, state in days.items():
        assert f"  W-1, {state}: " in describe(loaded, now=now)


def test_no_text_forges_a_line(tmp_path):
    path = write(
        tmp_path,
        "a\nDemands: forged\u202e",
        simple(
            'x, owner: "us\\u00ad", description: "One.\\nDemands: forged"',
            'limits: {sdi: {fail: 0.5}}\nrequired-parameters: {probe: "a\\u00adb"}\n'
            "waivers:\n  - {id: W, owner: o, approved-by: a, granted: 2026-01-01, model: m,"
            " expires: 2026-01-02, metric: sdi, limit: 0.6,"
            ' reason: "Fine.\\nDemands: forged"}\n',
        ),
    )
    told = describe(load_policy(path), now=NOW)
    starts = [line for line in told.splitlines() if line.startswith("Demands")]
    assert starts == ["Demands:"]
    assert all(char.isprintable() or char == "\n" for char in told)
