"""Hostile and broken models: none crashes, hangs, fills the memory or passes; each is named."""

from __future__ import annotations

import json
import re

import builders
import pytest
from checkpoint_files import cached_copy
from tiny_models import WEIGHTS

from sdi_gate.models.weights import Checkpoint

REFUSED = {
    "truncated-file": "not a whole safetensors file",
    "empty-file": "expected at least 8 bytes, got 0",
    "header-length-over-file": r"announces a header of [\d,]+ bytes, and [\d,]+ bytes follow",
    "header-length-over-bound": r"announces a header of [\d,]+ bytes; expected at most 100,000,000",
    "header-not-json": "the header of .* is not JSON",
    "header-duplicate-keys": f"key '{builders.UP}' stands in one object twice",
    "overlapping-offsets": "overlaps another: it begins at byte",
    "out-of-range-offsets": r"ends at byte [\d,]+ of the data, and [\d,]+ bytes are there",
    "hole-between-tensors": "holds 16 bytes of data that no tensor describes",
    "dtype-and-shape-disagree": f"tensor '{builders.UP}' .* elements of F16, which take",
    "shape-overflow": f"tensor '{builders.UP}' .* has a shape that overflows",
    "unknown-dtype": "stored as 'F12', a type that safetensors does not have",
    "weights-of-holes": "is a file of holes",
    "index-points-outside": r"maps tensor .* to '\.\./\.\./private/model\.safetensors'; expected",
    "index-missing-shard": f"lacks '{builders.SHARDS[1]}'",
    "index-twice-one-tensor": f"key '{builders.UP}' stands in one object twice",
    "index-disagrees-with-shard": f"maps tensor '{builders.UP}' to .*; it is in",
    "duplicate-json-keys": "key 'model_type' stands in one object twice",
    "deeply-nested-json": r"'config\.json' of .* is not JSON: nested too deeply",
    "nested-json": "is nested deeper than 64 levels",
    "many-parts-json": r"has [\d,]+ parts; expected at most 3,000,000",
    "config-absurd-layers": "'num_hidden_layers' is 1000000000; expected at most 1,000,000",
    "config-absurd-vocabulary": "'vocab_size' is 1000000000000; expected at most 10,000,000",
    "config-absurd-sizes-below": "'num_experts' is 100000000; expected at most 1,000,000",
    "config-negative-count": "'num_attention_heads' is -2; expected an integer from 0",
    "auto-map": "wants to run code from its own repository .'auto_map'",
    "auto-map-of-the-tokenizer": r"wants to run code .*'auto_map' in 'tokenizer_config\.json'",
    "trust-remote-code": "wants to run code from its own repository .'trust_remote_code'",
    "symlink-leaves-folder": f"'{WEIGHTS}' of .* is a link that leaves the model's folder",
    "giant-tokenizer": r"'tokenizer\.json' of .* is too large: expected at most 200,000,000",
}
COLLAPSED = "1 tensors of the candidate vanish or have constant rows where the base's do not"
# The files are sound and the numbers are not: what the report must say of each.
JUDGED = {
    "nan-weights": "NaN or infinity",
    "inf-weights": "NaN or infinity",
    "denormal-weights": COLLAPSED,
    "all-zeros": COLLAPSED,
    "all-zeros-everywhere": COLLAPSED.replace("1", "21"),
    "constant-rows": COLLAPSED,
}


def build(flaw, folder):
    getattr(builders, flaw.replace("-", "_"))(folder)


def assert_refused(ended, words):
    shown = f"exit code {ended.code}\n{ended.out}\n{ended.err}"
    errors = [line for line in ended.err.splitlines() if line.startswith("sdi-gate: error: ")]
    assert ended.code in {4, 5}, shown
    assert ended.out == "", shown
    assert len(errors) == 1, shown
    assert "Traceback" not in ended.err, shown
    assert "internal error" not in ended.err, shown
    assert re.search(words, " ".join(ended.err.split())), shown


