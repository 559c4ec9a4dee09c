import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from study_manifests import manifest_of, pair_of, plain_manifest, public_pair

from sdi_gate.errors import UsageError
from sdi_gate.models.ref import ModelRef
from sdi_gate.study.manifest import json_schema_text
from sdi_gate.study.manifest_file import (
    MAX_SIZE_BYTES,
    dump_manifest,
    load_manifest,
    parse_manifest,
    shipped_manifest,
    with_inputs,
)

SHIPPED = sorted(shipped_manifest("public").parent.glob("*.yaml"))
TEXT = """\
schema: 1
name: trial
population: public
scale: hub
status: not yet measured
probe: default
pairs:
- pair: a
  family: llama
  size: 1b
  base: {ref: "hf:o/base", revision: main, licence: mit}
  candidate: {ref: "hf:o/tune", revision: main, licence: mit}
  kind: domain
  variant: sft
  tokenizer: same
"""


def schema():
    return json.loads(json_schema_text())


def test_the_published_schema_of_a_manifest_is_that_of_the_code(assert_golden):
    assert_golden("docs/schema/manifest-v1.json", json_schema_text())
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_manifest_that_ships_is_valid_under_the_schema_and_to_the_code(path):
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema()).validate(plain)
    assert load_manifest(path).name == path.stem


def test_a_manifest_that_was_written_is_read_again():
    manifest = manifest_of(pair_of(recipe={"texts": {"replay": 0.5}, "layers": [1, 2], "on": True}))
    assert parse_manifest(dump_manifest(manifest), "again.yaml") == manifest
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(dump_manifest(manifest)))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("name: trial", "nam: trial", ["2:1: unknown key 'nam'", "1:1: name: Field required"]),
        ("kind: domain", "kind: bad", ["13:9: pairs.0.kind: Input should be 'domain'"]),
        ("size: 1b", "size: 1.5", ["10:9: pairs.0.size: Input should be a valid string"]),
        ("hf:o/tune", "gs:o/tune", ["12:20: pairs.0.candidate.ref: String should match"]),
        ("hf:o/tune", "hf:o/../x", ["12:14: pairs.0.candidate: Value error, not a Hub"]),
        ("hf:o/tune", "hf:o/t@v1", ["12:14: pairs.0.candidate: Value error, "]),
        ("hf:o/tune", "organism:a", ["12:14: pairs.0.candidate: Value error, organism:a"]),
        ("tokenizer: same", "tokenizer: same\n  mood: 1", ["16:3: pairs.0: unknown key 'mood'"]),
        ("tokenizer: same", "dose: .nan", ["15:9: expected a finite decimal number, got '.nan'"]),
        ("tokenizer: same", "dose: 010", ["15:9: expected a finite decimal number, got '010'"]),
        ("tokenizer: same", "notes: 2024-01-01", ["15:10: the value '2024-01-01' is of type"]),
        ("kind: domain", "pair: b", ["13:3: the key 'pair' is there twice"]),
        ("size: 1b", "size: &x 1b\n  notes: *x", ["anchors, aliases and deep nesting"]),
        ("size: 1b", "size: !!python/name:os.system x", ["10:9: the value 'x' is of type"]),
        ("size: 1b", "1: a", ["10:3: a key is text"]),
        ("schema: 1", "schema: [", ["not YAML"]),
        ("schema: 1", "--- a\n--- b", ["not YAML"]),
        ("status: not yet measured", "status: \x07", ["not YAML"]),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_wrong_is_named_with_file_line_and_column(before, after, expected):
    with pytest.raises(UsageError, match=re.escape("trial.yaml: the file cannot be used: ")) as got:
        parse_manifest(TEXT.replace(before, after), "trial.yaml")
    for text in expected:
        assert text in got.value.message
    assert parse_manifest(TEXT, "trial.yaml").pairs[0].pair == "a"


def test_a_pair_is_named_once():
    with pytest.raises(UsageError, match="the pair 'llama-s-0/noise-2' is there 2 times"):
        manifest_of(pair_of(), pair_of())


