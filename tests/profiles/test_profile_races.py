"""Several processes on one cache, one of them killed in the middle of its work."""

import subprocess
import sys
import time

import pytest
from stored_parts import KEY, a_part, assert_same, description_of, store_in

from sdi_gate.profiles import store as store_module
from sdi_gate.profiles.files import TEMPORARY
from sdi_gate.profiles.pruning import Limits, prune

# Writes and reads one key again and again. What it reads must be all of what one writer wrote.
_RUNNER = """
import sys
from pathlib import Path
import torch
from sdi_gate.profiles.store import FolderStore, Part, PartKey
folder, writer, rounds = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
key, store = PartKey("sha256:" + "a" * 64, "probe"), FolderStore(folder, 1 << 30)
missed = 0
for round in range(rounds):
    value = writer + round
    tensors = {name: torch.full((50_000,), value) for name in ("a", "b")}
    store.save(key, Part(tensors, {"value": value}))
    part = store.load(key)
    if part is None:
        missed += 1
        continue
    for tensor in part.tensors.values():
        assert torch.equal(tensor, torch.full((50_000,), part.facts["value"]))
print(missed)
"""
# Prunes until it is told to stop.
_PRUNER = """
import sys
from pathlib import Path
from sdi_gate.profiles.pruning import Limits, prune
stop = Path(sys.argv[2])
while not stop.exists():
    prune(Path(sys.argv[1]), Limits(keep_bytes=0))
"""
# Stops in the middle of a save, at the place that is asked for, until it is killed.
_STUCK = """
import sys, time
from pathlib import Path
import torch
from sdi_gate.profiles import store as store_module
from sdi_gate.profiles import tensors as tensors_module
from sdi_gate.profiles.store import FolderStore, Part, PartKey

def stuck(file, content):
    file.write(content[: len(content) // 2])
    print("stuck", flush=True)
    time.sleep(600)

def after_the_header(file, content, digest, put=tensors_module._put):
    put(file, content, digest) if content[8:9] == b"{" else stuck(file, content)

def at_the_name(file, path, final):
    stuck(file, b"") if final.suffix == sys.argv[3] else settle(file, path, final)

settle = store_module.settle
match sys.argv[2]:
    case "tensors":
        tensors_module._put = after_the_header
    case "description":
        store_module.write_all = stuck
    case "name":
        store_module.settle = at_the_name
key = PartKey("sha256:" + "a" * 64, "spectra", (("dtype", "float32"), ("seed", "0")))
tensors = {"layer.0/s": torch.full((100_000,), 9.0)}
FolderStore(Path(sys.argv[1]), 1 << 30).save(key, Part(tensors, {"value": 9.0}))
"""


def start(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)  # noqa: S603 - ours


def end(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def test_processes_that_save_and_load_one_key_at_once_never_see_half_of_a_part(tmp_path):
    runners = [start(_RUNNER, tmp_path, 1000 * writer, 20) for writer in range(3)]
    # Nobody removes a part: from the first save on, it is always there, and nothing is to warn of.
    assert [end(runner) for runner in runners] == [("0\n", "")] * 3
    left = [path.name for path in tmp_path.rglob("*") if path.name.startswith(TEMPORARY)]
    assert left == []


def test_a_process_that_prunes_all_the_time_makes_parts_absent_and_never_wrong(tmp_path):
    stop = tmp_path / "stop"
    pruner = start(_PRUNER, tmp_path / "cache", stop)
    try:
        runners = [start(_RUNNER, tmp_path / "cache", 1000 * writer, 20) for writer in range(2)]
        missed = [int(end(runner)[0]) for runner in runners]
    finally:
        stop.touch()
    end(pruner)
    assert all(0 <= count <= 20 for count in missed)
    store_in(tmp_path / "cache").save(KEY, a_part())
    assert_same(store_in(tmp_path / "cache").load(KEY), a_part())


PLACES = {
    "in the middle of the tensors": ("tensors", "", True),
    "before the tensors have their name": ("name", ".safetensors", True),
    "in the middle of the description": ("description", "", True),
    "before the description has its name": ("name", ".json", True),
    "with nothing there before": ("name", ".json", False),
}


@pytest.mark.parametrize(("place", "suffix", "before"), PLACES.values(), ids=PLACES)
def test_a_process_that_is_killed_leaves_what_was_there_before(place, suffix, before, tmp_path):
    store = store_in(tmp_path)
    if before:
        store.save(KEY, a_part())
    process = start(_STUCK, tmp_path, place, suffix)
    try:
        assert process.stdout.readline() == "stuck\n"
    finally:
        process.kill()
        process.communicate()
    left = [path for path in tmp_path.rglob("*") if path.name.startswith(TEMPORARY)]
    assert len(left) == 1
    if before:
        assert_same(store.load(KEY), a_part())
    else:
        assert store.load(KEY) is None
    # What was left behind is no part, is in nobody's way, and goes when nobody can be writing it.
    prune(tmp_path, Limits(older_than_s=1e9))
    assert left[0].exists()
    prune(tmp_path, Limits(older_than_s=1e9), now_s=time.time() + 7200)
    assert not left[0].exists()
    assert description_of(tmp_path).exists() is before
    store.save(KEY, a_part(2.0))
    assert_same(store.load(KEY), a_part(2.0))


def test_a_reader_that_has_begun_reads_to_the_end(tmp_path, monkeypatch):
    store = store_in(tmp_path)
    store.save(KEY, a_part())
    read = store_module.read_tensors

    def pruned_meanwhile(file, size_bytes, where):
        prune(tmp_path, Limits())
        return read(file, size_bytes, where)

    monkeypatch.setattr(store_module, "read_tensors", pruned_meanwhile)
    assert_same(store.load(KEY), a_part())
    assert list(tmp_path.iterdir()) == []
