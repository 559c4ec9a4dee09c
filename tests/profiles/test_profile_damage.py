"""Files that were damaged, swapped, forged or replaced by links are as if they were not there."""

import json
import math
import os
import struct

import pytest
import torch
from stored_parts import (
    BASE,
    KEY,
    OTHER_BASE,
    OTHER_KEY,
    a_part,
    assert_same,
    description_of,
    forge,
    store_in,
    tensors_of,
    warnings_of,
)

from sdi_gate.errors import IntegrityError
from sdi_gate.profiles import files
from sdi_gate.profiles.files import check_folder, check_root, make_folder, open_file
from sdi_gate.profiles.parts import Part, PartKey


@pytest.fixture
def folder(tmp_path):
    store_in(tmp_path / "cache").save(KEY, a_part())
    return tmp_path / "cache"


@pytest.fixture
def is_absent_then_rebuilt(folder, caplog):
    """Check that a damaged part is absent with one warning, and that saving repairs it."""

    def check(*words, key=KEY):
        caplog.clear()
        assert store_in(folder).load(key) is None
        assert len(warnings_of(caplog)) == 1
        assert all(word in warnings_of(caplog)[0] for word in ("is not used", *words))
        store_in(folder).save(key, a_part(5.0))
        assert_same(store_in(folder).load(key), a_part(5.0))

    return check


def test_every_bit_of_the_description_counts(folder):
    path = description_of(folder)
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(bytes(damaged))
        assert store_in(folder).load(KEY) is None, place
    path.write_bytes(content)
    assert_same(store_in(folder).load(KEY), a_part())


def test_every_bit_of_the_tensors_counts(folder):
    path = tensors_of(folder)
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(bytes(damaged))
        assert store_in(folder).load(KEY) is None, place
    path.write_bytes(content)
    assert_same(store_in(folder).load(KEY), a_part())


@pytest.mark.parametrize("which", [description_of, tensors_of], ids=["JSON", "tensors"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99], ids=str)
def test_a_file_that_was_cut_short_is_absent(which, kept, folder, is_absent_then_rebuilt):
    path = which(folder)
    os.truncate(path, int(path.stat().st_size * kept))
    is_absent_then_rebuilt()


def test_a_file_that_grew_is_absent(folder, is_absent_then_rebuilt):
    with tensors_of(folder).open("ab") as file:
        file.write(b"\0")
    is_absent_then_rebuilt("bytes; expected")


def test_tensors_of_the_same_size_and_other_values_are_absent(folder, is_absent_then_rebuilt):
    path = tensors_of(folder)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    is_absent_then_rebuilt("which is not its name")


def test_a_description_without_its_tensors_is_absent(folder, is_absent_then_rebuilt):
    tensors_of(folder).unlink()
    is_absent_then_rebuilt("is absent")


def test_a_description_that_names_another_file_of_tensors_is_absent(folder, is_absent_then_rebuilt):
    store_in(folder).save(OTHER_KEY, a_part(2.0))
    path = description_of(folder)
    mine, theirs = tensors_of(folder).stem, tensors_of(folder, OTHER_KEY).stem
    path.write_text(path.read_text().replace(mine, theirs))
    is_absent_then_rebuilt("is damaged")


def test_facts_that_were_edited_are_absent(folder, is_absent_then_rebuilt):
    path = description_of(folder)
    plain = json.loads(path.read_text())
    plain["facts"]["value"] = 3.0
    path.write_text(json.dumps(plain, separators=(",", ":")))
    is_absent_then_rebuilt("is damaged")


def test_descriptions_that_were_swapped_between_keys_are_absent(folder, is_absent_then_rebuilt):
    store_in(folder).save(OTHER_KEY, a_part(2.0))
    mine, theirs = description_of(folder), description_of(folder, OTHER_KEY)
    contents = mine.read_bytes(), theirs.read_bytes()
    theirs.write_bytes(contents[0])
    mine.write_bytes(contents[1])
    is_absent_then_rebuilt("describes another part")
    is_absent_then_rebuilt("describes another part", key=OTHER_KEY)


def test_tensors_that_were_swapped_between_keys_are_absent(folder, is_absent_then_rebuilt):
    store_in(folder).save(OTHER_KEY, a_part(2.0))
    mine, theirs = tensors_of(folder), tensors_of(folder, OTHER_KEY)
    contents = mine.read_bytes(), theirs.read_bytes()
    theirs.write_bytes(contents[0])
    mine.write_bytes(contents[1])
    is_absent_then_rebuilt("which is not its name")
    is_absent_then_rebuilt("which is not its name", key=OTHER_KEY)


def test_the_profile_of_another_base_under_this_ones_name_is_absent(folder, is_absent_then_rebuilt):
    other = PartKey(OTHER_BASE, KEY.part, KEY.parameters)
    (folder / KEY.folder).rename(folder / other.folder)
    description_of(folder, KEY).parent.mkdir()
    for path in (folder / other.folder).iterdir():
        path.rename(folder / KEY.folder / path.name)
    (folder / KEY.folder / KEY.file).rename(folder / other.folder / other.file)
    is_absent_then_rebuilt("describes another part", key=other)


def one_tensor(shape, data):
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * math.prod(shape)]}
    header = json.dumps({"t": entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut short"),
        (b"\x80\x04K\x01.", "cut short"),
        (struct.pack("<Q", 2**63) + b"{}", "announces a header of 9,223,372,036,854,775,808 bytes"),
        (one_tensor([2**62], b""), "its header describes"),
        (one_tensor([1], struct.pack("<f", math.nan)), "values that are not finite"),
    ],
    ids=["empty", "pickle", "huge header", "huge tensor", "NaN"],
)
def test_tensors_with_a_right_digest_must_still_be_tensors(
    content, words, folder, is_absent_then_rebuilt
):
    forge(folder, content)
    is_absent_then_rebuilt(words)


