import json
import os
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_parts import (
    BASE,
    DTYPES,
    KEY,
    LIMIT,
    OTHER_BASE,
    OTHER_KEY,
    a_part,
    assert_same,
    description_of,
    store_in,
    tensors_of,
    warnings_of,
)

from sdi_gate.errors import StorageError
from sdi_gate.profiles import store as store_module
from sdi_gate.profiles.parts import Part, PartKey
from sdi_gate.profiles.store import FolderStore, Use


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_part_that_was_never_saved_is_absent_without_a_word(tmp_path, caplog):
    assert store_in(tmp_path / "absent").load(KEY) is None
    store = store_in(tmp_path / "cache")
    store.save(KEY, a_part())
    assert store.load(OTHER_KEY) is None
    assert store.load(PartKey(OTHER_BASE, "spectra", KEY.parameters)) is None
    assert warnings_of(caplog) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(DTYPES), max_size=4),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(0, 2**31),
)
def test_a_part_is_loaded_as_it_was_saved(tmp_path, dtypes, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    named = {
        f"t{index}": (torch.randn(shape, generator=generator) * 3).to(dtype)
        for index, dtype in enumerate(dtypes)
    }
    part = Part(tensors=named, facts={"seed": seed})
    store_in(tmp_path).save(KEY, part)
    assert_same(store_in(tmp_path).load(KEY), part)


def test_the_layout_is_the_one_that_is_documented(tmp_path):
    store_in(tmp_path).save(KEY, a_part())
    assert description_of(tmp_path).is_file()
    assert tensors_of(tmp_path).is_file()
    assert len(files_in(tmp_path)) == 2
    plain = json.loads(description_of(tmp_path).read_bytes())
    assert list(plain) == ["schema", "key", "tensors", "facts", "digest"]
    assert plain["schema"] == "sdi-gate/profile/v1"
    assert plain["key"]["parameters"] == dict(KEY.parameters)


def test_saving_again_replaces_the_part(tmp_path):
    store = store_in(tmp_path)
    store.save(KEY, a_part(1.0))
    store.save(KEY, a_part(2.0))
    assert_same(store.load(KEY), a_part(2.0))


def test_saving_the_same_again_changes_no_byte(tmp_path):
    store = store_in(tmp_path)
    store.save(KEY, a_part())
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    store.save(KEY, a_part())
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before


def test_two_keys_with_the_same_tensors_share_their_file(tmp_path):
    store = store_in(tmp_path)
    store.save(KEY, a_part())
    store.save(OTHER_KEY, a_part())
    assert len(files_in(tmp_path)) == 3
    assert_same(store.load(KEY), a_part())
    assert_same(store.load(OTHER_KEY), a_part())


def test_the_folder_of_a_base_can_be_copied_to_another_cache(tmp_path):
    store_in(tmp_path / "one").save(KEY, a_part())
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / KEY.folder).rename(tmp_path / "two" / KEY.folder)
    assert_same(store_in(tmp_path / "two").load(KEY), a_part())


def test_loading_notes_the_use(tmp_path):
    store = store_in(tmp_path)
    store.save(KEY, a_part())
    os.utime(description_of(tmp_path), (0, 0))
    assert store.load(KEY) is not None
    assert time.time() - description_of(tmp_path).stat().st_mtime < 3600


def test_a_source_is_neither_touched_nor_written(tmp_path):
    store_in(tmp_path).save(KEY, a_part(1.0))
    os.utime(description_of(tmp_path), (0, 0))
    source = FolderStore(tmp_path, LIMIT, Use.SOURCE)
    source.save(KEY, a_part(2.0))
    assert_same(source.load(KEY), a_part(1.0))
    assert description_of(tmp_path).stat().st_mtime == 0


