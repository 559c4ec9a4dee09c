"""`FolderSource` on real folders."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

import pytest
from checkpoint_files import (
    cached_copy,
    write_adapter,
    write_checkpoint,
    write_json,
    write_weights,
)

from sdi_gate.errors import AccessError, FormatError, IntegrityError, NotFoundError
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.inspection import verify_unchanged
from sdi_gate.models.ref import ModelRef
from sdi_gate.models.snapshot import SnapshotKind
from sdi_gate.progress import NullProgress


def fetch(folder):
    return FolderSource().fetch(ModelRef.parse(f"file:{folder}"), NullProgress())


def test_a_folder_is_pinned_by_the_digests_of_its_wanted_files(tmp_path):
    folder = write_checkpoint(tmp_path / "model", shards=2)
    (folder / "notes.txt").write_text("unwanted", encoding="utf-8")
    (folder / "training_args.bin").write_bytes(b"unwanted")
    snapshot = fetch(folder)
    assert snapshot.commit is None
    assert snapshot.folder == folder
    assert [file.name for file in snapshot.files] == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for file in snapshot.files:
        content = (folder / file.name).read_bytes()
        assert file.size_bytes == len(content)
        assert file.sha256 == hashlib.sha256(content).hexdigest()


def test_a_relative_folder_is_pinned_to_where_it_is(tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert fetch("model").folder == tmp_path / "model"


def test_another_weight_is_another_model_and_another_name_is_not(tmp_path):
    first = fetch(write_checkpoint(tmp_path / "a", seed=1))
    assert fetch(write_checkpoint(tmp_path / "b", seed=1)).digest == first.digest
    assert fetch(write_checkpoint(tmp_path / "c", seed=2)).digest != first.digest


def test_links_are_followed_in_a_snapshot_of_the_hubs_cache(tmp_path):
    model = write_checkpoint(tmp_path / "model", shards=2)
    assert fetch(cached_copy(model, tmp_path / "cache")).files == fetch(model).files


def test_the_folder_itself_may_be_a_link(tmp_path):
    model = write_checkpoint(tmp_path / "model")
    (tmp_path / "latest").symlink_to("model")
    assert fetch(tmp_path / "latest").files == fetch(model).files


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_link_that_leaves_the_folder_is_refused(tmp_path, name):
    model = write_checkpoint(tmp_path / "model")
    (model / name).rename(tmp_path / name)
    (model / name).symlink_to(f"../{name}")
    with pytest.raises(
        FormatError, match=f"'{name}' of .* is a link that leaves the model's folder"
    ):
        fetch(model)


def test_folders_pipes_and_dangling_links_are_not_files(tmp_path):
    folder = write_checkpoint(tmp_path / "model")
    expected = fetch(folder).files
    (folder / "folder.safetensors").mkdir()
    (folder / "dangling.safetensors").symlink_to(folder / "nowhere")
    (folder / "loop.safetensors").symlink_to(folder / "loop.safetensors")
    os.mkfifo(folder / "pipe.safetensors")
    assert fetch(folder).files == expected


def test_a_dangling_link_to_weights_is_missing_weights(tmp_path):
    folder = write_checkpoint(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "nowhere")
    with pytest.raises(FormatError, match=r"holds config\.json but no weights"):
        fetch(folder)


def test_a_folder_that_does_not_exist_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match=r"no such folder: '.*/nowhere'") as caught:
        fetch(tmp_path / "nowhere")
    assert "~ is not expanded" in caught.value.hint


def test_a_link_to_itself_is_not_found(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(NotFoundError, match="no such folder"):
        fetch(tmp_path / "loop")


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(NotFoundError, match="is a file; expected the folder"):
        fetch(tmp_path / "model.safetensors")


def test_a_name_that_no_disk_takes_cannot_be_read():
    with pytest.raises(AccessError, match="File name too long"):
        fetch("x" * 5_000)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FormatError, match="holds no files"):
        fetch(tmp_path)


def test_contents_are_checked_before_weights_are_hashed(tmp_path):
    folder = write_checkpoint(tmp_path / "model")
    write_json(folder / "config.json", {"auto_map": {"AutoModel": "x.X"}})
    with pytest.raises(FormatError, match="wants to run code"):
        fetch(folder)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("iterdir", "model"),
        ("read_bytes", "config.json"),
        ("open", "model.safetensors"),
    ],
    ids=["folder", "configuration", "weights"],
)
def test_what_may_not_be_read_is_named(tmp_path, monkeypatch, method, name):
    # Simulated: the superuser, as whom containers run, may read everything.
    folder = write_checkpoint(tmp_path / "model")
    original = getattr(Path, method)

    def refuse(path, *args, **kwargs):
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(AccessError, match=f"cannot read '.*{name}' of file:.*: Permission denied"):
        fetch(folder)


def refuse_to_hash(monkeypatch):
    def hashed(path):
        raise AssertionError(path)

    monkeypatch.setattr("sdi_gate.models.inspection.sha256_of", hashed)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "chat_template.jinja"])
def test_a_giant_tokenizer_file_is_refused_before_anything_is_hashed(tmp_path, monkeypatch, name):
    folder = write_checkpoint(tmp_path / "model")
    with (folder / name).open("wb") as file:
        file.truncate(1 << 40)
    refuse_to_hash(monkeypatch)
    with pytest.raises(FormatError, match=f"'{name}' of .* is too large: expected at most"):
        fetch(folder)


def test_a_damaged_header_is_refused_before_anything_is_hashed(tmp_path, monkeypatch):
    folder = write_checkpoint(tmp_path / "model")
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1 << 29)
    refuse_to_hash(monkeypatch)
    with pytest.raises(FormatError, match="bytes of data that no tensor describes"):
        fetch(folder)


def test_a_file_of_holes_is_refused_before_anything_is_hashed(tmp_path, monkeypatch):
    # Its header is sound: hashing a terabyte of nothing would take an hour.
    folder = write_checkpoint(tmp_path / "model")
    size = 1 << 40
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    refuse_to_hash(monkeypatch)
    with pytest.raises(FormatError, match=r"'model\.safetensors' of .* is a file of holes"):
        fetch(folder)


# Adapters and GGUF.


def test_an_adapter_is_pinned_without_a_configuration_of_a_model(tmp_path):
    folder = write_adapter(tmp_path / "adapter")
    write_json(folder / "config.json", {"auto_map": "ignored"})
    write_json(folder / "tokenizer_config.json", {})
    snapshot = fetch(folder)
    assert (snapshot.kind, snapshot.carrier) == (SnapshotKind.ADAPTER, None)
    assert [file.name for file in snapshot.files] == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer_config.json",
    ]


def test_another_scale_is_another_adapter(tmp_path):
    digests = {fetch(write_adapter(tmp_path / f"{a}", alpha=a)).digest for a in (4, 8)}
    assert len(digests) == 2


def test_a_gguf_model_is_pinned_with_its_configuration(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model-Q8_0.gguf").write_bytes(b"GGUF")
    snapshot = fetch(folder)
    assert snapshot.kind is SnapshotKind.GGUF
    assert [file.name for file in snapshot.files] == ["model-Q8_0.gguf"]


# What MLflow stores.


def mlflow(folder, *, carried=True):
    write_adapter(folder / "peft")
    (folder / "MLmodel").write_text("flavors: {}", encoding="utf-8")
    if carried:
        write_checkpoint(folder / "model")
    return folder


def test_an_adapter_that_mlflow_stored_is_carried_by_the_model_beside_it(tmp_path):
    folder = mlflow(tmp_path / "run")
    snapshot = fetch(folder)
    assert str(snapshot.ref) == f"file:{folder}"
    assert (snapshot.kind, snapshot.folder) == (SnapshotKind.ADAPTER, folder / "peft")
    assert snapshot.carrier.kind is SnapshotKind.FULL
    assert snapshot.carrier.files == fetch(folder / "model").files
    assert snapshot.digest != fetch(folder / "peft").digest


def test_an_adapter_that_mlflow_stored_alone_has_no_carrier(tmp_path):
    assert fetch(mlflow(tmp_path / "run", carried=False)).carrier is None


def test_a_carrier_that_changes_is_an_integrity_error(tmp_path):
    snapshot = fetch(mlflow(tmp_path / "run"))
    verify_unchanged(snapshot)
    write_weights(tmp_path / "run/model/model.safetensors", seed=9)
    with pytest.raises(IntegrityError, match=r"'model\.safetensors' of file:.*/run/model changed"):
        verify_unchanged(snapshot)


def test_a_carrier_is_inspected_as_every_model_is(tmp_path):
    folder = mlflow(tmp_path / "run")
    write_json(folder / "model/config.json", {"auto_map": {"AutoModel": "x.X"}})
    with pytest.raises(FormatError, match=r"file:.*/run/model wants to run code"):
        fetch(folder)


def test_a_carrier_that_is_an_adapter_itself_is_refused(tmp_path):
    folder = mlflow(tmp_path / "run", carried=False)
    write_adapter(folder / "model")
    with pytest.raises(FormatError, match="holds weights of kind adapter; expected a full model"):
        fetch(folder)


@pytest.mark.parametrize("part", ["peft", "model"])
def test_a_part_that_is_a_link_to_elsewhere_is_refused(tmp_path, part):
    folder = mlflow(tmp_path / "run")
    (folder / part).rename(tmp_path / part)
    (folder / part).symlink_to(tmp_path / part)
    with pytest.raises(FormatError, match=f"'{part}' of .* is a link that leaves"):
        fetch(folder)


def test_a_full_model_that_mlflow_stored_is_to_be_given_by_its_own_folder(tmp_path):
    write_checkpoint(tmp_path / "run/model")
    (tmp_path / "run/MLmodel").write_text("flavors: {}", encoding="utf-8")
    with pytest.raises(FormatError, match=r"is a model as MLflow stores it") as caught:
        fetch(tmp_path / "run")
    assert str(tmp_path / "run/model") in caught.value.hint
