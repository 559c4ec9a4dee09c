"""What file names and small JSON files say against a checkpoint."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING

import pytest
from checkpoint_files import INDEX, write_adapter, write_checkpoint, write_json

from sdi_gate.errors import AccessError, FormatError, IntegrityError
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.inspection import (
    check_contents,
    pin_files,
    read_json,
    readable,
    regular_files,
    shards_of,
    verify_unchanged,
)
from sdi_gate.models.listing import check_listing, is_weights
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.progress import NullProgress

if TYPE_CHECKING:
    from pathlib import Path

REF = ModelRef(scheme=Scheme.FILE, location="some/model")


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


INSPECTED = ["config.json", "generation_config.json", "tokenizer_config.json", INDEX]


@pytest.mark.parametrize("name", INSPECTED)
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is not JSON: Expecting value"),
        (b"{'a': 1}", "is not JSON: Expecting property name"),
        (b"\xff\xfe\xfa", "is not JSON: not UTF-8"),
        (b"[" * 100_000, "is not JSON: nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "is not JSON: Exceeds the limit"),
        (b"[1]", "is not a JSON object; got list"),
        (b"null", "is not a JSON object; got NoneType"),
        (b'{"a": 1, "a": 2}', "is not JSON: key 'a' stands in one object twice"),
        (b'{"a": NaN}', "is not JSON: NaN is no JSON number"),
        (b'{"a": ' * 99 + b"1" + b"}" * 99, "is nested deeper than 64 levels"),
    ],
    ids=["empty", "quotes", "bytes", "deep", "long", "list", "null", "twice", "nan", "nested"],
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


@pytest.mark.parametrize(
    "plain",
    [
        {"trust_remote_code": True},
        {"text_config": {"auto_map": {"AutoConfig": "evil.Config"}}},
        {"parts": [{"trust_remote_code": True}]},
    ],
    ids=["trust", "below", "in-a-list"],
)
def test_a_wish_to_run_code_is_found_at_every_depth(tmp_path, plain):
    folder = write_checkpoint(tmp_path)
    write_json(folder / "config.json", plain)
    with pytest.raises(
        FormatError, match=r"wants to run code .*\('(auto_map|trust_remote_code)' in"
    ):
        contents_of(folder)


def test_an_adapter_that_wants_remote_code_is_refused(tmp_path):
    folder = write_adapter(tmp_path)
    write_json(folder / "adapter_config.json", {"auto_map": {"AutoConfig": "evil.Config"}})
    with pytest.raises(FormatError, match=r"'auto_map' in 'adapter_config\.json'"):
        contents_of(folder)


def test_a_configuration_beside_an_adapter_is_not_read(tmp_path):
    folder = write_adapter(tmp_path)
    (folder / "config.json").write_bytes(b"{")
    assert contents_of(folder) is None


@pytest.mark.parametrize("plain", [{"auto_map": {}}, {"trust_remote_code": False}], ids=str)
def test_an_empty_wish_asks_for_nothing(tmp_path, plain):
    folder = write_checkpoint(tmp_path)
    write_json(folder / "config.json", plain)
    assert contents_of(folder) is None


def test_a_json_file_is_read_whole(tmp_path):
    write_json(tmp_path / "adapter_config.json", {"r": 8, "alpha": [1, 2.5, None]})
    found = read_json(tmp_path, "adapter_config.json", REF)
    assert found == {"r": 8, "alpha": [1, 2.5, None]}


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


def test_of_several_files_that_cannot_be_read_the_first_by_name_is_reported(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(AccessError, match=r"b' of file:some/model: No such file"):
        pin_files(tmp_path, ("d", "c", "b", "a"), REF, NullProgress())


def test_files_that_are_hashed_at_once_have_their_own_digests(tmp_path):
    contents = {f"f{number}": bytes([number]) * (number << 16) for number in range(12)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    files = pin_files(tmp_path, contents, REF, NullProgress())
    expected = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    assert {file.name: file.sha256 for file in files} == expected


def test_an_interrupt_while_files_are_hashed_leaves_no_thread(tmp_path):
    class Interrupting(NullProgress):
        def advance(self, stage: str, done: int, total: int, detail: str = "") -> None:
            del stage, total, detail
            if done == 1:
                raise KeyboardInterrupt

    for name in "abcdefgh":
        (tmp_path / name).write_bytes(b"1" * 100_000)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        pin_files(tmp_path, "abcdefgh", REF, Interrupting())
    assert not [t.name for t in threading.enumerate() if t.name.startswith("digest")]


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
