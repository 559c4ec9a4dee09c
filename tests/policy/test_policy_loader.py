"""Test the loading of policies: what is refused, what the messages say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdi_gate.errors import ExitCode, PolicyError
from sdi_gate.policy.loader import (
    MAX_LISTED,
    MAX_SIZE_BYTES,
    LoadedPolicy,
    load_policy,
    parse_policy,
)
from sdi_gate.policy.nodes import MAX_DEPTH

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "version: 1\nname: trial\n"
GOOD = HEAD + "limits:\n  sdi:\n    fail: 0.5\n"


def parse(text: str) -> LoadedPolicy:
    return parse_policy(text.encode(), path="p.yml")


def problems_of(text: str) -> list[str]:
    with pytest.raises(PolicyError, match=r"^p\.yml: the policy cannot be used: ") as caught:
        parse(text)
    return caught.value.message.splitlines()[1:]


def test_a_good_policy_is_loaded_from_a_file(tmp_path: Path):
    file = tmp_path / "p.yml"
    file.write_text(GOOD, encoding="utf-8")
    loaded = load_policy(file)
    assert loaded.policy.name == "trial"
    assert loaded.policy.limits.sdi is not None
    assert loaded.policy.limits.sdi.fail == 0.5
    assert loaded.path == str(file)


def test_a_missing_file_is_a_policy_error_with_exit_code_3(tmp_path: Path):
    with pytest.raises(PolicyError, match=r"absent\.yml: .*cannot be read: No such file") as caught:
        load_policy(tmp_path / "absent.yml")
    assert caught.value.exit_code is ExitCode.POLICY
    assert "policies/default.yml" in caught.value.hint


def test_a_folder_is_a_policy_error(tmp_path: Path):
    with pytest.raises(PolicyError, match="cannot be read: Is a directory"):
        load_policy(tmp_path)


def test_a_file_over_the_size_bound_is_refused_unread(tmp_path: Path):
    file = tmp_path / "p.yml"
    file.write_bytes(b"#" * (MAX_SIZE_BYTES + 1))
    with pytest.raises(PolicyError, match="larger than 1,000,000 bytes"):
        load_policy(file)


def test_a_file_at_the_size_bound_is_read():
    filled = GOOD + "#" * (MAX_SIZE_BYTES - len(GOOD))
    assert parse(filled).digest == parse(GOOD).digest


CASES = {
    "missing-keys": (
        "name: trial\n",
        ["1:1: limits: the key is missing", "1:1: version: the key is missing"],
    ),
    "missing-limits": (HEAD + "limits: {}\n", ["3:1: limits: sets no limit; give at least one of"]),
    "empty-bounds": (HEAD + "limits:\n  sdi: {}\n", ["4:3: limits.sdi: sets no limit"]),
    "version": (GOOD.replace("1", "2", 1), ["1:10: version: this sdi-gate reads version 1"]),
    "version-float": (GOOD.replace("1", "1.0", 1), ["1:10: version: this sdi-gate reads"]),
    "name": (GOOD.replace("trial", "My Policy"), ["2:7: name: expected lower-case letters"]),
    "long-name": (GOOD.replace("trial", "n" * 65), ["2:7: name: .* at most 64 characters"]),
    "mode": (GOOD + "mode: warn\n", ["6:7: mode: expected 'enforce' or 'observe', got the text"]),
    "mode-on": (GOOD + "mode: on\n", ["6:7: mode: expected .*, got a truth value"]),
    "tier": (GOOD + "required-tier: 3\n", ["6:16: required-tier: .* got the number 3$"]),
    "owner": (GOOD + "owner: 5\n", ["6:8: owner: expected text, got the number 5; put it in quo"]),
    "owner-list": (GOOD + "owner: [a]\n", ["6:8: owner: expected text, got a list$"]),
    "too-high": (
        GOOD.replace("0.5", "1.5"),
        [r"5:11: limits.sdi.fail: must be at most 1, got 1\.5"],
    ),
    "too-low": (GOOD.replace("0.5", "-1"), ["5:11: limits.sdi.fail: must be at least 0, got -1"]),
    "not-keys": (
        HEAD + "limits: 5\n",
        ["3:9: limits: expected keys with values below it, got the n"],
    ),
    "not-a-number": (
        GOOD.replace("0.5", "{a: 1}"),
        ["5:11: .* expected a number, got keys with va"],
    ),
    "text": (GOOD.replace("0.5", "half"), ["5:11: .* expected a number, got the text 'half'$"]),
    "exponent": (GOOD.replace("0.5", "1e-3"), [r"5:11: .* got the text '1e-3'; write 0\.001$"]),
    "tiny": (GOOD.replace("0.5", "1e-9"), [r"5:11: .* '1e-9'; write 0\.000000001$"]),
    "too-tiny": (GOOD.replace("0.5", "1e-300"), ["5:11: .* write a finite decimal number such as"]),
    "too-huge": (GOOD.replace("0.5", "1e999"), ["5:11: .* write a finite decimal number such as"]),
    "zero": (GOOD.replace("0.5", "0e1"), [r"5:11: .* '0e1'; write 0\.0$"]),
    "quoted-number": (GOOD.replace("0.5", "'0.5'"), [r"5:11: .* got the text '0\.5'; write 0\.5$"]),
    "truth-value": (GOOD.replace("0.5", "yes"), ["5:11: .* a number, got a truth value"]),
    "nan": (GOOD.replace("0.5", ".nan"), [r"5:11: .* finite decimal number .* got '\.nan'$"]),
    "infinity": (GOOD.replace("0.5", ".inf"), [r"5:11: .* finite decimal number .* got '\.inf'$"]),
    "overflow": (GOOD.replace("0.5", "1.0e+999"), ["5:11: .* should be a finite number"]),
    "octal": (GOOD.replace("0.5", "01"), ["5:11: .* write a finite decimal number .* got '01'$"]),
    "sexagesimal": (
        GOOD.replace("0.5", "1:30"),
        ["5:11: .* write a finite decimal .* got '1:30'$"],
    ),
    "digits": (GOOD.replace("0.5", "9" * 5000), [r"5:11: .* got '9+\.\.\.'$"]),
    "null": (
        GOOD + "owner:\n",
        ["6:7: owner: the key has no value; give one, or leave the key out"],
    ),
    "null-limit": (HEAD + "limits:\n  sdi:\n", ["4:7: limits.sdi: the key has no value"]),
    "unknown-key": (GOOD + "modus: enforce\n", ["6:1: unknown key 'modus'; did you mean 'mode'"]),
    "underscore": (GOOD + "required_tier: full\n", ["6:1: .* did you mean 'required-tier'"]),
    "unknown-limit": (
        GOOD + "  signals:\n    curvature-shft: {fail: 1}\n    weight-geometry: {fail: 1}\n",
        ["7:5: limits.signals: unknown key 'curvature-shft'; did you mean 'curvature-shift'"],
    ),
    "far-key": (
        GOOD + "  xyz: 1\n",
        ["6:3: limits: unknown key 'xyz'; known here: sdi, sdi-plus, "],
    ),
    "duplicate": (
        GOOD + "    fail: 0.9\n",
        ["6:5: limits.sdi: the key 'fail' is there twice; it was given first in line 5"],
    ),
    "quoted-duplicate": (GOOD + '    "fail": 0.9\n', ["6:5: limits.sdi: .* twice"]),
    "order": (GOOD + "    warn: 0.7\n", [r"4:3: limits.sdi: warn \(0\.7\) must be at most fail"]),
    "anchor": (GOOD.replace("0.5", "&a 0.5"), ["5:11: the anchor 'a' is refused; remove it$"]),
    "alias": (
        HEAD + "limits:\n  sdi: &a {fail: 0.5}\n  sdi-plus: *a\n",
        ["4:8: the anchor 'a' is refused", "5:13: the alias 'a' is refused; write the value out"],
    ),
    "lone-alias": (HEAD + "limits: *a\n", ["3:9: the alias 'a' is refused"]),
    "alias-key": (
        GOOD + "*a : 1\n",
        ["6:1: a key is text; got an alias", "6:1: the alias 'a' is refused"],
    ),
    "tag": (GOOD.replace("0.5", "!!float 0.5"), ["5:11: the tag 'tag:yaml.org,2002:float' is"]),
    "quoted-tag": (
        GOOD.replace("0.5", "!!float '0.5'"),
        ["5:11: limits.sdi.fail: expected a number", "5:11: the tag 'tag:yaml.org,2002:float' is"],
    ),
    "mapping-tag": (GOOD.replace("sdi:", "sdi: !x"), ["4:8: the tag '!x' is refused"]),
    "python-tag": (
        "!!python/object/apply:os.system [id]\n",
        ["1:1: a policy is a mapping", "1:1: the tag 'tag:yaml.org,2002:python/object/apply:"],
    ),
    "merge": (GOOD + "    <<: {warn: 0.1}\n", ["6:5: limits.sdi: the merge key << is refused"]),
    "truth-key": (GOOD + "on: 1\n", ["6:1: the key 'on' is a truth value to YAML 1.1, not text"]),
    "number-key": (GOOD + "  3: 1\n", ["6:3: limits: a key is text; '3' is a value of type int"]),
    "null-key": (GOOD + "~: 1\n", ["6:1: a key is text; '~' is a value of type null"]),
    "list-key": (GOOD + "? [a]\n: 1\n", ["6:3: a key is text; got a collection"]),
    "odd-key": (
        GOOD + '  "a\\nb": {c: ~}\n',
        [r"6:3: .* key 'a\\nb'", r"6:15: limits.'a\\nb'.c: "],
    ),
    "control-key": (GOOD + '"a\\eb": 1\n', [r"6:1: text may not contain the character U\+001B"]),
    "escape": (GOOD + 'owner: "a\\eb"\n', [r"6:8: owner: text may not contain .* U\+001B"]),
    "surrogate": (GOOD + 'owner: "\\uD800"\n', [r"6:8: owner: text may not .* U\+D800"]),
    "second-document": (GOOD + "---\nversion: 1\n", ["6:1: a policy is one document; here a sec"]),
    "empty": ("", ["1:1: a policy is a mapping of keys to values; the file holds nothing$"]),
    "comment": ("# nothing\n", ["1:1: a policy is a mapping .* the file holds nothing$"]),
    "scalar": ("\n hello\n", ["2:2: a policy is a mapping .* holds nothing but text$"]),
    "list": ("- version: 1\n", ["1:1: a policy is a mapping .* the file holds a list$"]),
    "syntax": (GOOD + "owner: [\n", ["7:1: the file cannot be read as YAML: while parsing a flow"]),
    "tab": (GOOD + "\towner: x\n", ["6:1: the file cannot be read as YAML: .*cannot start any"]),
    "no-escape": (
        GOOD + 'owner: "\\UFFFFFFFF"\n',
        ["6:11: .* read as YAML: a number out of range"],
    ),
    "directive": ("%YAML 1." + "9" * 5000 + "\n---\n" + GOOD, ["1:9: .* a number out of range"]),
    "control": (GOOD + "owner: \x07\n", [r"6:8: the character U\+0007 is not allowed in YAML"]),
    "control-first": ("\x07", [r"1:1: the character U\+0007 is not allowed in YAML"]),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_each_mistake_is_named_at_its_line_and_column(text: str, expected: list[str]):
    found = problems_of(text)
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert re.match(re.escape("p.yml:") + start, line), line


def test_all_problems_are_listed_at_once_in_the_order_of_the_file():
    text = (
        "version: 3\nname: Trial\nmode: off\nowner:\nlimits:\n  sdi: {warn: 1e-1, fail: 2}\n"
        "  sdi: {fail: 1}\n  behavior: {}\n  coverage: &x {fail: .nan}\n"
    )
    with pytest.raises(PolicyError, match="10 problems") as caught:
        parse(text)
    places = re.findall(r"^p\.yml:(\d+):\d+: ", caught.value.message, flags=re.MULTILINE)
    assert [int(line) for line in places] == [1, 2, 3, 4, 6, 6, 7, 8, 9, 9]
    assert "did you mean 'behaviour'?" in caught.value.message


def test_a_flood_of_problems_is_cut():
    text = GOOD + "".join(f"k{i}: 1\n" for i in range(MAX_LISTED + 20))
    found = problems_of(text)
    assert len(found) == MAX_LISTED + 1
    assert found[-1] == "p.yml: and 20 more problems"


def test_bytes_that_are_not_utf_8_are_named_at_their_place():
    with pytest.raises(PolicyError, match=r"p\.yml:2:7: the file is not UTF-8: byte 0xE4"):
        parse_policy("version: 1\nname: ärger".encode("latin-1"), path="p.yml")


def test_a_byte_order_mark_is_accepted():
    assert parse_policy(b"\xef\xbb\xbf" + GOOD.encode(), path="p").digest == parse(GOOD).digest


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[? ", "!!x [", "&a ["])
def test_deep_nesting_is_refused_without_a_recursion_error(opening: str):
    with pytest.raises(PolicyError, match=f"nested deeper than {MAX_DEPTH} levels"):
        parse(opening * 50_000)


def test_a_billion_laughs_are_not_laughed():
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    with pytest.raises(PolicyError, match="the alias 'a0' is refused"):
        parse("\n".join(lines))


YAMLISH = st.text(st.sampled_from("a1:-[]{}&*!%?|>'\"#, \n\t\\xUFe.~<=\x00\x85\ufeff"), max_size=60)


@given(st.one_of(st.binary(max_size=60), YAMLISH.map(str.encode)))
@example(b'"\\UFFFFFFFF"')
@example(b"? a\n? a")
def test_any_bytes_give_a_policy_or_a_policy_error(content: bytes):
    with pytest.raises(PolicyError, match=r"^p\.yml"):
        parse_policy(content, path="p.yml")


@given(YAMLISH)
def test_any_value_gives_a_policy_or_a_policy_error(text: str):
    try:
        loaded = parse(GOOD + "owner: " + text)
    except PolicyError:
        return
    assert loaded.policy.limits.sdi is not None


def test_a_date_and_a_version_in_quotes_are_text():
    assert parse(GOOD.replace("trial", "2024-01-01")).policy.name == "2024-01-01"
    assert parse(GOOD + "owner: '7'").policy.owner == "7"


def test_text_may_have_several_lines_and_any_script():
    loaded = parse(GOOD + "description: |\n  Prüfung\n  \tzwei\u202f模型\n")
    assert loaded.policy.description == "Prüfung\n\tzwei\u202f模型\n"