def test_a_list_or_nothing_is_no_manifest():
    for text in ("", "- 1", "a", "null"):
        with pytest.raises(UsageError, match=re.escape("x.yaml:1:1: ")):
            parse_manifest(text, "x.yaml")


def test_code_and_schema_refuse_the_same_keys():
    validator = jsonschema.Draft202012Validator(schema())
    plain = plain_manifest()
    assert validator.is_valid(plain)
    assert not validator.is_valid(plain | {"mood": 1})
    assert not validator.is_valid(plain_manifest(pair_of(mood=1)))
    assert not validator.is_valid(plain_manifest() | {"pairs": []})


def test_a_file_that_cannot_be_a_manifest_is_one_clear_error(tmp_path):
    with pytest.raises(UsageError, match="cannot read the manifest"):
        load_manifest(tmp_path / "nothing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(UsageError, match="not UTF-8 at byte 6"):
        load_manifest(tmp_path / "latin.yaml")
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(MAX_SIZE_BYTES + 1)
    with pytest.raises(UsageError, match="larger than 16,000,000 bytes"):
        load_manifest(tmp_path / "large.yaml")


def test_keys_follow_the_content_of_a_probe_and_of_tests_in_files(tmp_path):
    probe, tasks = tmp_path / "probe.jsonl", tmp_path / "tasks"
    tasks.mkdir()
    probe.write_text("one")
    (tasks / "truth.jsonl").write_text("one")
    manifest = manifest_of(probe=str(probe))
    first = with_inputs(manifest, tasks).settings.extra
    assert with_inputs(manifest, tasks).settings.extra == first
    probe.write_text("two")
    second = with_inputs(manifest, tasks).settings.extra
    (tasks / "truth.jsonl").write_text("two")
    third = with_inputs(manifest, tasks).settings.extra
    assert first["probe"] != second["probe"] == third["probe"]
    assert first["tasks"] == second["tasks"] != third["tasks"]
    assert with_inputs(manifest_of()) == manifest_of()
    with pytest.raises(UsageError, match="cannot read"):
        with_inputs(manifest_of(probe=str(tmp_path / "nothing.jsonl")))


def public():
    return load_manifest(shipped_manifest("public"))


def test_the_public_manifest_has_sixty_pairs_of_five_families_and_is_not_yet_measured():
    manifest = public()
    assert manifest.status == "not yet measured"
    assert len(manifest.pairs) >= 60
    assert {pair.family for pair in manifest.pairs} == {"llama", "mistral", "phi", "gemma", "qwen"}
    assert {pair.kind.value for pair in manifest.pairs} == {"domain", "instruction", "degraded"}
    for family in {pair.family for pair in manifest.pairs}:
        assert sum(pair.family == family for pair in manifest.pairs) >= 8
    for pair in manifest.pairs:
        assert 0.5 <= float(pair.size.removesuffix("b")) <= 9.3
        assert pair.confirmed is not None
        for model in (pair.base, pair.candidate):
            assert str(ModelRef.parse(model.reference)) == model.reference
            assert model.revision is not None
        assert pair.base.ref != pair.candidate.ref


def test_a_public_pair_is_there_once_and_a_base_has_one_licence():
    pairs = public().pairs
    assert len({(p.base.ref, p.candidate.ref) for p in pairs}) == len(pairs)
    licences = {}
    for model in (model for p in pairs for model in (p.base, p.candidate)):
        assert licences.setdefault(model.ref, model.licence) == model.licence


def test_the_public_manifest_says_that_revisions_are_pinned_when_first_measured():
    head = Path(shipped_manifest("public")).read_text(encoding="utf-8").split("schema:")[0]
    assert "main" in head
    assert "pinned at the first" in head


def test_a_reference_has_its_revision():
    manifest = manifest_of(public_pair("a", "o/base", "o/tune"), population="public", scale="hub")
    assert manifest.pairs[0].base.reference == "hf:o/base@main"
    assert manifest.pairs[0].cluster == "o/base"
