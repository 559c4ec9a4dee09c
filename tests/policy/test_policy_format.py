"""Test what a file of the policy's formats may hold: what is refused, where, in which words."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import core_schema

from sdi_gate.errors import ExitCode, PolicyError
from sdi_gate.policy.format.nodes import MAX_DEPTH, MAX_NODES, Document
from sdi_gate.policy.format.places import Place, Problem
from sdi_gate.policy.format.reading import MAX_LISTED, MAX_SIZE_BYTES, listed, read_model
from sdi_gate.policy.format.schema import Policy
from sdi_gate.policy.format.texts import EXPECTED
from sdi_gate.policy.testing.cases import PolicyTest

HINT = "docs/policies.md says more."
HEAD = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: trial}\n"
GOOD = HEAD + "limits:\n  sdi:\n    fail: 0.5\n"
TEST_HEAD = "apiVersion: sdi-gate/v1\nkind: PolicyTest\npolicy: ./p.yml\n"
WAIVER = """\
waivers:
  - id: W-1
    owner: model-team
    reason: The texts were rewritten.
    approved-by: model-governance
    granted: 2026-11-01
    expires: 2026-12-31
    model: org/name
    metric: sdi
    limit: 0.7
"""


def read(text: str) -> tuple[Policy, Document]:
    return read_model(text.encode(), path="p.yml", model=Policy, hint=HINT)


def parse(text: str) -> Policy:
    return read(text)[0]


def problems_of(text: str, model: Any = Policy) -> list[str]:
    start = rf"^p\.yml: the {model.called} cannot be used: "
    with pytest.raises(PolicyError, match=start) as caught:
        read_model(text.encode(), path="p.yml", model=model, hint=HINT)
    return caught.value.message.splitlines()[1:]


def test_a_good_file_is_read_with_the_places_of_its_keys_and_values():
    policy, document = read(GOOD + "allowed-families: [llama,\n  qwen2]\n" + WAIVER)
    assert policy.limits is not None
    assert policy.limits.sdi is not None
    assert policy.limits.sdi.fail == 0.5
    assert policy.allowed_families == ("llama", "qwen2")
    assert document.keys["limits", "sdi", "fail"] == Place(6, 5)
    assert document.values["limits", "sdi", "fail"] == Place(6, 11)
    assert document.values["allowed-families", "1"] == Place(8, 3)
    assert document.keys["waivers", "0"] == Place(10, 5)
    assert document.values["waivers", "0", "limit"] == Place(18, 12)


def test_the_error_has_exit_code_3_and_says_where_to_read_on():
    with pytest.raises(PolicyError, match="the file holds nothing") as caught:
        parse("")
    assert caught.value.exit_code is ExitCode.POLICY
    assert caught.value.hint == HINT


SDI = GOOD.replace("0.5", "{}")
CASES: dict[str, tuple[str, list[str]]] = {
    # What is missing.
    "missing-keys": (
        "limits: {sdi: {fail: 0.5}}\n",
        [
            "1:1: apiVersion: the key is missing; write apiVersion: sdi-gate/v1$",
            "1:1: kind: the key is missing; write kind: Policy$",
            "1:1: metadata: the key is missing$",
        ],
    ),
    "no-limit": (HEAD + "limits: {}\n", ["4:1: limits: sets nothing; give at least one of sdi, "]),
    "no-step": (HEAD + "limits:\n  sdi: {}\n", ["5:3: limits.sdi: sets nothing; .* warn, fail$"]),
    "no-step-but-confidence": (
        HEAD + "limits:\n  predicted-degradation: {mean: {confidence: 0.9}}\n",
        ["5:27: limits.predicted-degradation.mean: sets no limit; .* of warn, fail$"],
    ),
    "missing-in-waiver": (
        GOOD + WAIVER.replace("    reason: The texts were rewritten.\n", ""),
        ["8:5: waivers.0.reason: the key is missing$"],
    ),
    "empty-list": (GOOD + "match: []\n", ["7:1: match: must have at least 1 entry$"]),
    "empty-text": (GOOD + WAIVER.replace("sdi\n", "''\n"), ["15:13: .* at least 1 character$"]),
    # Former format and foreign kinds.
    "former-format": (
        "version: 1\n" + GOOD,
        [
            (
                "1:1: unknown key 'version'; write apiVersion: sdi-gate/v1 and kind: Policy in its"
                " place, and name, owner and a version of your own below metadata$"
            )
        ],
    ),
    "later-format": (
        GOOD.replace("/v1", "/v2"),
        ["1:13: apiVersion: expected 'sdi-gate/v1', got the text 'sdi-gate/v2'$"],
    ),
    "other-kind": (
        GOOD.replace("kind: Policy", "kind: PolicyTest"),
        ["2:7: kind: this is a policy test, not a policy$"],
    ),
    # Unknown keys, at every level.
    "unknown-key": (GOOD + "modus: warn\n", ["7:1: unknown key 'modus'; did you mean 'mode'"]),
    "underscore": (GOOD + "required_tier: full\n", ["7:1: .* did you mean 'required-tier'"]),
    "camel-case": (GOOD + "standardErrors: 1\n", ["7:1: .* did you mean 'standard-errors'"]),
    "capitals": (GOOD + "MODE: warn\n", ["7:1: unknown key 'MODE'; did you mean 'mode'"]),
    "kebab-api-version": (GOOD + "api-version: 1\n", ["7:1: .* did you mean 'apiVersion'"]),
    "unknown-metadata": (
        GOOD.replace("{name: trial}", "{name: trial, ownr: a}"),
        ["3:25: metadata: unknown key 'ownr'; did you mean 'owner'"],
    ),
    "unknown-signal": (
        GOOD + "  signals:\n    curvature-shft: {fail: 1}\n    weight-geometry: {fail: 1}\n",
        ["8:5: limits.signals: unknown key 'curvature-shft'; did you mean 'curvature-shift'"],
    ),
    "unknown-in-stratum": (
        GOOD + "  by-stratum: {safety: {kl-divergenze: {fail: 1}, nll-change: {fail: 1}}}\n",
        ["7:25: limits.by-stratum.safety: .* did you mean 'kl-divergence'"],
    ),
    "unknown-in-layer": (
        GOOD + "  by-layer: {layers.0-3: {weight-geometry: {fial: 1, warn: 1}}}\n",
        [r"7:45: limits.by-layer.layers.0-3.weight-geometry: .* did you mean 'fail'"],
    ),
    "unknown-in-match": (
        GOOD + "match:\n  - match: {familie: a, model: b}\n    mode: warn\n",
        ["8:13: match.0.match: unknown key 'familie'; did you mean 'family'"],
    ),
    "unknown-in-waiver": (
        GOOD + WAIVER + "    expiry: 2026-12-31\n",
        ["17:5: waivers.0: unknown key 'expiry'; did you mean 'expires'"],
    ),
    "unknown-in-base": (
        GOOD + "allowed-bases: [{name: a, commit: b}]\n",
        ["7:27: allowed-bases.0: unknown key 'commit'; known here: name, revision, digest$"],
    ),
    "unknown-calibration": (
        GOOD + "required-calibration: {pairs: 3, in-scope: true}\n",
        ["7:24: required-calibration: unknown key 'pairs'; did you mean 'min-pairs'"],
    ),
    "far-key": (GOOD + "  xyz: 1\n", ["7:3: limits: unknown key 'xyz'; known here: sdi, sdi-plus"]),
    # Keys that stand elsewhere.
    "name-at-the-top": (
        GOOD + "owner: us\n",
        ["7:1: unknown key 'owner' here; it belongs below metadata or in an item of waivers$"],
    ),
    "limit-at-the-top": (
        GOOD + "sdi: {fail: 1}\n",
        ["7:1: unknown key 'sdi' here; it belongs below limits$"],
    ),
    "metric-below-limits": (
        GOOD + "  nll-change: {fail: 1}\n",
        [
            (
                "7:3: limits: unknown key 'nll-change' here; it belongs below limits.behaviour or"
                " below limits.by-stratum.<name>$"
            )
        ],
    ),
    "mode-below-metadata": (
        GOOD.replace("{name: trial}", "{name: trial, requiredTier: full}"),
        [
            (
                "3:25: metadata: unknown key 'requiredTier' here; it belongs at the top of the file"
                " as 'required-tier' or in an item of match as 'required-tier'$"
            )
        ],
    ),
    # Values of another type.
    "mode": (
        GOOD + "mode: enforced\n",
        ["7:7: mode: expected 'observe', 'warn' or 'enforce', got the text .*mean 'enforce'?"],
    ),
    "mode-off": (GOOD + "mode: off\n", ["7:7: mode: expected .*, got a truth value"]),
    "tier": (GOOD + "required-tier: 3\n", ["7:16: required-tier: .* got the number 3$"]),
    "owner": (
        GOOD.replace("{name: trial}", "{name: trial, owner: 5}"),
        ["3:32: metadata.owner: expected text, got the number 5; put it in quotes$"],
    ),
    "version-number": (
        GOOD.replace("{name: trial}", "{name: trial, version: 2.1}"),
        [r"3:34: metadata.version: expected text, got the number 2\.1; put it in quotes$"],
    ),
    "owner-no": (
        GOOD.replace("{name: trial}", "{name: trial, owner: no}"),
        ["3:32: metadata.owner: expected text, got a truth value .* put it in quotes$"],
    ),
    "owner-list": (
        GOOD.replace("{name: trial}", "{name: trial, owner: [a]}"),
        ["3:32: metadata.owner: expected text, got a list$"],
    ),
    "name": (
        GOOD.replace("trial", "My Policy"),
        ["3:18: metadata.name: expected lower-case letters, digits and hyphens, got the text"],
    ),
    "long-name": (
        GOOD.replace("trial", "n" * 65),
        ["3:18: metadata.name: must have at most 64 characters, got 65$"],
    ),
    "revision": (
        GOOD.replace("{name: trial}", "{name: trial, revision: '3'}"),
        ["3:35: metadata.revision: expected a whole number, got the text '3'; write 3$"],
    ),
    "revision-fraction": (
        GOOD.replace("{name: trial}", "{name: trial, revision: 1.0}"),
        [r"3:35: metadata.revision: expected a whole number, got the number 1\.0$"],
    ),
    "not-keys": (
        HEAD + "limits: 5\n",
        ["4:9: limits: expected keys with values below it, got the number 5$"],
    ),
    "list-for-keys": (HEAD + "limits: [a]\n", ["4:9: limits: .* below it, got a list$"]),
    "not-a-list": (
        GOOD + "allowed-families: llama\n",
        [r"7:19: allowed-families: expected a list, such as \[a, b\], got the text 'llama'$"],
    ),
    "item-not-text": (
        GOOD + "allowed-families:\n  - llama\n  - 3\n",
        ["9:5: allowed-families.1: expected text, got the number 3; put it in quotes$"],
    ),
    "item-null": (
        GOOD + "allowed-families:\n  - llama\n  -\n",
        ["9:4: allowed-families.1: has no value; give one, or leave it out$"],
    ),
    "only-items-refused": (
        GOOD + "allowed-families: [~, ~]\n",
        ["7:20: allowed-families.0: has no value", "7:23: allowed-families.1: has no value"],
    ),
    "block-not-keys": (GOOD + "match: [a]\n", ["7:9: match.0: expected keys with values below"]),
    "in-scope": (
        GOOD + "required-calibration: {in-scope: 'true'}\n",
        ["7:34: required-calibration.in-scope: expected true or false, got the text 'true'$"],
    ),
    "parameter": (
        GOOD + "required-parameters: {seed: [0]}\n",
        [
            (
                "7:29: required-parameters.seed: expected a whole number, a number, true or false"
                " or text, got a list$"
            )
        ],
    ),
    "parameter-text": (
        GOOD + 'required-parameters: {probe: "a\\nb", seed: 0}\n',
        ["7:30: required-parameters.probe: expected text on one line, with no blank before"],
    ),
    "parameter-name": (
        GOOD + "required-parameters: {Seed: 0}\n",
        ["7:23: required-parameters: the key is refused: expected lower-case letters, digits, "],
    ),
    "role": (
        GOOD + "  by-role: {gates: {weight-geometry: {fail: 1}}}\n",
        ["7:13: limits.by-role: the key is refused: .*'other', got .* did you mean 'gate'?"],
    ),
    "layer": (
        GOOD + "  by-layer: {layer.3: {weight-geometry: {fail: 1}}}\n",
        [r"7:14: limits.by-layer: the key is refused: expected embedding, head, other, layers\.\*"],
    ),
    "range": (
        GOOD + "  by-layer: {layers.3-1: {weight-geometry: {fail: 1}}}\n",
        [r"7:14: limits.by-layer: the key is refused: the range layers\.3-1 ends before it beg"],
    ),
    "commit": (
        GOOD + "allowed-bases: [{name: a, revision: main}]\n",
        [r"7:37: allowed-bases.0.revision: expected a commit \(40 .*got the text 'main'$"],
    ),
    "commit-of-digits": (
        GOOD + f"allowed-bases:\n  - revision: {'0' * 40}\n",
        ["8:15: allowed-bases.0.revision: write a finite decimal .*, or text in quotes; got '00"],
    ),
    "twice": (
        GOOD + "allowed-families:\n  - llama\n  - qwen2\n  - llama\n",
        ["10:5: allowed-families.2: is in the list already; it was given in line 8$"],
    ),
    "documentation": (
        GOOD + "documentation:\n" + "".join(f"  k{i}: x\n" for i in range(41)),
        ["7:1: documentation: must have at most 40 entries, got 41$"],
    ),
    # Numbers.
    "too-high": (
        GOOD.replace("0.5", "1.5"),
        [r"6:11: limits.sdi.fail: must be at most 1, got 1\."],
    ),
    "too-low": (GOOD.replace("0.5", "-1"), ["6:11: limits.sdi.fail: must be at least 0, got -1"]),
    "not-above-zero": (GOOD + "maximum-age: 0\n", ["7:14: maximum-age: must be more than 0, got"]),
    "not-below-one": (
        GOOD + "  predicted-degradation: {mean: {fail: 0.1, confidence: 1}}\n",
        ["7:57: .*mean.confidence: must be less than 1, got 1$"],
    ),
    "not-a-number": (GOOD.replace("0.5", "{a: 1}"), ["6:11: .* a number, got keys with values be"]),
    "text": (GOOD.replace("0.5", "half"), ["6:11: .* expected a number, got the text 'half'$"]),
    "percent": (
        GOOD.replace("0.5", "5%"),
        ["6:11: .* expected a number, got the text '5%'; write 0.05, which is '5%'$"],
    ),
    "thousands": (GOOD.replace("0.5", "1,000.5"), ["6:11: .* got the text '1,000.5'$"]),
    "number-beside-the-key": (
        GOOD.replace("\n    fail: 0.5", " 0.5"),
        ["5:8: .* expected keys with values below it, got the number 0.5; write fail: 0.5 below"],
    ),
    "no-blank-after-the-colon": (
        GOOD.replace("fail: 0.5", "fail:0.5"),
        ["6:5: limits.sdi: .* got the text 'fail:0.5'; write a blank after 'fail:'$"],
    ),
    "indented-too-far": (
        GOOD.replace("    fail", "    warn: 0.1\n      fail"),
        ["7:11: .*mapping values are not allowed here; indent the line like its neighbours, and"],
    ),
    "comma": (
        GOOD.replace("0.5", "0,5"),
        ["6:11: .* got the text '0,5'; write 0.5, with a point$"],
    ),
    "exponent": (GOOD.replace("0.5", "1e-3"), [r"6:11: .* got the text '1e-3'; write 0\.001$"]),
    "whole-exponent": (GOOD.replace("0.5", "1e3"), ["6:11: .* got the text '1e3'; write 1000$"]),
    "tiny": (GOOD.replace("0.5", "1e-9"), [r"6:11: .* '1e-9'; write 0\.000000001$"]),
    "too-tiny": (GOOD.replace("0.5", "1e-300"), ["6:11: .* write a finite decimal number such as"]),
    "too-huge": (GOOD.replace("0.5", "1e999"), ["6:11: .* write a finite decimal number such as"]),
    "zero": (GOOD.replace("0.5", "0e1"), ["6:11: .* '0e1'; write 0$"]),
    "quoted-number": (GOOD.replace("0.5", "'0.5'"), [r"6:11: .* got the text '0\.5'; write 0\.5$"]),
    "truth-value": (GOOD.replace("0.5", "yes"), ["6:11: .* a number, got a truth value"]),
    "nan": (GOOD.replace("0.5", ".nan"), [r"6:11: .* finite decimal number .* got '\.nan'$"]),
    "infinity": (GOOD.replace("0.5", ".inf"), [r"6:11: .* finite decimal number .* got '\.inf'$"]),
    "minus-infinity": (GOOD.replace("0.5", "-.INF"), [r"6:11: .* got '-\.INF'$"]),
    "overflow": (GOOD.replace("0.5", "1.0e+999"), ["6:11: .* must be a finite number"]),
    "octal-1.1": (GOOD.replace("0.5", "01"), ["6:11: .* write a finite decimal number .*'01'$"]),
    "octal-1.2": (GOOD.replace("0.5", "0o17"), ["6:11: .* a number, got the text '0o17'$"]),
    "hexadecimal": (GOOD.replace("0.5", "0x1F"), ["6:11: .* write a finite decimal .* '0x1F'$"]),
    "binary": (GOOD.replace("0.5", "0b1"), ["6:11: .* write a finite decimal .* got '0b1'$"]),
    "groups": (GOOD.replace("0.5", "1_000"), ["6:11: .* write a finite decimal .* got '1_000'$"]),
    "sexagesimal": (GOOD.replace("0.5", "1:30"), ["6:11: .* write a finite decimal .* '1:30'$"]),
    "time": (GOOD + "mode: 12:30:00\n", ["7:7: mode: write a finite .*or text in quotes; got '12"]),
    "digits": (GOOD.replace("0.5", "9" * 5000), [r"6:11: .* got '9+\.\.\.'$"]),
    "order": (GOOD + "    warn: 0.7\n", [r"5:3: limits.sdi: warn \(0\.7\) must be at most fail"]),
    "waiver-infinity": (
        GOOD + WAIVER.replace("0.7", ".inf"),
        [r"16:12: waivers.0.limit: write a finite decimal number .* got '\.inf'$"],
    ),
    "waiver-off": (
        GOOD + WAIVER.replace("0.7", "off"),
        ["16:12: waivers.0.limit: expected a number, got a truth value"],
    ),
    # Days.
    "no-such-day": (
        GOOD + WAIVER.replace("2026-12-31", "2026-02-30"),
        ["13:14: waivers.0.expires: there is no day 2026-02-30 in the calendar$"],
    ),
    "time-stamp": (
        GOOD + WAIVER.replace("2026-12-31", "2026-12-31T10:00:00Z"),
        ["13:14: waivers.0.expires: expected a day such as 2026-11-23, got the text '2026-12-31T"],
    ),
    "short-day": (
        GOOD + WAIVER.replace("2026-12-31", "2026-1-3"),
        ["13:14: waivers.0.expires: expected a day such as 2026-11-23, got the text '2026-1-3'$"],
    ),
    # Nothing where something should be.
    "null": (GOOD + "mode:\n", ["7:6: mode: has no value; give one, or leave it out$"]),
    "null-limit": (HEAD + "limits:\n  sdi:\n", ["5:7: limits.sdi: has no value"]),
    "null-word": (GOOD + "mode: null\n", ["7:7: mode: has no value"]),
    "null-in-waiver": (
        GOOD + WAIVER.replace("model-team", "~"),
        ["9:12: waivers.0.owner: has no value"],
    ),
    # Keys twice.
    "duplicate": (
        GOOD + "    fail: 0.9\n",
        ["7:5: limits.sdi: the key 'fail' is there twice; it was given first in line 6"],
    ),
    "quoted-duplicate": (GOOD + '    "fail": 0.9\n', ["7:5: limits.sdi: .* twice"]),
    "duplicate-at-the-top": (GOOD + "limits: {sdi: {fail: 1}}\n", ["7:1: the key 'limits' is th"]),
    "duplicate-in-match": (
        GOOD + "match:\n  - match: {family: a, family: b}\n    mode: warn\n    mode: observe\n",
        [
            "8:24: match.0.match: the key 'family' is there twice; it was given first in line 8",
            "10:5: match.0: the key 'mode' is there twice; it was given first in line 9",
        ],
    ),
    "duplicate-in-waiver": (
        GOOD + WAIVER + "    limit: 0.9\n",
        ["17:5: waivers.0: the key 'limit' is there twice; it was given first in line 16"],
    ),
    "duplicate-stratum": (
        GOOD + "  by-stratum:\n    a: {nll-change: {fail: 1}}\n    a: {nll-change: {fail: 2}}\n",
        ["9:5: limits.by-stratum: the key 'a' is there twice"],
    ),
    # What YAML has and a policy has not.
    "anchor": (GOOD.replace("0.5", "&a 0.5"), ["6:11: the anchor 'a' is refused; remove it$"]),
    "alias": (
        HEAD + "limits:\n  sdi: &a {fail: 0.5}\n  sdi-plus: *a\n",
        ["5:8: the anchor 'a' is refused", "6:13: the alias 'a' is refused; write the value out"],
    ),
    "lone-alias": (HEAD + "limits: *a\n", ["4:9: the alias 'a' is refused"]),
    "alias-in-list": (GOOD + "match: [*a]\n", ["7:9: the alias 'a' is refused"]),
    "alias-in-section": (HEAD + "limits: {sdi: {warn: *a}}\n", ["4:22: the alias 'a' is refused"]),
    "alias-key": (
        GOOD + "*a : 1\n",
        ["7:1: a key is text; got an alias", "7:1: the alias 'a' is refused"],
    ),
    "tag": (GOOD.replace("0.5", "!!float 0.5"), ["6:11: the tag 'tag:yaml.org,2002:float' is"]),
    "quoted-tag": (
        GOOD.replace("0.5", "!!float '0.5'"),
        ["6:11: limits.sdi.fail: expected a number", "6:11: the tag 'tag:yaml.org,2002:float' is"],
    ),
    "mapping-tag": (GOOD.replace("sdi:", "sdi: !x"), ["5:8: the tag '!x' is refused"]),
    "list-tag": (GOOD + "allowed-families: !!set [a]\n", ["7:19: the tag 'tag:yaml.org,2002:set"]),
    "python-tag": (
        "!!python/object/apply:os.system [id]\n",
        ["1:1: expected a mapping", "1:1: the tag 'tag:yaml.org,2002:python/object/apply:"],
    ),
    "merge": (GOOD + "    <<: {warn: 0.1}\n", ["7:5: limits.sdi: the merge key << is refused"]),
    "truth-key": (GOOD + "on: 1\n", ["7:1: the key 'on' is a truth value to YAML 1.1, not text"]),
    "number-key": (GOOD + "  3: 1\n", ["7:3: limits: a key is text; '3' is a value of type int"]),
    "null-key": (GOOD + "~: 1\n", ["7:1: a key is text; '~' is a value of type null"]),
    "list-key": (GOOD + "? [a]\n: 1\n", ["7:3: a key is text; got a collection"]),
    "odd-key": (
        GOOD + '  "a\\nb": {c: ~}\n',
        [r"7:3: .* key 'a\\nb'", r"7:15: limits.'a\\nb'.c: "],
    ),
    "control-key": (GOOD + '"a\\eb": 1\n', [r"7:1: text may not contain the character U\+001B"]),
    "escape": (GOOD + 'mode: "a\\eb"\n', [r"7:7: mode: text may not contain .* U\+001B"]),
    "escaped-nul": (GOOD + 'mode: "a\\0b"\n', [r"7:7: mode: text may not contain .* U\+0000"]),
    "surrogate": (GOOD + 'mode: "\\uD800"\n', [r"7:7: mode: text may not .* U\+D800"]),
    "second-document": (
        GOOD + "---\nkind: Policy\n",
        ["7:1: the file is one document; here a sec"],
    ),
    "empty": ("", ["1:1: expected a mapping of keys to values; the file holds nothing$"]),
    "comment": ("# nothing\n", ["1:1: expected a mapping .* the file holds nothing$"]),
    "scalar": ("\n hello\n", ["2:2: expected a mapping .* holds nothing but text$"]),
    "list": ("- kind: Policy\n", ["1:1: expected a mapping .* the file holds a list$"]),
    "syntax": (GOOD + "mode: [\n", ["8:1: the file cannot be read as YAML: while parsing a flow"]),
    "tab": (
        GOOD + "\tmode: warn\n",
        ["7:1: the file cannot be read as YAML: .*; indent with blanks in"],
    ),
    "no-escape": (
        GOOD + 'mode: "\\UFFFFFFFF"\n',
        ["7:10: .* read as YAML: a number out of range"],
    ),
    "directive": ("%YAML 1." + "9" * 5000 + "\n---\n" + GOOD, ["1:9: .* a number out of range"]),
    "nul": (GOOD + "mode: \x00\n", [r"7:7: the character U\+0000 is not allowed in YAML"]),
    "control": (GOOD + "mode: \x07\n", [r"7:7: the character U\+0007 is not allowed in YAML"]),
    "control-first": ("\x07", [r"1:1: the character U\+0007 is not allowed in YAML"]),
    # What makes a reader see another file than sdi-gate does.
    "line-in-a-comment": (
        GOOD + "# harmless \u2028mode: observe\n",
        [r"7:12: the character U\+2028 is refused: it can make text look like another one$"],
    ),
    "carriage-return": (GOOD + "# harmless \rmode: observe\n", [r"7:12: .* U\+000D is refused"]),
    "next-line": (GOOD + "# harmless \x85mode: observe\n", [r"7:12: .* U\+0085 is refused"]),
    "direction": (
        GOOD + "# \u202e\nmode: warn # \u2066\n",
        [r"7:3: the character U\+202E is refused", r"8:14: the character U\+2066 is refused"],
    ),
    "direction-by-escape": (
        GOOD + 'documentation:\n  reviewer: "a \\u202e b \\u2028 c"\n',
        [r"8:13: documentation.reviewer: text may not contain the character U\+202E"],
    ),
    "name-with-what-cannot-be-seen": (
        GOOD + "match:\n  - match: {model: org/a\u200b}\n    mode: warn\n",
        [r"8:20: match.0.match.model: .* no character that cannot be seen, got 'org/a\\u200b'"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_each_mistake_is_named_at_its_line_and_column(text: str, expected: list[str]):
    found = problems_of(text)
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert re.match(re.escape("p.yml:") + start, line), line


def test_all_problems_are_listed_at_once_in_the_order_of_the_file():
    text = (
        "version: 3\napiVersion: sdi-gate/v1\nkind: policy\nmetadata: {name: Trial, owner: }\n"
        "mode: off\nlimits:\n  sdi: {warn: 1e-1, fail: 2}\n  sdi: {fail: 1}\n  behavior: {}\n"
        "  coverage: &x {fail: .nan}\nmatch:\n  - match: {}\n    limits: {nll-change: 1}\n"
        "waivers:\n  - {id: W 1}\n"
    )
    found = problems_of(text)
    lines = [int(re.match(r"p\.yml:(\d+):\d+: ", line)[1]) for line in found]
    assert lines == [1, 3, 4, 4, 5, 7, 7, 8, 9, 10, 10, 12, 13, *[15] * 9]
    assert "did you mean 'behaviour'?" in found[8]


def test_one_problem_is_listed_once_and_counted():
    twice = [Problem(Place(2, 1), "a"), Problem(Place(1, 1), "b"), Problem(Place(2, 1), "a")]
    assert listed("f", twice) == "f: the policy cannot be used: 2 problems\nf:1:1: b\nf:2:1: a"
    assert listed("f", twice[:1], what="policy test").startswith("f: the policy test cannot be")


def test_a_flood_of_problems_is_cut():
    text = GOOD + "".join(f"k{i}: 1\n" for i in range(MAX_LISTED + 20))
    found = problems_of(text)
    assert len(found) == MAX_LISTED + 1
    assert found[-1] == "p.yml: and 20 more problems"


# Every kind of error that a part of a schema can have pydantic find.
KINDS = {
    "model": {"model_type", "missing", "extra_forbidden"},
    "str": {"string_type", "string_too_short", "string_too_long", "string_pattern_mismatch"},
    "float": {
        "float_type",
        "finite_number",
        "greater_than",
        "greater_than_equal",
        "less_than",
        "less_than_equal",
    },
    "int": {"int_type", "greater_than_equal", "less_than_equal"},
    "bool": {"bool_type"},
    "enum": {"enum"},
    "literal": {"literal_error"},
    "tuple": {"tuple_type", "too_short", "too_long"},
    "dict": {"dict_type", "too_short", "too_long"},
}
# Parts that find nothing by themselves, or what a check of the model's own says.
SILENT = {
    "default",
    "definition-ref",
    "definitions",
    "function-after",
    "function-before",
    "function-wrap",
    "json-or-python",
    "lax-or-strict",
    "model-field",
    "model-fields",
    "no-info",
    "nullable",
    "union",
}
SHOWN: dict[str, str] = {
    "bool_type": GOOD + "required-calibration: {in-scope: 1}\n",
    "dict_type": GOOD + "documentation: 1\n",
    "enum": GOOD + "mode: a\n",
    "extra_forbidden": GOOD + "a: 1\n",
    "finite_number": GOOD.replace("0.5", "1.0e+999"),
    "float_type": GOOD.replace("0.5", "a"),
    "greater_than": GOOD + "maximum-age: 0\n",
    "greater_than_equal": GOOD.replace("0.5", "-1"),
    "int_type": GOOD + "maximum-waiver-days: 1.5\n",
    "less_than": GOOD + "  predicted-degradation: {mean: {fail: 0.1, confidence: 1}}\n",
    "less_than_equal": GOOD.replace("0.5", "2"),
    "literal_error": GOOD + "notices: a\n",
    "missing": "limits: {sdi: {fail: 0.5}}\n",
    "model_type": HEAD + "limits: 1\n",
    "string_pattern_mismatch": GOOD.replace("trial", "A"),
    "string_too_long": GOOD.replace("trial", "n" * 99),
    "string_too_short": GOOD.replace("trial", "''"),
    "string_type": GOOD.replace("trial", "1"),
    "too_long": GOOD + "documentation: {" + ", ".join(f"k{i}: x" for i in range(50)) + "}\n",
    "too_short": GOOD + "match: []\n",
    "tuple_type": GOOD + "match: 1\n",
}


def schema_parts(schema: Any) -> list[dict[str, Any]]:
    """Return every part of a schema of pydantic's core that has a type."""
    if isinstance(schema, list | tuple):
        return [found for inner in schema for found in schema_parts(inner)]
    if not isinstance(schema, dict):
        return []
    here = [schema] if isinstance(schema.get("type"), str) else []
    inner = [value for key, value in schema.items() if key not in {"metadata", "serialization"}]
    return here + schema_parts(inner)