@pytest.mark.parametrize(("flaw", "words"), REFUSED.items(), ids=REFUSED)
def test_a_hostile_candidate_is_refused_in_one_sentence(flaw, words, judge, candidate, tmp_path):
    build(flaw, candidate)
    assert_refused(judge(candidate), words)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("flaw", ["truncated-file", "auto-map", "config-absurd-layers"])
def test_a_hostile_base_is_refused_as_well(flaw, judge, sound, candidate):
    build(flaw, candidate)
    assert_refused(judge(sound, base=candidate), REFUSED[flaw])


@pytest.mark.parametrize("tier", ["weights", "probe"])
@pytest.mark.parametrize(("flaw", "words"), JUDGED.items(), ids=JUDGED)
def test_unsound_numbers_never_pass_and_are_named(flaw, words, tier, judge, candidate, tmp_path):
    build(flaw, candidate)
    ended = judge(candidate, tier=tier)
    shown = f"exit code {ended.code}\n{ended.out}\n{ended.err}"
    assert ended.code in {4, 5, 10, 11}, shown
    assert "internal error" not in ended.err, shown
    if ended.code in {10, 11}:
        assert json.loads((tmp_path / "out/result.json").read_text())["verdict"]["status"] != "pass"
    assert re.search(words, " ".join(ended.out.split())), shown


@pytest.mark.parametrize("flaw", ["zero-length-tensor", "extra-zero-length-tensor"])
def test_a_tensor_of_no_length_never_passes_in_silence(flaw, judge, candidate):
    build(flaw, candidate)
    ended = judge(candidate)
    shown = f"exit code {ended.code}\n{ended.out}\n{ended.err}"
    assert "internal error" not in ended.err, shown
    assert not ended.out.startswith("PASS"), shown
    assert ended.code in {4, 5, 10, 11}, shown


def test_a_file_that_changes_while_it_is_read_is_refused(judge, candidate, monkeypatch):
    original = Checkpoint.read

    def read(checkpoint, info):
        tensor = original(checkpoint, info)
        if checkpoint._snapshot.folder == candidate:
            content = (candidate / WEIGHTS).read_bytes()
            (candidate / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        return tensor

    monkeypatch.setattr(Checkpoint, "read", read)
    assert_refused(judge(candidate), f"'{WEIGHTS}' of .* changed while it was measured")


def test_a_file_that_shrinks_while_it_is_read_is_refused(judge, candidate, monkeypatch):
    original = Checkpoint.read

    def read(checkpoint, info):
        tensor = original(checkpoint, info)
        if checkpoint._snapshot.folder == candidate:
            (candidate / WEIGHTS).write_bytes(b"")
        tensor.sum()  # A mapped tensor would end the process here.
        return tensor

    monkeypatch.setattr(Checkpoint, "read", read)
    assert_refused(judge(candidate), f"'{WEIGHTS}' of .* changed while it was measured")


def test_a_snapshot_of_the_hubs_cache_is_all_links_and_passes(judge, sound, tmp_path):
    ended = judge(cached_copy(sound, tmp_path / "cache"))
    assert ended.code == 0, ended.err
    assert ended.out.startswith("PASS"), ended.out


def test_a_cache_whose_links_leave_it_is_refused(judge, sound, tmp_path):
    links = cached_copy(sound, tmp_path / "cache")
    (links / WEIGHTS).unlink()
    (links / WEIGHTS).symlink_to(sound / WEIGHTS)
    assert_refused(judge(links), REFUSED["symlink-leaves-folder"])


def test_every_builder_has_its_test():
    flaws = {
        name.replace("_", "-")
        for name, value in vars(builders).items()
        if getattr(value, "__module__", "") == "builders" and not name.startswith("_")
    }
    assert flaws == {*REFUSED, *JUDGED, "zero-length-tensor", "extra-zero-length-tensor"}
