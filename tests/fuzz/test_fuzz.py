"""Hold the readers to their promise on files that nobody wrote by hand."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import fuzz_engine
import pytest
from fuzz_cases import Case, make_case
from fuzz_engine import (
    HangError,
    Outcome,
    Tally,
    Workspace,
    digest_of,
    examine,
    guarded,
    plain_message,
    warm_up,
)
from fuzz_seeds import SEEDS, sound
from hypothesis import given, settings
from hypothesis import strategies as st

from sdi_gate.errors import FormatError

FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))
# By target: so many kinds of refusal and so many acceptances show that it reaches the readers.
REACHED = {
    "header": (25, 15),
    "index": (25, 20),
    "config": (15, 60),
    "adapter": (40, 20),
    "folder": (35, 30),
}


@pytest.fixture(scope="module")
def workspace():
    made = Workspace()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _libraries():
    for name in ("peft", "bitsandbytes", "compressed_tensors", "gguf"):
        pytest.importorskip(name)


@pytest.mark.parametrize("target", SEEDS)
def test_what_is_sound_is_accepted(target, workspace):
    outcomes = warm_up(target, workspace)
    refused = [seed for seed, outcome in outcomes.items() if not outcome.accepted]
    assert refused == (["folder-gptq"] if target == "folder" else [])


@pytest.mark.parametrize("target", SEEDS)
def test_what_is_broken_is_accepted_or_refused_in_one_sentence(target, workspace):
    warm_up(target, workspace)
    tally = Tally()

    @settings(max_examples=max(300, settings.default.max_examples))
    @given(st.integers(0, 2**32))
    def one(number):
        outcome = examine(make_case(target, number), workspace)
        tally.add(outcome, number)
        assert not outcome.finding, f"{target} {number}: {outcome.finding}\n{outcome.trace}"

    with guarded():
        one()
    kinds, acceptances = REACHED[target]
    assert len(tally.refusals) >= kinds
    assert tally.accepted.total() >= acceptances


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_once_is_found_no_more(path, workspace):
    with guarded():
        outcome = examine(Case.load(path), workspace)
    assert not outcome.finding, outcome.trace


def test_a_number_stands_for_one_case():
    for target in SEEDS:
        assert make_case(target, "0/7") == make_case(target, "0/7")
        assert make_case(target, "0/7") != make_case(target, "0/8")


def test_a_case_is_the_same_after_it_was_kept(tmp_path):
    case = Case(
        "index", "index-three", {"config.json": b"\x00\xff{", "tokenizer_config.json": None}
    )
    case.save(tmp_path / "case.json", "a traceback")
    again = Case.load(tmp_path / "case.json")
    assert again == case
    assert digest_of(again) == digest_of(case)
    assert json.loads((tmp_path / "case.json").read_text())["found"] == "a traceback"
    assert "tokenizer_config.json" not in again.files


def test_the_folder_of_a_seed_is_sound_again_after_each_case(workspace):
    case = Case("index", "index-three", {"config.json": b"", "new": b"x"})
    with workspace.holding(case) as folder:
        assert (folder / "new").read_bytes() == b"x"
    held = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert held == sound("index-three")


def _outcome_of(reader, workspace, monkeypatch) -> Outcome:
    monkeypatch.setitem(fuzz_engine.READERS, "header", reader)
    with guarded():
        return examine(Case("header", "header-types", {}), workspace)


def test_a_traceback_is_a_finding(workspace, monkeypatch):
    def reader(_case, _folder):
        return {}["missing"]

    outcome = _outcome_of(reader, workspace, monkeypatch)
    assert outcome.finding.startswith("KeyError in test_fuzz.py:reader")
    assert "'missing'" in outcome.trace


def test_a_hang_is_a_finding_even_where_errors_are_swallowed(workspace, monkeypatch):
    def reader(_case, _folder):
        try:
            while True:
                pass
        except Exception:  # noqa: BLE001 - as a careless library does
            return "read"

    monkeypatch.setattr(fuzz_engine, "MAX_SECONDS", 0.1)
    assert HangError.__name__ in _outcome_of(reader, workspace, monkeypatch).finding


def test_a_reader_that_waits_is_a_hang_too(workspace, monkeypatch):
    def reader(_case, _folder):
        threading.Event().wait()

    monkeypatch.setattr(fuzz_engine, "MAX_SECONDS", 0.1)
    assert HangError.__name__ in _outcome_of(reader, workspace, monkeypatch).finding


def test_memory_by_the_strangers_number_is_a_finding_even_if_it_is_never_touched(
    workspace, monkeypatch
):
    def reader(_case, _folder):
        bytes(2_000_000_000)
        return "read"

    assert "MemoryError" in _outcome_of(reader, workspace, monkeypatch).finding


def test_memory_that_was_touched_is_a_finding(workspace, monkeypatch):
    def reader(_case, _folder):
        bytes([1]) * 300_000_000
        return "read"

    # The peak of the process may be higher from before.
    peaks = iter((0, 300_000_000))
    monkeypatch.setattr(fuzz_engine, "_peak_bytes", lambda: next(peaks))
    assert _outcome_of(reader, workspace, monkeypatch).finding == "memory"


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "x" * 3000], ids=["control", "pages"])
def test_a_message_that_is_not_safe_to_print_is_a_finding(text, workspace, monkeypatch):
    def reader(_case, _folder):
        raise FormatError(text)

    assert "unsafe message" in _outcome_of(reader, workspace, monkeypatch).finding


def test_messages_that_differ_in_names_and_numbers_are_of_one_kind():
    one = "tensor 'a' in 'b.safetensors' of file:/x has 3 axes and [1, 2]; got \"it's\""
    other = "tensor 'c\\'d' in 'e' of file:/other/y has 1,000 axes and []; got 'x'"
    assert plain_message(one) == plain_message(other)