@pytest.mark.parametrize("model", [Policy, PolicyTest], ids=["policy", "policy-test"])
def test_every_kind_of_error_that_a_schema_can_find_is_shown_below(model: Any):
    types = {part["type"] for part in schema_parts(model.__pydantic_core_schema__)} - SILENT
    assert types <= KINDS.keys()
    assert {kind for name in types for kind in KINDS[name]} <= SHOWN.keys()
    assert SHOWN.keys() <= set(core_schema.ErrorType.__args__)


@pytest.mark.parametrize("text", SHOWN.values(), ids=SHOWN)
def test_no_message_is_in_the_words_of_pydantic(text: str):
    for line in problems_of(text):
        assert not re.search(
            r"Input should|String should|Field required|Value error|not permitted|[Vv]alid "
            r"|Dictionary|Tuple|after validation|instance of|Extra inputs",
            line,
        ), line


@pytest.mark.parametrize("model", [Policy, PolicyTest], ids=["policy", "policy-test"])
def test_every_pattern_of_a_schema_is_said_in_words(model: Any):
    parts = schema_parts(model.__pydantic_core_schema__)
    patterns = {part["pattern"] for part in parts if "pattern" in part}
    assert len(patterns) > 5
    assert sorted(patterns - EXPECTED.keys()) == []


