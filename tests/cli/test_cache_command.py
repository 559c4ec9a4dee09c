"""Where profiles are kept, and the commands that list and prune them."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from commands import environment, run_process

import sdi_gate.cli.cache as cache_module
from sdi_gate.cli.cache import LIMIT_BYTES, cache_folder, open_store, open_target
from sdi_gate.errors import UsageError
from sdi_gate.profiles.listing import Entry
from sdi_gate.profiles.store import FolderStore, LayeredStore, NoStore, Part, PartKey, Use

BASE = "sha256:" + "a" * 64
OTHER_BASE = "sha256:" + "b" * 64
KEYS = (
    PartKey(BASE, "probe", (("device", "cpu"), ("seed", "0"))),
    PartKey(BASE, "spectra"),
    PartKey(OTHER_BASE, "spectra"),
)
THEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
COMMANDS = {
    "cache": ("cache",),
    "cache-list": ("cache", "list"),
    "cache-prune": ("cache", "prune"),
}
_LIGHT = """
import sys
from sdi_gate.cli.main import main
code = main(sys.argv[1:])
heavy = {"torch", "transformers", "safetensors", "huggingface_hub"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else code)
"""


@pytest.fixture
def folder(tmp_path):
    """Three parts, used last at a known time, one of them five hours later."""
    store = FolderStore(tmp_path / "cache", 1 << 30)
    for hours, key in zip((0, 5, 0), KEYS, strict=True):
        store.save(key, Part({"t": torch.zeros(1000)}, {"part": key.part}))
        used_s = THEN + hours * 3600
        os.utime(tmp_path / "cache" / key.folder / key.file, (used_s, used_s))
    return tmp_path / "cache"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home, and no variable that says where caches are."""
    for name in ("SDI_GATE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def left_in(folder):
    return [FolderStore(folder, 1 << 30, Use.SOURCE).load(key) is not None for key in KEYS]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_text_of_the_cache_is_the_one_that_was_agreed_on(name, run_here, assert_golden):
    ended = run_here(*COMMANDS[name], "--help")
    assert (ended.code, ended.err) == (0, "")
    assert_golden(f"tests/goldens/help-{name}.txt", ended.out)


def test_the_cache_is_where_the_command_line_says_then_the_variable_then_the_home(
    home, monkeypatch
):
    assert cache_folder(None) == home / ".cache" / "sdi-gate"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
    assert cache_folder(None) == Path("/var/caches/sdi-gate")
    monkeypatch.setenv("SDI_GATE_CACHE", "/srv/profiles")
    assert cache_folder(None) == Path("/srv/profiles")
    assert cache_folder(Path("given")) == Path("given")


@pytest.mark.parametrize("value", ["", "relative/caches"], ids=["empty", "relative"])
def test_a_variable_that_is_empty_or_relative_is_as_if_it_were_not_set(value, home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("SDI_GATE_CACHE", "")
    assert cache_folder(None) == home / ".cache" / "sdi-gate"


@pytest.fixture
def homeless(home, monkeypatch):
    def refuse():
        msg = "Could not determine home directory."
        raise RuntimeError(msg)

    monkeypatch.setattr(Path, "home", refuse)
    return home


@pytest.mark.usefixtures("homeless")
def test_who_has_no_home_has_no_cache_and_scans_without_one(run_here):
    assert cache_folder(None) is None
    assert isinstance(open_store(None, None, use_cache=True), NoStore)
    ended = run_here("cache", "list")
    assert (ended.code, ended.out) == (2, "")
    assert "this user has no home, and so no cache" in ended.err
    assert "--cache" in ended.err


def test_a_scan_reads_the_profile_that_was_given_first_and_never_writes_it(tmp_path):
    shipped, cache = tmp_path / "shipped", tmp_path / "cache"
    shipped.mkdir()
    assert open_store(None, cache, use_cache=True) == FolderStore(cache, LIMIT_BYTES)
    assert isinstance(open_store(None, cache, use_cache=False), NoStore)
    FolderStore(shipped, 1 << 30).save(KEYS[0], Part(facts={"from": "shipped"}))
    store = open_store(shipped, cache, use_cache=True)
    assert isinstance(store, LayeredStore)
    store.save(KEYS[0], Part(facts={"from": "cache"}))
    store.save(KEYS[1], Part(facts={"from": "cache"}))
    assert [store.load(key).facts["from"] for key in KEYS[:2]] == ["shipped", "cache"]
    alone = open_store(shipped, cache, use_cache=False)
    assert [alone.load(key) is not None for key in KEYS] == [True, False, False]


def test_a_profile_that_is_no_folder_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="--profile: expected a folder"):
        open_store(tmp_path / "absent", None, use_cache=False)


def test_a_profile_is_made_in_the_cache_or_in_a_folder_of_its_own(tmp_path):
    store, folder = open_target(None, tmp_path / "cache")
    assert (store, folder) == (
        FolderStore(tmp_path / "cache", LIMIT_BYTES, Use.TARGET),
        tmp_path / "cache",
    )
    store, folder = open_target(tmp_path / "out", tmp_path / "cache")
    assert (store.folder, folder) == (tmp_path / "out", tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_found_before_the_work(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be used"):
        open_target(tmp_path / "file" / "out", None)


def test_the_list_names_bases_parts_sizes_and_last_uses(folder, run_here):
    ended = run_here("cache", "list", "--cache", folder)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert [lines[0], lines[3]] == [BASE, OTHER_BASE]
    assert [line.split()[0] for line in (lines[1], lines[2], lines[4])] == [
        "probe",
        "spectra",
        "spectra",
    ]
    assert lines[1].endswith("used 2026-01-02 03:04 UTC")
    assert lines[2].endswith("used 2026-01-02 08:04 UTC")
    assert lines[5].startswith("3 parts, ")
    assert lines[5].endswith(f"KiB, in {folder}")


def test_the_list_as_json_holds_the_whole_keys(folder, run_here):
    ended = run_here("cache", "list", "--cache", folder, "--json")
    found = json.loads(ended.out)
    assert found["folder"] == str(folder)
    assert [entry["base"] for entry in found["profiles"]] == [BASE, BASE, OTHER_BASE]
    first = found["profiles"][0]
    assert first["parameters"] == {"device": "cpu", "seed": "0"}
    assert (first["part"], first["problem"]) == ("probe", None)
    assert first["last_used"] == "2026-01-02T03:04:05+00:00"
    assert first["size_bytes"] > 4000
    assert Path(first["file"]).is_file()


def test_a_part_that_cannot_be_used_is_listed_with_the_reason(folder, run_here):
    (folder / KEYS[0].folder / KEYS[0].file).write_bytes(b"{}")
    assert "cannot be used: " in run_here("cache", "list", "--cache", folder).out
    entry = json.loads(run_here("cache", "list", "--cache", folder, "--json").out)["profiles"][0]
    assert entry["parameters"] is None
    assert "is damaged" in entry["problem"]


@pytest.mark.parametrize(
    ("second", "day"), [(1e12, "9999-12-31"), (-1e12, "1970-01-01")], ids=["late", "early"]
)
def test_a_time_that_no_calendar_has_is_shown_as_its_first_or_last_day(second, day):
    entry = Entry(path=Path("x"), base=BASE, part="probe", size_bytes=0, last_used_s=second)
    assert f"used {day}" in cache_module._line(entry)


def test_a_cache_that_is_absent_is_empty(tmp_path, run_here):
    ended = run_here("cache", "list", "--cache", tmp_path / "absent")
    assert (ended.code, ended.out) == (0, f"No profiles in {tmp_path / 'absent'}\n")
    assert run_here("cache", "prune", "--cache", tmp_path / "absent", "--all").code == 0
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("command", [("list",), ("prune", "--all")], ids=["list", "prune"])
def test_a_file_in_the_place_of_the_cache_is_a_usage_error(command, tmp_path, run_here):
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "cache"):
        ended = run_here("cache", *command, "--cache", place)
        assert (ended.code, ended.out) == (2, "")
        assert "cannot be used" in ended.err


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (("--all",), [False, False, False]),
        (("--base", BASE), [False, False, True]),
        (("--older-than", "1m"), [False, False, False]),
        (("--older-than", "5000w"), [True, True, True]),
        (("--keep", "0GB"), [False, False, False]),
        (("--keep", "0.005MB"), [False, True, False]),
        (("--keep", "20GiB"), [True, True, True]),
        (("--base", BASE, "--keep", "5MB"), [True, True, True]),
    ],
    ids=lambda value: " ".join(map(str, value)).replace(BASE, "BASE"),
)
def test_pruning_removes_what_was_asked_for_and_says_so(options, left, folder, run_here):
    ended = run_here("cache", "prune", "--cache", folder, *options)
    assert (ended.code, ended.err) == (0, "")
    assert left_in(folder) == left
    removed = left.count(False)
    assert ended.out.startswith(f"Removed {removed} part{'' if removed == 1 else 's'}, ")
    assert ended.out.endswith(f", from {folder}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected --older-than, --keep or --base, or else --all"),
        (("--all", "--keep", "1GB"), "expected --older-than, --keep or --base, or else --all"),
        (("--all", "--base", BASE), "expected --older-than, --keep or --base, or else --all"),
        (("--base", "a" * 64), "--base: expected sha256: and 64 hex digits"),
        (("--base", "sha256:.."), "--base: expected sha256: and 64 hex digits"),
        (("--older-than", "30"), "such as 30d"),
        (("--older-than", "-1d"), "such as 30d"),
        (("--older-than", "1.5d"), "such as 30d"),
        (("--keep", "20"), "such as 20GB"),
        (("--keep", "20gb"), "such as 20GB"),
        (("--keep", "-1GB"), "such as 20GB"),
        (("--keep", "nanGB"), "such as 20GB"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_pruning_without_a_clear_wish_removes_nothing(options, message, folder, run_here):
    ended = run_here("cache", "prune", "--cache", folder, *options)
    assert (ended.code, ended.out) == (2, "")
    assert message in " ".join(ended.err.split())
    assert left_in(folder) == [True, True, True]


def test_the_variable_names_the_cache_of_the_commands(folder, tmp_path):
    env = environment(tmp_path, SDI_GATE_CACHE=str(folder))
    assert "3 parts" in run_process("cache", "list", env=env).out


@pytest.mark.parametrize("command", [("list",), ("prune", "--all")], ids=["list", "prune"])
def test_looking_after_the_cache_loads_no_machine_learning_library(command, folder, tmp_path):
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [sys.executable, "-c", _LIGHT, "cache", *command, "--cache", str(folder)],
        check=False,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