def test_a_file_of_holes_is_not_read(folder, is_absent_then_rebuilt):
    path = tensors_of(folder)
    content = description_of(folder).read_bytes()
    os.truncate(path, 1 << 40)
    description_of(folder).write_bytes(content)
    is_absent_then_rebuilt("has 1,099,511,627,776 bytes")


def test_a_description_of_a_gigabyte_is_not_read_whole(folder, is_absent_then_rebuilt):
    os.truncate(description_of(folder), 1 << 30)
    is_absent_then_rebuilt("is longer than 16,777,216 bytes")


@pytest.mark.parametrize("which", [description_of, tensors_of], ids=["JSON", "tensors"])
def test_a_link_in_the_place_of_a_file_is_not_followed(
    which, folder, tmp_path, is_absent_then_rebuilt
):
    path = which(folder)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    is_absent_then_rebuilt()
    assert (tmp_path / "elsewhere").read_bytes() == before


@pytest.mark.parametrize("which", [description_of, tensors_of], ids=["JSON", "tensors"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(which, folder, is_absent_then_rebuilt):
    path = which(folder)
    path.unlink()
    os.mkfifo(path)
    is_absent_then_rebuilt("is no regular file")


def test_a_link_in_the_place_of_a_folder_is_neither_read_nor_written(folder, tmp_path, caplog):
    (folder / KEY.folder).rename(tmp_path / "elsewhere")
    (folder / KEY.folder).symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").iterdir())
    assert store_in(folder).load(KEY) is None
    store_in(folder).save(OTHER_KEY, a_part())
    assert sorted((tmp_path / "elsewhere").iterdir()) == before
    assert all("links are not followed" in text for text in warnings_of(caplog))
    assert len(warnings_of(caplog)) == 2


def test_a_cache_can_itself_be_reached_through_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert_same(store_in(tmp_path / "link").load(KEY), a_part())
    store_in(tmp_path / "link").save(OTHER_KEY, a_part(2.0))
    assert_same(store_in(folder).load(OTHER_KEY), a_part(2.0))


def test_files_and_folders_of_strangers_are_refused(folder):
    strangers = frozenset({4_000_000})
    with pytest.raises(IntegrityError, match="a stranger to this cache"):
        check_folder(folder / KEY.folder, strangers)
    with pytest.raises(IntegrityError, match="a stranger to this cache"):
        open_file(description_of(folder), strangers)


@pytest.mark.parametrize(
    ("which", "mode"),
    [
        (lambda folder: folder, 0o777),
        (lambda folder: folder, 0o775),
        (lambda folder: folder / KEY.folder, 0o757),
        (description_of, 0o646),
        (tensors_of, 0o664),
    ],
    ids=["cache, all", "cache, group", "folder", "description", "tensors"],
)
def test_what_another_user_owns_and_others_can_write_is_not_used(
    which, mode, folder, monkeypatch, caplog
):
    path = which(folder)
    path.chmod(mode)
    assert_same(store_in(folder).load(KEY), a_part())
    # From here on, all of it belongs to somebody else.
    monkeypatch.setattr(files.os, "geteuid", lambda: 4_000_000)
    assert store_in(folder).load(KEY) is None
    assert "and others can write to it" in warnings_of(caplog)[0]
    path.chmod(0o755)
    assert_same(store_in(folder).load(KEY), a_part())


def test_nothing_is_saved_where_others_can_write(folder, monkeypatch, caplog):
    folder.chmod(0o777)
    monkeypatch.setattr(files.os, "geteuid", lambda: 4_000_000)
    store_in(folder).save(OTHER_KEY, a_part())
    assert "and others can write to it" in warnings_of(caplog)[0]
    assert not description_of(folder, OTHER_KEY).exists()


def test_where_there_are_no_users_all_is_ones_own(folder, monkeypatch):
    folder.chmod(0o777)
    monkeypatch.delattr(files.os, "geteuid")
    assert check_root(folder) == {0, folder.stat().st_uid}
    assert_same(store_in(folder).load(KEY), a_part())


def test_a_folder_that_vanishes_again_and_again_is_said(tmp_path, monkeypatch, caplog):
    def vanishing(root, name):
        folder = make_folder(root, name)
        folder.rmdir()
        return folder

    monkeypatch.setattr(files, "make_folder", vanishing)
    store_in(tmp_path).save(KEY, a_part())
    assert "is removed as soon as it is made" in warnings_of(caplog)[0]


def test_a_folder_that_vanishes_once_is_made_again(tmp_path, monkeypatch):
    vanished = []

    def vanishing(root, name):
        folder = make_folder(root, name)
        if not vanished:
            vanished.append(folder)
            folder.rmdir()
        return folder

    monkeypatch.setattr(files, "make_folder", vanishing)
    store_in(tmp_path).save(KEY, a_part())
    assert_same(store_in(tmp_path).load(KEY), a_part())


def test_control_characters_in_facts_are_kept_as_escapes(folder):
    named = Part({"t": torch.zeros(1)}, {"name": "\x1b[31m"})
    key = PartKey(BASE, "probe")
    store_in(folder).save(key, named)
    assert b"\x1b" not in description_of(folder, key).read_bytes()
    assert_same(store_in(folder).load(key), named)