def test_a_policy_test_is_called_by_its_name_and_has_its_own_keys():
    text = TEST_HEAD.replace("kind", "version: 1\nkind") + "cases: [{nam: a}]\n"
    found = problems_of(text, PolicyTest)
    assert "write apiVersion: sdi-gate/v1 and kind: PolicyTest in its place" in found[0]
    assert any("unknown key 'nam'; did you mean 'name'?" in line for line in found)


def test_bytes_that_are_not_utf_8_are_named_at_their_place():
    with pytest.raises(PolicyError, match=r"p\.yml:2:7: the file is not UTF-8: byte 0xE4"):
        read_model("kind: a\nname: ärger".encode("latin-1"), path="p.yml", model=Policy, hint="")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_utf_16_and_utf_32_are_refused(encoding: str):
    with pytest.raises(PolicyError, match=r"p\.yml:1:\d+: the (file is not UTF-8|character U\+0)"):
        read_model(GOOD.encode(encoding), path="p.yml", model=Policy, hint=HINT)


def test_a_byte_order_mark_is_accepted():
    content = b"\xef\xbb\xbf" + GOOD.encode()
    assert read_model(content, path="p", model=Policy, hint=HINT)[0] == parse(GOOD)


def test_lines_that_end_as_on_windows_are_accepted():
    assert parse(GOOD.replace("\n", "\r\n")) == parse(GOOD)


