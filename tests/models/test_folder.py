"""`FolderSource` on real folders."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from checkpoint_files import write_checkpoint, write_json

from sdi_gate.errors import AccessError, FormatError, NotFoundError
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import ModelRef
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


def test_links_to_regular_files_are_followed_as_in_the_hubs_cache(tmp_path):
    blobs = write_checkpoint(tmp_path / "blobs")
    links = tmp_path / "snapshot"
    links.mkdir()
    for path in blobs.iterdir():
        (links / path.name).symlink_to(os.path.relpath(path, links))
    assert fetch(links).files == fetch(blobs).files


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
