"""The command that measures a base ahead of time, up to the gate's own part of it."""

import io
import logging
import sys
import types
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from sdi_gate.gate.request import TierChoice
from sdi_gate.models import probe as probes
from sdi_gate.profiles.store import FolderStore, Part, PartKey

KEY = PartKey("sha256:" + "a" * 64, "spectra")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the gate is asked for."""

    base: Any
    tier: Any
    device: Any
    dtype: Any
    probe: Any
    settings: Any
    store: Any


@pytest.fixture
def asked(monkeypatch):
    """Stand in for the gate, and note what it is asked for."""
    found = []

    def make_profile(request, effects):
        found.append((request, effects))
        request.store.save(KEY, Part({"s": torch.ones(3)}))
        return ("spectra", "probe")

    module = types.ModuleType("sdi_gate.gate.profile")
    module.ProfileRequest, module.make_profile = Request, make_profile
    monkeypatch.setitem(sys.modules, "sdi_gate.gate.profile", module)
    return found


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SDI_GATE_CACHE", str(tmp_path / "cache"))


def is_kept(folder):
    return FolderStore(folder, 1 << 30).load(KEY) is not None


def test_the_help_text_of_profile_is_the_one_that_was_agreed_on(run_here, assert_golden):
    ended = run_here("profile", "--help")
    assert (ended.code, ended.err) == (0, "")
    assert_golden("tests/goldens/help-profile.txt", ended.out)


def test_the_help_text_of_all_names_the_new_commands(run_here, assert_golden):
    assert_golden("tests/goldens/help-sdi-gate.txt", run_here("--help").out)


def test_a_profile_is_made_in_the_cache_with_the_settings_of_a_scan(
    asked, tmp_path, run_here, models
):
    ended = run_here("profile", "--base", f"file:{models / 'base'}", "--threads", 1)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        f"Profile of file:{models / 'base'}: spectra, probe, in {tmp_path / 'cache'}\n"
    )
    request, effects = asked[0]
    assert str(request.base) == f"file:{models / 'base'}"
    assert (request.tier, request.dtype) == (TierChoice.AUTO, torch.float32)
    assert (request.settings.seed, request.probe) == (0, probes.load_default())
    assert {scheme.value for scheme in effects.sources} == {"file"}
    assert is_kept(tmp_path / "cache")


def test_every_option_reaches_the_gate(asked, tmp_path, run_here, models, probe):
    options = ("--tier", "probe", "--probe", probe, "--seed", 7, "--device", "cpu")
    more = ("--dtype", "bfloat16", "--threads", 1, "--out", tmp_path / "out")
    ended = run_here("profile", "--base", f"file:{models / 'base'}", *options, *more)
    assert (ended.code, ended.err) == (0, "")
    request, _ = asked[0]
    assert (request.tier, request.settings.seed) == (TierChoice.PROBE, 7)
    assert (request.device, request.dtype) == (torch.device("cpu"), torch.bfloat16)
    assert request.probe == probes.load_file(probe)
    assert torch.get_num_threads() == 1
    assert is_kept(tmp_path / "out")
    assert not (tmp_path / "cache").exists()


def test_the_cache_can_be_given(asked, tmp_path, run_here, models):
    base = f"file:{models / 'base'}"
    assert run_here("profile", "--base", base, "--cache", tmp_path / "mine").code == 0
    assert len(asked) == 1
    assert is_kept(tmp_path / "mine")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Missing option '--base'"),
        (("--base", "gpt2"), "expected"),
        (("--base", "file:x", "--tier", "all"), "Invalid value for '--tier'"),
        (("--base", "file:x", "--dtype", "float16"), "Invalid value for '--dtype'"),
        (("--base", "file:x", "--probe", "absent.jsonl"), "absent.jsonl"),
    ],
    ids=["no base", "no scheme", "tier", "dtype", "probe"],
)
def test_what_cannot_be_followed_is_refused_before_the_work(options, message, asked, run_here):
    ended = run_here("profile", *options)
    assert (ended.code, ended.out, asked) == (2, "", [])
    assert message in ended.err


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    asked, tmp_path, run_here, models
):
    (tmp_path / "file").write_bytes(b"")
    base = f"file:{models / 'base'}"
    ended = run_here("profile", "--base", base, "--out", tmp_path / "file")
    assert (ended.code, ended.out, asked) == (2, "", [])
    assert "cannot be used" in ended.err


def test_a_profile_that_could_not_be_kept_is_an_error(asked, tmp_path, run_here, models):
    # Found only when the first part is there: a file stands where the base's folder is to be.
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / KEY.folder).write_bytes(b"")
    base = f"file:{models / 'base'}"
    ended = run_here("profile", "--base", base, "--out", tmp_path / "out")
    assert (ended.code, ended.out, len(asked)) == (4, "", 1)
    assert "cannot keep 'spectra' in" in ended.err


def test_a_profile_of_nothing_says_so(asked, monkeypatch, run_here, models):
    module = sys.modules["sdi_gate.gate.profile"]
    monkeypatch.setattr(module, "make_profile", lambda _request, _effects: ())
    ended = run_here("profile", "--base", f"file:{models / 'base'}")
    assert ": nothing, in " in ended.out
    assert asked == []


@pytest.mark.parametrize("options", [(), ("--verbose",)], ids=["plain", "verbose"])
def test_warnings_of_the_cache_are_said_once(options, run_here, tmp_path):
    run_here(*options, "cache", "list", "--cache", tmp_path)
    store = FolderStore(tmp_path, 1 << 30)
    store.save(KEY, Part({"s": torch.ones(1)}, {}))
    (tmp_path / KEY.folder / KEY.file).write_bytes(b"{}")
    try:
        # As a scan would, in a process that was set up by the command line.
        said = said_by(store.load, KEY)
    finally:
        logging.getLogger("sdi_gate.profiles").handlers.clear()
    assert said.count("is not used") == 1
    assert said.startswith("sdi-gate: warning: " if not options else "sdi_gate.profiles.store: ")


def said_by(work, *arguments):
    logger = logging.getLogger("sdi_gate")
    stream = io.StringIO()
    for handler in logger.handlers:
        handler.setStream(stream)
    with redirect_stderr(stream):
        work(*arguments)
    return stream.getvalue()
