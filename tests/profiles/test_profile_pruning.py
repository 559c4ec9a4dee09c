import os
import time

import pytest
from stored_parts import (
    BASE,
    KEY,
    OTHER_BASE,
    OTHER_KEY,
    a_part,
    description_of,
    store_in,
    tensors_of,
)

from sdi_gate.errors import IntegrityError
from sdi_gate.profiles import listing, pruning
from sdi_gate.profiles.files import TEMPORARY
from sdi_gate.profiles.listing import list_profiles
from sdi_gate.profiles.parts import PartKey
from sdi_gate.profiles.pruning import Limits, Pruned, make_room, prune

THIRD_KEY = PartKey(OTHER_BASE, "probe")
KEYS = (KEY, OTHER_KEY, THIRD_KEY)
NOW = float(int(time.time()))
HOUR = 3600.0


@pytest.fixture
def folder(tmp_path):
    """Three parts, used one, two and three hours ago."""
    for hours, key in enumerate(KEYS, 1):
        store_in(tmp_path / "cache").save(key, a_part(float(hours)))
        for path in (description_of, tensors_of):
            os.utime(path(tmp_path / "cache", key), (NOW - hours * HOUR,) * 2)
    return tmp_path / "cache"


def keys_in(folder):
    return {entry.key for entry in list_profiles(folder)}


def sizes_in(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_folder_that_is_absent_has_no_profiles_and_nothing_to_prune(tmp_path):
    assert list_profiles(tmp_path / "absent") == ()
    assert prune(tmp_path / "absent", Limits()) == Pruned(parts=0, freed_bytes=0)


def test_every_part_is_listed_with_its_key_its_size_and_its_last_use(folder):
    entries = list_profiles(folder)
    assert {entry.key for entry in entries} == set(KEYS)
    assert [(entry.base, entry.part) for entry in entries] == [
        (BASE, "spectra"),
        (BASE, "spectra"),
        (OTHER_BASE, "probe"),
    ]
    assert sum(entry.size_bytes for entry in entries) == sizes_in(folder)
    assert {entry.key: entry.last_used_s for entry in entries}[OTHER_KEY] == NOW - 2 * HOUR
    assert all(entry.problem == "" for entry in entries)


def test_listing_is_no_use(folder):
    list_profiles(folder)
    assert description_of(folder).stat().st_mtime == NOW - HOUR


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        (Limits(), set()),
        (Limits(older_than_s=2.5 * HOUR), {KEY, OTHER_KEY}),
        (Limits(older_than_s=0.0), set()),
        (Limits(older_than_s=1e9), set(KEYS)),
        (Limits(keep_bytes=1 << 40), set(KEYS)),
        (Limits(keep_bytes=0), set()),
        (Limits(base=BASE), {THIRD_KEY}),
        (Limits(base=OTHER_BASE), {KEY, OTHER_KEY}),
        (Limits(base=BASE, older_than_s=1.5 * HOUR), {KEY, THIRD_KEY}),
        (Limits(base="sha256:" + "c" * 64), set(KEYS)),
    ],
    # The text of a set has another order in each process.
    ids=lambda value: str(value) if isinstance(value, Limits) else f"{len(value)}-left",
)
def test_what_is_asked_to_go_goes_and_nothing_else(limits, left, folder):
    before = sizes_in(folder)
    pruned = prune(folder, limits, NOW)
    assert keys_in(folder) == left
    assert pruned == Pruned(parts=3 - len(left), freed_bytes=before - sizes_in(folder))
    assert all(store_in(folder).load(key) is not None for key in left)
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 2 * len(left)
    assert {path.name for path in folder.iterdir()} == {key.folder for key in left}


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_what_was_not_used_for_longest_goes_first(kept, folder):
    sizes = {entry.key: entry.size_bytes for entry in list_profiles(folder)}
    enough = sum(sizes[key] for key in KEYS[:kept])
    prune(folder, Limits(keep_bytes=enough), NOW)
    assert keys_in(folder) == set(KEYS[:kept])


def test_room_is_made_only_where_there_is_too_little(folder):
    make_room(folder, sizes_in(folder))
    assert keys_in(folder) == set(KEYS)
    make_room(folder, sizes_in(folder) - 1)
    assert keys_in(folder) == {KEY, OTHER_KEY}


def test_tensors_that_another_part_needs_stay(folder):
    store_in(folder).save(OTHER_KEY, a_part(1.0))
    os.utime(description_of(folder), (0, 0))
    prune(folder, Limits(older_than_s=10 * HOUR), NOW)
    assert keys_in(folder) == {OTHER_KEY, THIRD_KEY}
    assert store_in(folder).load(OTHER_KEY) is not None


def test_tensors_that_are_written_again_while_their_part_is_removed_stay(folder, monkeypatch):
    remove, saved = pruning._remove, []

    def and_save(path):
        size_bytes = remove(path)
        if not saved:
            saved.append(path)
            store_in(folder).save(KEY, a_part(1.0))
            # Not yet described: the other process is about to.
            description_of(folder).rename(folder / "held")
        return size_bytes

    monkeypatch.setattr(pruning, "_remove", and_save)
    prune(folder, Limits(base=BASE, older_than_s=0.5 * HOUR), NOW)
    (folder / "held").rename(description_of(folder))
    assert store_in(folder).load(KEY) is not None