def test_a_note_that_cannot_be_made_does_not_matter(tmp_path, monkeypatch, caplog):
    def refuse(*_args):
        raise PermissionError(1, "Operation not permitted")

    store = store_in(tmp_path)
    store.save(KEY, a_part())
    monkeypatch.setattr(store_module.os, "utime", refuse)
    assert_same(store.load(KEY), a_part())
    assert warnings_of(caplog) == []


@pytest.mark.parametrize(
    "part",
    [
        Part({"t": torch.tensor([1.0, float("nan")])}),
        Part({"t": torch.zeros(1, dtype=torch.uint8)}),
        Part(facts={"loss": float("inf")}),
    ],
    ids=["NaN", "type", "infinite fact"],
)
def test_a_part_that_cannot_be_kept_is_a_warning_and_leaves_nothing(part, tmp_path, caplog):
    store = store_in(tmp_path)
    store.save(KEY, part)
    assert store.load(KEY) is None
    assert files_in(tmp_path) == []
    assert ["was not kept" in text for text in warnings_of(caplog)] == [True]
    with pytest.raises(StorageError, match="cannot keep 'spectra' in"):
        FolderStore(tmp_path, LIMIT, Use.TARGET).save(KEY, part)


def test_a_part_that_cannot_be_kept_leaves_the_former_one(tmp_path):
    store = store_in(tmp_path)
    store.save(KEY, a_part())
    store.save(KEY, Part({"t": torch.tensor(float("nan"))}))
    assert_same(store.load(KEY), a_part())


def test_a_cache_in_which_no_folder_can_be_made_is_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "cache"):
        caplog.clear()
        store = store_in(folder)
        store.save(KEY, a_part())
        assert store.load(KEY) is None
        assert "was not kept" in warnings_of(caplog)[0]
        with pytest.raises(StorageError, match="cannot keep 'spectra'"):
            FolderStore(folder, LIMIT, Use.TARGET).save(KEY, a_part())


def test_a_part_that_is_larger_than_the_cache_is_neither_saved_nor_loaded(tmp_path, caplog):
    part = Part({"t": torch.zeros(1000)})
    FolderStore(tmp_path, 3999).save(KEY, part)
    assert "it takes 4,000 bytes; expected at most 3,999" in warnings_of(caplog)[0]
    assert files_in(tmp_path) == []
    store_in(tmp_path).save(KEY, part)
    assert FolderStore(tmp_path, 3999).load(KEY) is None
    assert "and at most 3,999" in warnings_of(caplog)[1]


def test_a_cache_that_is_full_loses_what_was_not_used_for_longest(tmp_path):
    store = FolderStore(tmp_path, 14_000)
    keys = [PartKey(BASE, "spectra", (("seed", str(seed)),)) for seed in range(4)]
    for age, key in enumerate(keys[:3]):
        store.save(key, Part({"t": torch.full((1000,), float(age))}))
        used_s = time.time() - 1000 + age
        os.utime(description_of(tmp_path, key), (used_s, used_s))
    assert store.load(keys[0]) is not None
    store.save(keys[3], Part({"t": torch.full((1000,), 3.0)}))
    assert [store.load(key) is not None for key in keys] == [True, False, True, True]
    assert sum((tmp_path / name).stat().st_size for name in files_in(tmp_path)) <= 14_000


def test_a_cache_that_cannot_be_made_smaller_is_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(*_args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(store_module, "make_room", refuse)
    store = FolderStore(tmp_path, LIMIT, Use.TARGET)
    store.save(KEY, a_part())
    assert "stays too large: Operation not permitted" in warnings_of(caplog)[0]
    assert_same(store.load(KEY), a_part())


_FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from sdi_gate.profiles.store import FolderStore, Part, PartKey
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
key = PartKey("sha256:" + "a" * 64, "spectra")
FolderStore(Path(sys.argv[1]), 1 << 30).save(key, Part({"t": torch.zeros(100_000)}))
"""


def test_a_disk_that_is_full_is_a_warning_and_leaves_nothing(tmp_path):
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "was not kept: File too large" in done.stderr
    assert files_in(tmp_path) == []
