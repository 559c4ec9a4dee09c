"""A manifest is read strictly, and what is wrong with it is told all at once, with its places."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifests import BASE, OTHER, TUNE, document, entry, read, written

from sdi_gate.errors import ExitCode, PolicyError, UsageError
from sdi_gate.manifest.reading import check_base, parse_manifest, with_base
from sdi_gate.manifest.references import folder_of, path_problem, problem_of
from sdi_gate.policy.loader import parse_policy
from sdi_gate.policy.origins import Origin

EXAMPLE = Path(__file__).with_name("example.yml")
HEAD = "apiVersion: sdi-gate/v1\nkind: Candidates\n"


def problems(content: bytes | str) -> list[str]:
    content = content.encode() if isinstance(content, str) else content
    with pytest.raises(UsageError, match=r"^models\.yml: ") as caught:
        parse_manifest(content, "models.yml")
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint
    return caught.value.message.splitlines()


def only(content: bytes | str) -> str:
    head, *found = problems(content)
    assert head == "models.yml: the manifest cannot be used: 1 problem"
    (line,) = found
    return line.removeprefix("models.yml:")


def test_the_example_holds_what_its_comments_say():
    support, translation, summaries = parse_manifest(EXAMPLE.read_bytes(), "models.yml").entries
    assert (support.name, support.registered_name) == ("support", "support")
    assert support.base == summaries.base == f"hf:your-org/base@{'1' * 40}"
    assert translation.base == f"hf:your-org/other-base@{'3' * 40}"
    assert translation.registered_name is None
    assert summaries.candidate == "file:adapters/summaries"
    assert support.origin == Origin(file="models.yml", line=12, column=5)


def test_an_entry_without_a_base_has_that_of_the_manifest_or_none():
    assert read(entry(), base=BASE).entries[0].base == BASE
    assert read(entry(base=OTHER), base=BASE).entries[0].base == OTHER
    assert read(entry()).entries[0].base is None


def test_every_problem_is_told_with_its_place():
    head, *found = problems(
        HEAD
        + "bse: x\n"
        + "candidates:\n"
        + f"  - name: one\n    candidat: {TUNE}\n"
        + "  - name: two\n    candidate: hf:org/tune@main\n"
        + "  - name: three\n    candidate: file:../elsewhere\n"
    )
    assert head == "models.yml: the manifest cannot be used: 5 problems"
    assert found[0] == "models.yml:3:1: unknown key 'bse'; did you mean 'base'?"
    assert found[1].startswith("models.yml:5:5: candidates.0.candidate: the key is missing")
    assert found[2].startswith("models.yml:6:5: candidates.0: unknown key 'candidat'; did you mean")
    assert found[3].startswith(
        "models.yml:8:16: candidates.1.candidate: a model on the Hub must be"
    )
    assert found[4].startswith("models.yml:10:16: candidates.2.candidate: '../elsewhere' leads out")


REFUSED = {
    "branch": ("hf:org/tune@main", "must be pinned"),
    "no-commit": ("hf:org/tune", "must be pinned, .* got none"),
    "short": (f"hf:org/tune@{'b' * 12}", "must be pinned"),
    "long": (f"hf:org/tune@{'b' * 41}", "must be pinned"),
    "capitals": (f"hf:org/tune@{'B' * 40}", "all 40 lower-case hex digits"),
    "two-at": (f"hf:org/tune@main@{'b' * 40}", "must be pinned"),
    "no-name": (f"hf:@{'b' * 40}", "is not a repository on the Hub"),
    "deep-name": (f"hf:org/tune/more@{'b' * 40}", "is not a repository on the Hub"),
    "dots-name": (f"hf:org/..@{'b' * 40}", "is not a repository on the Hub"),
    "no-scheme": ("org/tune", "is not a model; write hf:org/name@COMMIT or file:path/to/folder"),
    "url": ("https://example.org/tune", "is not a model"),
    "other-scheme": ("models:/tune/3", "is not a model"),
    "capital-scheme": (f"HF:org/tune@{'b' * 40}", "is not a model"),
    "absolute": ("file:/models/tune", "is not a path in the repository"),
    "home": ("file:~/tune", "is not a path in the repository"),
    "nothing": ("file:", "is not a path in the repository"),
    "backslash": (r"file:models\tune", "with / in it"),
    "above": ("file:models/../../tune", "leads out of its folder"),
    "parent": ("file:..", "leads out of its folder"),
    "top": ("file:.", "empty or '.'"),
    "dot": ("file:./models", "empty or '.'"),
    "double": ("file:models//tune", "empty or '.'"),
    "slash-end": ("file:models/", "empty or '.'"),
    "invisible": ("file:models/tu\u200bne", "is not a path in the repository"),
}


@pytest.mark.parametrize("key", ["candidate", "base"])
@pytest.mark.parametrize(("reference", "match"), REFUSED.values(), ids=REFUSED)
def test_a_reference_that_could_become_another_model_is_refused(
    reference: str, match: str, key: str
):
    own = {"candidate": TUNE, "base": BASE, key: reference}
    with pytest.raises(UsageError, match=rf"candidates\.0\.{key}: .*{match}"):
        read(entry(**own))


def test_the_base_of_all_is_held_to_the_same():
    assert only(written(base="hf:org/base@main")).startswith("3:7: base: a model on the Hub must")


@pytest.mark.parametrize(
    "reference", [TUNE, f"hf:gpt2@{'0' * 40}", "file:a", "file:models/tune v2", "file:..a/b"]
)
def test_a_reference_that_stays_what_it_is_is_accepted(reference: str):
    assert problem_of(reference) is None
    assert read(entry(candidate=reference)).entries[0].candidate == reference


@given(st.text("ab./~\\:@hf- 0", max_size=30))
def test_a_path_that_is_accepted_stays_inside_in_one_form(path: str):
    if path_problem(path) is None:
        assert posixpath.normpath(path) == path
        assert not posixpath.normpath(f"root/{path}").startswith("..")
        assert posixpath.join("/top", path).startswith("/top/")


def test_a_model_that_is_compared_with_itself_is_refused():
    assert only(written(entry(base=TUNE))) == (
        "5:14: candidates.0.candidate: base and candidate are one model, which would always pass:"
        " both are the same reference"
    )
    renamed = f"hf:copy/of-it@{'b' * 40}"
    assert "both are at commit bbbb" in only(written(entry(), base=renamed))
    assert "same reference" in only(written(entry(candidate="file:m", base="file:m")))


def test_a_name_is_there_once_however_it_is_written():
    line = only(written(entry("Straße"), entry("STRASSE", OTHER)))
    assert line.startswith("6:9: candidates.1.name: the name 'STRASSE', which reads like 'Straße'")
    assert line.endswith("first in line 4")
    assert "is there twice; first in line 4" in only(written(entry(), entry(candidate=OTHER)))
    composed = only(written(entry("caf\u00e9"), entry("cafe\u0301", OTHER)))
    assert "which reads like" in composed


NAMES = {
    "empty": "",
    "long": "x" * 101,
    "tab": "a\tb",
    "line-break": "a\nb",
    "zero-width": "a\u200bb",
    "soft-hyphen": "a\u00adb",
    "right-to-left": "a\u202eb",
    "blank-before": " a",
    "blank-after": "a\u2003",
    "escape": "a\x1b[31mb",
    "null": "a\0b",
    "surrogate": "a\ud800b",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_that_is_not_what_it_looks_like_is_refused(name: str):
    line = problems(json.dumps(document(entry(name))))
    assert all(told.isprintable() for told in line)
    assert any("name" in told or "text may not contain" in told for told in line)


def test_a_name_may_have_any_letters_and_a_hundred_of_them():
    assert read(entry("模型 <b>&|`@team` ::error:: " + "x" * 70)).entries


def test_there_are_at_most_two_hundred_candidates():
    many = [entry(f"c{i}") for i in range(201)]
    assert len(read(*many[:200]).entries) == 200
    assert "candidates: must have at most 200 entries, got 201" in only(written(*many))
    assert "candidates: " in only(HEAD + "candidates: []\n")


HOSTILE = {
    "anchor": (HEAD + f"candidates: &a [{{name: x, candidate: '{TUNE}'}}]\n", "the anchor 'a'"),
    "alias": (HEAD + f"base: &b '{BASE}'\ncandidates: [{{name: x, candidate: *b}}]\n", "the alias"),
    "tag": (HEAD + "candidates: !!python/object:os.system []\n", "the tag"),
    "twice": (HEAD + f"base: '{BASE}'\nbase: '{OTHER}'\ncandidates: []\n", "is there twice"),
    "twice-inside": (
        HEAD + f"candidates: [{{name: x, name: y, candidate: '{TUNE}'}}]\n",
        "candidates.0: the key 'name' is there twice",
    ),
    "deep": (HEAD + "candidates: " + "[" * 5000 + "\n", "nested deeper than 16"),
    "two-documents": (HEAD + "---\n" + HEAD, "here a second one starts"),
    "a-list": ("- a\n", "the file holds a list"),
    "nothing": ("", "the file holds nothing"),
    "merge": (HEAD + "<<: {}\n", "the merge key"),
    "null": (HEAD + "candidates: ~\n", "has no value"),
    "number-name": (HEAD + f"candidates: [{{name: 3, candidate: '{TUNE}'}}]\n", "put it in quotes"),
    "direction": (HEAD + "# \u202e\n", "U\\+202E"),
    "no-utf-8": (b"\xff\xfe", "is not UTF-8"),
    "policy": ("apiVersion: sdi-gate/v1\nkind: Policy\n", "this is a policy, not a manifest"),
    "version": (HEAD.replace("v1", "v2"), "expected 'sdi-gate/v1'"),
}


@pytest.mark.parametrize(("content", "match"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_an_error_with_a_place(content: bytes | str, match: str):
    content = content if isinstance(content, bytes) else content.encode()
    with pytest.raises(UsageError, match=match) as caught:
        parse_manifest(content, "models.yml")
    assert all(line.isprintable() for line in caught.value.message.splitlines())


def test_a_file_of_ten_megabytes_is_refused_unread():
    with pytest.raises(UsageError, match="the manifest is larger than 1,000,000 bytes"):
        parse_manifest(b"#" * 10_000_000, "models.yml")


def test_a_policy_that_is_a_manifest_is_told_as_one():
    with pytest.raises(PolicyError, match="this is a manifest of candidates, not a policy"):
        parse_policy(written(), path="p.yml")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_an_error(content: bytes):
    try:
        found = parse_manifest(HEAD.encode() + content, "m.yml")
    except UsageError:
        return
    assert found.entries


def test_the_base_of_the_workflow_is_that_of_entries_without_one():
    assert with_base(read(entry()), BASE).entries[0].base == BASE
    assert with_base(read(entry(base=OTHER)), BASE).entries[0].base == OTHER
    check_base(with_base(read(entry(), base=BASE), BASE), BASE)


def test_an_entry_with_another_base_than_the_workflow_gives_is_refused():
    manifest = read(entry("one"), entry("two", base=OTHER), entry("three", candidate=BASE))
    with pytest.raises(UsageError, match="2 problems") as caught:
        check_base(with_base(manifest, BASE), BASE)
    _, first, second = caught.value.message.splitlines()
    assert first.startswith("models.yml:6:3: 'two': the workflow's input base is 'hf:org/base@")
    assert second.startswith("models.yml:9:3: 'three': the candidate is the base that the workflow")


def test_a_folder_is_told_from_a_repository():
    assert folder_of("file:models/tune") == "models/tune"
    assert folder_of(TUNE) is None
