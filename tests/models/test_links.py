"""Links that stay and links that leave."""

from __future__ import annotations

import pytest
from checkpoint_files import cached_copy, write_checkpoint

from sdi_gate.errors import FormatError
from sdi_gate.models.links import check_links
from sdi_gate.models.ref import ModelRef

REF = ModelRef.parse("file:some/model")
NAME = "model.safetensors"


@pytest.fixture
def outside(tmp_path):
    path = tmp_path / "private"
    path.write_bytes(b"secret")
    return path


def refused(folder):
    with pytest.raises(FormatError, match=rf"'{NAME}' of file:some/model is a link that leaves"):
        check_links(folder, [NAME], REF)


@pytest.fixture
def cached(tmp_path):
    return cached_copy(write_checkpoint(tmp_path / "model"), tmp_path / "cache")


def relink(path, target):
    path.unlink()
    path.symlink_to(target)


def test_files_and_links_inside_a_folder_stay(tmp_path):
    folder = write_checkpoint(tmp_path / "model")
    (folder / "sub").mkdir()
    (folder / NAME).rename(folder / "sub" / "w")
    (folder / NAME).symlink_to("sub/w")
    assert check_links(folder, [NAME, "config.json"], REF) is None


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_a_link_out_of_a_folder_is_refused(tmp_path, outside, relative):
    folder = write_checkpoint(tmp_path / "model")
    relink(folder / NAME, "../private" if relative else outside)
    refused(folder)


def test_a_link_to_a_link_that_leaves_is_refused(tmp_path, outside):
    folder = write_checkpoint(tmp_path / "model")
    (folder / "hop").symlink_to(outside)
    relink(folder / NAME, "hop")
    refused(folder)


def test_a_link_to_a_neighbour_with_a_longer_name_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "model")
    other = write_checkpoint(tmp_path / "model-2")
    relink(folder / NAME, other / NAME)
    refused(folder)


def test_a_snapshot_of_the_hubs_cache_may_link_to_its_blobs(cached):
    assert check_links(cached, [NAME, "config.json"], REF) is None


def test_a_snapshot_may_be_reached_through_a_link(cached, tmp_path):
    (tmp_path / "model-link").symlink_to(cached)
    assert check_links(tmp_path / "model-link", [NAME], REF) is None


@pytest.mark.parametrize("place", ["blobs/ab/cd", "models--other--model/blobs/cd"])
def test_a_blob_may_itself_link_into_the_cache(cached, tmp_path, place):
    shared = tmp_path / "cache" / place
    shared.parent.mkdir(parents=True)
    blob = (cached / NAME).resolve()
    blob.rename(shared)
    blob.symlink_to(shared)
    assert check_links(cached, [NAME], REF) is None


def test_a_blob_that_links_out_of_the_cache_is_refused(cached, outside):
    relink((cached / NAME).resolve(), outside)
    refused(cached)


def test_a_blob_that_links_to_something_beside_the_repositories_is_refused(cached, tmp_path):
    # A folder that only looks like a cache opens nothing that lies around it.
    (tmp_path / "cache" / "private").write_bytes(b"secret")
    relink((cached / NAME).resolve(), tmp_path / "cache" / "private")
    refused(cached)


@pytest.mark.parametrize("target", ["../../../../private", "../../blobs/../../../private"])
def test_a_snapshot_that_links_elsewhere_is_refused(cached, outside, target):
    assert outside.exists()
    relink(cached / NAME, target)
    refused(cached)


def test_a_snapshot_that_links_past_its_blobs_is_refused(cached, tmp_path):
    other = cached_copy(write_checkpoint(tmp_path / "m2"), tmp_path / "cache", name="org--other")
    relink(cached / NAME, (other / NAME).resolve())
    refused(cached)


@pytest.mark.parametrize(
    "place",
    ["models--a--b/snapshots/main", "models--a--b/other/" + "c" * 40, "a/snapshots/" + "c" * 40],
)
def test_a_folder_that_is_no_snapshot_of_a_cache_is_held_to_itself(tmp_path, place):
    folder = write_checkpoint(tmp_path / place)
    blobs = folder.parent.parent / "blobs"
    blobs.mkdir()
    (folder / NAME).rename(blobs / "0")
    (folder / NAME).symlink_to("../../blobs/0")
    refused(folder)
