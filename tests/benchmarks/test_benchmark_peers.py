import argparse
from pathlib import Path

import pytest

from benchmarks import peer_programs, peers, scans
from benchmarks.peer_programs import PEERS, Pair, Peer
from benchmarks.peers import CACHED, COLD, Field
from benchmarks.processes import BenchmarkError, Run
from benchmarks.scans import Measured, Stage

SCRIPT = "#!/bin/sh\n{line}\n"


def row(number, program, seconds, memory):
    return {
        "round": number,
        "program": program,
        "seconds": seconds,
        "cpu_seconds": seconds,
        "peak_rss_bytes": memory,
    }


ROWS = [
    *(row(1, COLD, 3.0, 50), row(1, CACHED, 1.0, 40), row(1, "afterburn", 10.0, 100)),
    *(row(2, COLD, 8.0, 60), row(2, CACHED, 6.0, 40), row(2, "afterburn", 20.0, 100)),
    *(row(3, COLD, 1.0, 70), row(3, CACHED, 0.5, 40), row(3, "afterburn", 10.0, 100)),
]


def test_ratios_are_taken_within_a_round_and_their_median_is_held_against_the_target():
    targets = {each["program"]: each for each in peers.summarise(ROWS)["targets"]}
    cold, cached = targets[COLD], targets[CACHED]
    assert (cold["ratio_min"], cold["ratio_median"], cold["ratio_max"]) == (0.1, 0.3, 0.4)
    assert cold["met"]
    assert cold["memory_ratio_median"] == 0.6
    assert (cached["ratio_median"], cached["met"], cached["memory_met"]) == (0.1, True, True)


def test_a_missed_target_is_said_to_be_missed():
    slow = [
        each | {"seconds": each["seconds"] * 2} if "sdi" in each["program"] else each
        for each in ROWS
    ]
    cold, cached = peers.summarise(slow)["targets"]
    assert not cold["met"]
    assert cached["met"]


def test_medians_stand_beside_ratios_for_each_program():
    afterburn = peers.summarise(ROWS)["programs"][-1]
    assert afterburn["seconds"] == 10.0
    assert (afterburn["cold_over_it"], afterburn["cached_over_it"]) == (0.3, 0.1)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_called_on_both_folders_and_told_where_its_report_goes(peer):
    pair = Pair(base=Path("/b"), candidate=Path("/c"), report=Path("/r.json"))
    program, *arguments = peer_programs.command(peer, Path("/env/bin"), pair)
    assert program.startswith("/env/bin/")
    assert {"/b", "/c", "/r.json"} <= set(arguments)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_pinned(peer):
    assert peer.requirements[0].startswith(f"{peer.name}==")


def test_every_environment_gets_the_same_torch_first_and_is_made_once(tmp_path, monkeypatch):
    called = []

    def record(command, **_options):
        called.append(command[-1])
        (tmp_path / "peers" / PEERS[0].name).mkdir(parents=True, exist_ok=True)
        return argparse.Namespace(returncode=0)

    monkeypatch.setattr(peer_programs.subprocess, "run", record)
    peer_programs.install(PEERS[0], tmp_path)
    peer_programs.install(PEERS[0], tmp_path)
    assert called[1:] == [peer_programs.TORCH, PEERS[0].requirements[-1]]


def test_an_index_that_does_not_give_a_peer_ends_the_benchmark(tmp_path, monkeypatch):
    failed = argparse.Namespace(returncode=1, stderr="no matching distribution")
    monkeypatch.setattr(peer_programs.subprocess, "run", lambda *_args, **_options: failed)
    with pytest.raises(BenchmarkError, match="no matching distribution"):
        peer_programs.install(PEERS[0], tmp_path)


def field_of(folder, line):
    programs = folder / "bin"
    programs.mkdir()
    script = programs / "fake"
    script.write_text(SCRIPT.format(line=line), encoding="utf-8")
    script.chmod(0o755)
    fake = Peer(
        name="fake",
        requirements=(),
        arguments=lambda pair: ["fake", str(pair.report)],
        spectra="none",
    )
    return Field(work=folder, models=folder, programs=((fake, programs),), threads=None)


@pytest.fixture
def measured_gate(monkeypatch):
    """Stand in for sdi-gate, whose own run is tested with the other benchmarks."""
    caches = []

    def measure(scan):
        caches.append((scan.candidate.name, scan.cache.exists()))
        scan.cache.mkdir(exist_ok=True)
        run = Run(seconds=1.0, cpu_seconds=1.0, peak_rss_bytes=1, load=0.0, code=0, output="")
        return Measured(run=run, stages=(Stage(name="weights", seconds=0.5),))

    monkeypatch.setattr(scans, "measure", measure)
    return caches


def test_a_round_is_cold_then_cached_then_everybody_else(tmp_path, measured_gate):
    field = field_of(tmp_path, 'echo "{}" > "$1"')
    for number in (1, 2):
        rows = peers.one_round(field, number)
        assert [each["program"] for each in rows] == [COLD, CACHED, "fake"]
        assert {each["round"] for each in rows} == {number}
    # The cache of one round is not there in the next.
    assert measured_gate == [("candidate", False), ("candidate-2", True)] * 2


@pytest.mark.usefixtures("measured_gate")
@pytest.mark.parametrize("line", ["exit 3", "exit 0", ': > "$1"'], ids=["fails", "idle", "empty"])
def test_a_peer_that_leaves_no_report_does_not_win(tmp_path, line):
    with pytest.raises(BenchmarkError, match=r"fake: exit code \d, no report"):
        peers.one_round(field_of(tmp_path, line), 1)
