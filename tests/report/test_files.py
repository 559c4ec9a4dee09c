import errno
import os
import re
import stat
from pathlib import Path

import pytest

from sdi_gate.errors import PublishError, UsageError
from sdi_gate.report.files import MARKDOWN, RESULT, prepare_folder, remove_reports, write_files

CONTENTS = {RESULT: b"{}\n", MARKDOWN: b"# Report\n"}


def state(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def no_room(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_is_made_with_its_parents_and_left_empty(tmp_path):
    prepare_folder(tmp_path / "a" / "b")
    prepare_folder(tmp_path / "a" / "b")
    assert state(tmp_path / "a" / "b") == {}


def test_a_report_of_a_former_run_is_removed_and_nothing_else(tmp_path):
    for remove in (prepare_folder, remove_reports):
        for name in (RESULT, MARKDOWN, "notes.txt"):
            (tmp_path / name).write_bytes(b"old")
        remove(tmp_path)
        assert state(tmp_path) == {"notes.txt": b"old"}


def test_where_there_is_no_folder_there_is_no_report_to_remove(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    remove_reports(tmp_path / "file")
    remove_reports(tmp_path / "none")
    assert state(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize(
    ("remove", "words"),
    [(prepare_folder, "cannot write to"), (remove_reports, "cannot remove the former report")],
)
def test_a_former_report_that_cannot_be_removed_is_told(remove, words, tmp_path):
    (tmp_path / RESULT).mkdir()
    with pytest.raises(UsageError, match=f"{words}.*: Is a directory"):
        remove(tmp_path)


def test_a_file_in_the_way_of_a_folder_is_told_and_kept(tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(UsageError, match=re.escape(f"{str(tmp_path / 'a')!r}: File exists")):
        prepare_folder(tmp_path / "a")
    assert state(tmp_path) == {"a": b"mine"}


def test_a_folder_that_takes_no_files_is_told_before_the_work():
    with pytest.raises(UsageError, match="cannot write to the output folder '/proc/self'"):
        prepare_folder(Path("/proc/self"))


def test_files_are_written_whole_and_for_all_who_may_read_the_folder(tmp_path):
    write_files(tmp_path, CONTENTS)
    assert state(tmp_path) == CONTENTS
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}


def test_files_of_an_earlier_run_are_replaced(tmp_path):
    (tmp_path / RESULT).write_bytes(b"old and much longer than the new one")
    write_files(tmp_path, CONTENTS)
    assert state(tmp_path) == CONTENTS


def test_a_link_is_replaced_and_what_it_leads_to_is_kept(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (folder / RESULT).symlink_to(tmp_path / "elsewhere")
    write_files(folder, CONTENTS)
    assert state(folder) == CONTENTS
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_a_disk_that_fills_up_with_the_second_file_leaves_the_first_as_it_was(
    tmp_path, monkeypatch
):
    write_files(tmp_path, {RESULT: b"old", MARKDOWN: b"old"})
    answers = iter((os.fsync, no_room))

    def fsync(handle):
        next(answers)(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(PublishError, match=r"report\.md': No space left on device"):
        write_files(tmp_path, CONTENTS)
    assert state(tmp_path) == {RESULT: b"old", MARKDOWN: b"old"}


def test_a_place_that_cannot_be_taken_leaves_no_temporary(tmp_path):
    (tmp_path / RESULT).mkdir()
    with pytest.raises(PublishError, match=r"result\.json': what is there is no regular file"):
        write_files(tmp_path, CONTENTS)
    assert [path.name for path in tmp_path.iterdir()] == [RESULT]


def test_a_folder_that_went_away_is_an_error(tmp_path):
    with pytest.raises(PublishError, match=r"result\.json': No such file or directory"):
        write_files(tmp_path / "gone", CONTENTS)


def test_an_interrupt_leaves_no_temporary(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        write_files(tmp_path, CONTENTS)
    assert state(tmp_path) == {}


def test_a_disk_that_takes_no_changes_at_all_is_told_by_its_first_failure(tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "fsync", no_room)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(PublishError, match="No space left on device"):
        write_files(tmp_path, CONTENTS)