def test_a_file_at_the_size_bound_is_read_and_one_over_it_is_not():
    filled = GOOD + "#" * (MAX_SIZE_BYTES - len(GOOD))
    assert parse(filled) == parse(GOOD)
    with pytest.raises(PolicyError, match="the policy is larger than 1,000,000 bytes"):
        parse(filled + "#")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[? ", "!!x [", "&a ["])
def test_deep_nesting_is_refused_without_a_recursion_error(opening: str):
    with pytest.raises(PolicyError, match=f"nested deeper than {MAX_DEPTH} levels"):
        parse(opening * 50_000)


@pytest.mark.parametrize(
    "text",
    ["a: [" + "[]," * 300_000 + "]", "- *a\n" * 190_000, "- &a b\n" * 140_000, "k: 1\n" * 190_000],
    ids=["lists", "aliases", "anchors", "keys"],
)
def test_a_file_of_very_many_values_is_given_up_early(text: str):
    given_up = rf"more than {MAX_NODES:,} keys and values|: {MAX_NODES} problems"
    with pytest.raises(PolicyError, match=given_up):
        parse(text)


def test_the_bound_on_values_counts_keys_and_values():
    # The file without the list, which has 15, the list's key, the list and its items.
    fitting = ", ".join(f"f{number}" for number in range(MAX_NODES - 15 - 2))
    assert parse(f"{GOOD}allowed-families: [{fitting}]\n").allowed_families is not None
    with pytest.raises(PolicyError, match="keys and values"):
        parse(f"{GOOD}allowed-families: [{fitting}, one-more]\n")


def test_a_billion_laughs_are_not_laughed():
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    with pytest.raises(PolicyError, match="the alias 'a0' is refused"):
        parse("\n".join(lines))


def test_a_flood_of_misleading_characters_is_cut():
    assert len(problems_of("\r" * 500_000)) == MAX_LISTED


def test_a_date_in_quotes_or_not_is_the_same_text():
    plain, in_quotes = GOOD + WAIVER, GOOD + WAIVER.replace("2026-12-31", "'2026-12-31'")
    assert parse(plain) == parse(in_quotes)
    assert parse(GOOD.replace("trial", "2024-01-01")).metadata.name == "2024-01-01"


def test_text_may_have_several_lines_and_any_script():
    policy = parse(GOOD + "documentation:\n  purpose: |\n    Prüfung\n    \tzwei\u202f模型\n")
    assert policy.documentation == {"purpose": "Prüfung\n\tzwei\u202f模型\n"}


def test_names_of_strata_are_those_of_the_probe_set_whatever_its_language():
    policy = parse(GOOD + "  by-stratum:\n    Sécurité (générale): {nll-change: {fail: 1}}\n")
    assert policy.limits is not None
    assert list(policy.limits.by_stratum or {}) == ["Sécurité (générale)"]


YAMLISH = st.text(st.sampled_from("a1:-[]{}&*!%?|>'\"#, \n\t\\xUFe.~<=\x00\x85\ufeff"), max_size=60)
PLACES = ["mode: ", "match: ", "waivers:\n  - ", "documentation: ", "  by-layer: ", "    warn: "]
SNIPPETS = st.lists(
    st.sampled_from(
        [line + "\n" for line in (GOOD + WAIVER).splitlines()]
        + ["  - ", "    ", "match:\n", "{}", "[", "]", ": ", "name: 1\n", "[key]: 1\n", "a", "\n"]
        + [
            "required-parameters: {a: [1], int: [1], float: b}\n",
            "required-parameters: {x: {a: 1}}",
        ]
        + ["by-role: {Q: {'[key]': 1}}\n", "allowed-bases: [{name: a}, {name: a}, ~, *a]\n"]
    ),
    max_size=30,
).map("".join)


@given(st.one_of(st.binary(max_size=60), YAMLISH.map(str.encode)))
@example(b'"\\UFFFFFFFF"')
@example(b"? a\n? a")
def test_any_bytes_give_a_policy_error_and_nothing_else(content: bytes):
    with pytest.raises(PolicyError, match=r"^p\.yml"):
        read_model(content, path="p.yml", model=Policy, hint=HINT)


@given(st.sampled_from(PLACES), YAMLISH)
def test_any_value_anywhere_gives_a_policy_or_a_policy_error(place: str, text: str):
    try:
        policy = parse(GOOD + place + text)
    except PolicyError:
        return
    assert policy.limits is not None


@given(SNIPPETS, st.sampled_from([Policy, PolicyTest]))
@example(GOOD + "documentation: {'[key]': [1]}\n", Policy)
@example(GOOD + "allowed-bases: [{name: a}, {name: a}, ~]\n", Policy)
@example(GOOD + "required-parameters: {x: {int: 1}, int: [1]}\n", Policy)
@example(GOOD + "allowed-families: [~, ~]\n", Policy)
def test_any_mixture_of_lines_gives_a_model_or_a_policy_error(text: str, model: Any):
    try:
        read_model(text.encode(), path="p.yml", model=model, hint=HINT)
    except PolicyError as error:
        assert error.message.startswith("p.yml: the ")  # noqa: PT017 - either outcome is right


def test_a_policy_test_that_is_taken_for_a_policy_is_told_apart_in_one_line():
    text = "apiVersion: sdi-gate/v1\nkind: PolicyTest\npolicy: ./p.yml\ncases: []\n"
    with pytest.raises(PolicyError) as caught:
        read_model(text.encode(), path="p.test.yml", model=Policy, hint="")
    assert caught.value.message == (
        "p.test.yml: the policy cannot be used: 1 problem\n"
        "p.test.yml:2:7: kind: this is a policy test, not a policy"
    )
    assert caught.value.hint == "sdi-gate policy test reads it"