def test_tensors_without_a_description_go_when_they_are_old_enough(folder):
    description_of(folder).unlink()
    tensors = set((folder / KEY.folder).glob("*.safetensors"))
    prune(folder, Limits(older_than_s=1e9), NOW - 0.5 * HOUR)
    assert set((folder / KEY.folder).glob("*.safetensors")) == tensors
    prune(folder, Limits(older_than_s=1e9), NOW + HOUR)
    assert len(set((folder / KEY.folder).glob("*.safetensors"))) == 1


def test_what_is_not_ours_is_neither_listed_nor_removed(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / KEY.file).write_bytes(b"mine")
    others = [
        folder / "notes.txt",
        folder / KEY.folder / "notes.json",
        folder / KEY.folder / "model.safetensors",
        folder / KEY.folder / ("c" * 64),
        folder / "models--org--name" / KEY.file,
    ]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    (folder / ("c" * 64)).symlink_to(tmp_path / "elsewhere")
    (folder / ("d" * 64)).write_bytes(b"no folder")
    assert len(list_profiles(folder)) == 3
    prune(folder, Limits(), NOW + 1e9)
    assert [path.read_bytes() for path in others] == [b"mine"] * 5
    assert (tmp_path / "elsewhere" / KEY.file).exists()
    assert (folder / ("d" * 64)).exists()


def bad_text(folder):
    description_of(folder).write_bytes(b"{}")


def other_name(folder):
    description_of(folder).write_bytes(description_of(folder, OTHER_KEY).read_bytes())


def without_tensors(folder):
    tensors_of(folder).unlink()


def short_tensors(folder):
    os.truncate(tensors_of(folder), 3)


def link(folder):
    path = description_of(folder)
    path.rename(folder / "held")
    path.symlink_to(folder / "held")


def pipe(folder):
    description_of(folder).unlink()
    os.mkfifo(description_of(folder))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (bad_text, "is damaged"),
        (other_name, "is that of another part"),
        (without_tensors, "tensors are absent"),
        (short_tensors, "tensors are damaged"),
        (link, "cannot be read"),
        (pipe, "is no regular file"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_part_that_cannot_be_used_is_listed_with_the_reason_and_can_be_removed(
    damage, problem, folder
):
    damage(folder)
    problems = [entry.problem for entry in list_profiles(folder)]
    assert [problem in text for text in problems].count(True) == 1
    assert problems.count("") == 2
    prune(folder, Limits(), NOW + 2 * HOUR)
    assert list_profiles(folder) == ()


def test_a_part_that_vanishes_while_it_is_listed_is_left_out(folder, monkeypatch):
    entry_of = listing._entry_of

    def vanishing(path, part, owners):
        if path == description_of(folder):
            path.unlink()
        return entry_of(path, part, owners)

    monkeypatch.setattr(listing, "_entry_of", vanishing)
    assert keys_in(folder) == {OTHER_KEY, THIRD_KEY}


def test_a_description_that_vanishes_before_it_is_opened_is_left_out(folder, monkeypatch):
    def absent(*_args):
        raise FileNotFoundError

    monkeypatch.setattr(listing, "open_file", absent)
    assert list_profiles(folder) == ()


def test_two_that_prune_at_once_do_not_disturb_each_other(folder, monkeypatch):
    remove = pruning._remove

    def twice(path):
        remove(path)
        return remove(path)

    monkeypatch.setattr(pruning, "_remove", twice)
    assert prune(folder, Limits(), NOW) == Pruned(parts=3, freed_bytes=0)
    assert keys_in(folder) == set()


def test_what_vanishes_while_it_is_looked_at_is_no_stray(tmp_path):
    assert not pruning._is_stray(tmp_path / "absent", NOW)


def test_a_file_in_the_place_of_a_cache_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IntegrityError, match="is no folder"):
        list_profiles(tmp_path / "file")
    with pytest.raises(IntegrityError, match="is no folder"):
        prune(tmp_path / "file", Limits())


def test_temporary_files_of_runners_at_work_stay(folder):
    path = folder / KEY.folder / f"{TEMPORARY}1-ab"
    path.write_bytes(b"half")
    os.utime(path, (NOW, NOW))
    prune(folder, Limits(), NOW + 60)
    assert path.exists()


def test_folders_with_the_names_of_files_are_no_parts_and_keep_nothing_from_being_removed(folder):
    within = description_of(folder, KEY).parent
    foreign = (within / f"probe-{'e' * 64}.json", within / f"{'d' * 64}.safetensors")
    for path in foreign:
        path.mkdir()
        os.utime(path, (NOW - 9 * HOUR,) * 2)
    assert keys_in(folder) == set(KEYS)
    assert prune(folder, Limits()).parts == len(KEYS)
    assert keys_in(folder) == set()
    assert all(path.is_dir() for path in foreign)
