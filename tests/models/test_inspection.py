"""What file names and small JSON files say against a checkpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from checkpoint_files import INDEX, write_checkpoint, write_json
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.errors import AccessError, ExitCode, FormatError, IntegrityError
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.inspection import (
    check_contents,
    check_listing,
    check_size,
    is_index,
    is_inspected,
    is_weights,
    pin_files,
    readable,
    regular_files,
    shards_of,
    verify_unchanged,
)
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.models.snapshot import is_wanted
from sdi_gate.progress import NullProgress

if TYPE_CHECKING:
    from pathlib import Path

REF = ModelRef(scheme=Scheme.FILE, location="some/model")
COMPLETE = ("config.json", "model.safetensors")


def test_config_and_weights_are_enough():
    assert check_listing(COMPLETE, REF) is None


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ((), r"^file:some/model holds no files; expected config\.json"),
        (("README.md",), r"holds no config\.json; expected a model in transformers format"),
        (("sub/config.json", "model.safetensors"), r"holds no config\.json"),
        (("config.json",), r"holds config\.json but no weights; expected \*\.safetensors"),
        (("config.json", "sub/model.safetensors"), r"holds config\.json but no weights"),
        (("config.json", INDEX), r"holds config\.json but no weights"),
        (
            ("config.json", "pytorch_model.bin"),
            r"no weights; expected .*, got 'pytorch_model\.bin', a format that can run code",
        ),
        (("adapter_config.json", "adapter_model.safetensors"), "adapters are not supported yet"),
        ((*COMPLETE, "adapter_config.json"), "adapters are not supported yet"),
        ((*COMPLETE, "a\nb.safetensors"), r"not safe to use: 'a\\nb\.safetensors'"),
        ((*COMPLETE, "..\\x.safetensors"), "a name that is not safe to use"),
        ((*COMPLETE, "\udcff.safetensors"), "a name that is not safe to use"),
    ],
    ids=[
        "empty",
        "no-config",
        "config-below",
        "no-weights",
        "weights-below",
        "index-only",
        "pickle-only",
        "adapter",
        "adapter-beside-model",
        "line-break",
        "backslash",
        "not-utf8",
    ],
)
def test_a_listing_that_cannot_be_read_is_refused(names, text):
    with pytest.raises(FormatError, match=text) as caught:
        check_listing(names, REF)
    assert caught.value.hint
    assert caught.value.exit_code is ExitCode.SOURCE


def test_a_pickled_checkpoint_is_told_to_be_saved_as_safetensors():
    with pytest.raises(FormatError, match=r"'model\.pt'") as caught:
        check_listing(("config.json", "model.pt"), REF)
    assert "safe_serialization=True" in caught.value.hint


def test_pickles_beside_safetensors_do_not_matter():
    assert check_listing((*COMPLETE, "training_args.bin", "optimizer.pt"), REF) is None


KNOWN = ["config.json", "model.safetensors", INDEX, "adapter_config.json", "model.bin", "a.py"]


@given(st.lists(st.sampled_from(KNOWN) | st.text(max_size=30).map("{}.safetensors".format)))
def test_what_is_accepted_has_config_and_weights_and_no_adapter(names):
    try:
        check_listing(names, REF)
        accepted = True
    except FormatError:
        accepted = False
    complete = "config.json" in names and any(map(is_weights, names))
    safe = all(name.isprintable() and "\\" not in name for name in filter(is_wanted, names))
    assert accepted == (complete and safe and "adapter_config.json" not in names)


@pytest.mark.parametrize(
    ("name", "limit"),
    [("config.json", 10_000_000), ("tokenizer_config.json", 10_000_000), (INDEX, 100_000_000)],
)
def test_an_inspected_file_has_a_largest_size(name, limit):
    check_size(name, limit, REF)
    with pytest.raises(FormatError, match=rf"'{name}' of file:some/model .* got {limit + 1:,}"):
        check_size(name, limit + 1, REF)


def test_weights_have_no_largest_size():
    assert check_size("model.safetensors", 1 << 50, REF) is None


def test_inspected_files_are_wanted_ones():
    names = ["config.json", "tokenizer_config.json", INDEX, "model.safetensors", "x/config.json"]
    assert [name for name in names if is_inspected(name)] == names[:3]
    assert all(is_wanted(name) for name in filter(is_inspected, names))
    assert [name for name in names if is_index(name)] == [INDEX]
    assert [name for name in names if is_weights(name)] == ["model.safetensors"]


@pytest.mark.parametrize("shards", [1, 3])
def test_a_sound_checkpoint_is_accepted(tmp_path, shards):
    folder = write_checkpoint(tmp_path, shards=shards)
    names = regular_files(folder)
    check_listing(names, REF)
    check_contents(folder, names, REF)
    assert len(list(filter(is_weights, names))) == shards


def test_a_checkpoint_without_a_tokenizer_is_accepted(tmp_path):
    folder = write_checkpoint(tmp_path)
    (folder / "tokenizer_config.json").unlink()
    assert check_contents(folder, regular_files(folder), REF) is None


def contents_of(folder: Path) -> None:
    check_contents(folder, regular_files(folder), REF)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", INDEX])
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is not JSON: Expecting value"),
        (b"{'a': 1}", "is not JSON: Expecting property name"),
        (b"\xff\xfe\xfa", "is not JSON: UnicodeDecodeError"),
        (b"[" * 100_000, "is not JSON: RecursionError"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "is not JSON: ValueError"),
        (b"[1]", "is not a JSON object; got list"),
        (b"null", "is not a JSON object; got NoneType"),
    ],
    ids=["empty", "quotes", "bytes", "deep", "long-number", "list", "null"],
)
def test_damaged_json_is_named(tmp_path, name, content, text):
    folder = write_checkpoint(tmp_path, shards=2)
    (folder / name).write_bytes(content)
    with pytest.raises(FormatError, match=f"'{name}' of file:some/model {text}"):
        contents_of(folder)


def test_a_huge_configuration_is_not_even_read(tmp_path):
    folder = write_checkpoint(tmp_path)
    with (folder / "config.json").open("wb") as file:
        file.truncate(10_000_001)
    with pytest.raises(FormatError, match="expected at most 10,000,000 bytes, got 10,000,001"):
        contents_of(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_that_wants_remote_code_is_refused(tmp_path, name):
    folder = write_checkpoint(tmp_path)
    write_json(folder / name, {"auto_map": {"AutoConfig": "evil.Config"}})
    with pytest.raises(FormatError, match=f"'auto_map' in '{name}'") as caught:
        contents_of(folder)
    assert "without auto_map" in caught.value.hint


def test_an_empty_auto_map_asks_for_nothing(tmp_path):
    folder = write_checkpoint(tmp_path)
    write_json(folder / "config.json", {"auto_map": {}})
    assert contents_of(folder) is None


def test_a_missing_shard_is_named_and_counted(tmp_path):
    folder = write_checkpoint(tmp_path, shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    (folder / "model-00003-of-00003.safetensors").unlink()
    text = rf"lacks 'model-00002-of-00003\.safetensors', which '{INDEX}' names; 2 of its shards"
    with pytest.raises(FormatError, match=text):
        contents_of(folder)


@pytest.mark.parametrize(
    "shard",
    [
        "../other/model.safetensors",
        "/etc/passwd",
        "sub/model.safetensors",
        "pytorch_model-00001.bin",
        "",
        7,
        None,
    ],
    ids=repr,
)
def test_an_index_that_points_elsewhere_is_refused(tmp_path, shard):
    folder = write_checkpoint(tmp_path, shards=2)
    write_json(folder / INDEX, {"weight_map": {"a.weight": shard}})
    with pytest.raises(FormatError, match=r"maps tensor 'a\.weight' to .*; expected the name"):
        contents_of(folder)


@pytest.mark.parametrize("value", [{}, {"weight_map": {}}, {"weight_map": []}], ids=json.dumps)
def test_an_index_that_maps_nothing_is_refused(tmp_path, value):
    write_json(tmp_path / INDEX, value)
    with pytest.raises(FormatError, match=r"maps no tensors; expected an object 'weight_map'"):
        shards_of(tmp_path / INDEX, REF)


def test_pinning_ends_its_stage_and_names_what_is_in_hand(tmp_path):
    calls = []

    class Recorder(NullProgress):
        def advance(self, stage: str, done: int, total: int, detail: str = "") -> None:
            calls.append((stage, done, total, detail))

    (tmp_path / "b").write_bytes(b"12")
    (tmp_path / "a").write_bytes(b"")
    files = pin_files(tmp_path, ("b", "a"), REF, Recorder())
    assert [(file.name, file.size_bytes) for file in files] == [("a", 0), ("b", 2)]
    assert calls == [("digest", 0, 2, "a"), ("digest", 1, 2, "b"), ("digest", 2, 2, "")]


def test_a_failure_to_read_names_file_model_and_reason(tmp_path):
    with pytest.raises(AccessError, match="gone' of file:some/model: No such file"), readable(REF):
        (tmp_path / "gone").stat()


@pytest.mark.parametrize(
    ("name", "key"),
    [("config.json", "configuration_files"), ("tokenizer_config.json", "fast_tokenizer_files")],
)
def test_a_file_that_sends_transformers_to_other_files_is_refused(tmp_path, name, key):
    folder = write_checkpoint(tmp_path / "m")
    path = folder / name
    plain = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**plain, key: ["other.json"]}))
    ref = ModelRef.parse(f"file:{folder}")
    with pytest.raises(FormatError, match=rf"names other files to load \('{key}'\)"):
        FolderSource().fetch(ref, NullProgress())


def test_a_file_that_changes_after_it_was_hashed_is_an_integrity_error(tmp_path):
    folder = write_checkpoint(tmp_path / "m")
    pinned = FolderSource().fetch(ModelRef.parse(f"file:{folder}"), NullProgress())
    verify_unchanged(pinned, pinned)
    twin = folder / "model.safetensors.new"
    twin.write_bytes((folder / "model.safetensors").read_bytes())
    twin.replace(folder / "model.safetensors")
    with pytest.raises(IntegrityError, match=r"'model\.safetensors' of .* changed while it was"):
        verify_unchanged(pinned)
