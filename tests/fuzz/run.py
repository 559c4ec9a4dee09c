"""Try many mutated files on the readers, each target in a process of its own.

    .venv/bin/python tests/fuzz/run.py --examples 100000 --seed 0 [--start N] [--targets a,b]

What is found is kept under tests/fuzz/found/, where the test suite replays it. The examples are
the same for the same seed and number, so that --start goes on where a run was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

_HERE = Path(__file__).resolve().parent
_FOUND = _HERE / "found"
_SHARES = {"header": 30, "index": 20, "config": 20, "adapter": 15, "folder": 15}
# A reader that does not come back to Python is ended from outside.
_PATIENCE_S = 60.0
_WARM_UP_S = 300.0
_KEPT_OF_A_KIND = 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--examples", type=int, default=10_000, help="how many, all targets together"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="first number, of every target")
    parser.add_argument("--targets", default=",".join(_SHARES), help="which of them")
    parser.add_argument("--found", type=Path, default=_FOUND, help="where findings are kept")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    # Before torch is loaded: one core is what this takes.
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    sys.path[:0] = [str(_HERE), str(_HERE.parent)]
    if given.worker:
        _work(given)
        return 0
    return _direct(given)


def _direct(given: argparse.Namespace) -> int:
    from fuzz_engine import Tally  # noqa: PLC0415 - loads torch, which the options do not need

    chosen = {target: _SHARES[target] for target in given.targets.split(",")}
    tallies: dict[str, Tally] = {}
    for target, share in chosen.items():
        count = given.examples * share // sum(chosen.values())
        tallies[target] = Tally()
        begun, number, stop = time.monotonic(), given.start, given.start + count
        while number < stop:
            number = _run_worker(given, target, number, stop, tallies[target])
        _print_target(target, tallies[target], time.monotonic() - begun)
    findings = sum(tally.findings.total() for tally in tallies.values())
    examples = sum(tally.examples for tally in tallies.values())
    _say(f"{examples:,} examples, {findings:,} findings")
    return 1 if findings else 0


def _run_worker(given: argparse.Namespace, target: str, start: int, stop: int, tally) -> int:
    """Return the number to go on with; a worker that ends early is a finding itself."""
    command = [sys.executable, __file__, "--worker", target, "--seed", str(given.seed)]
    command += ["--start", str(start), "--examples", str(stop - start)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as worker,  # noqa: S603 - ourselves
    ):
        assert worker.stdout is not None
        number = _listen(given, target, worker.stdout, start, tally)
        if number == stop and worker.wait() == 0:
            return stop
        worker.kill()
        code = worker.wait()
        errors.seek(0)
        trace = errors.read()[-4000:].decode(errors="replace")
        if number < 0:
            msg = f"the worker of {target!r} did not come up:\n{trace}"
            raise SystemExit(msg)
    _keep(given, target, number, f"the process ended with {code}, or hung", trace, tally)
    return number + 1


def _listen(given: argparse.Namespace, target: str, lines: IO[bytes], start: int, tally) -> int:
    from fuzz_engine import Outcome  # noqa: PLC0415 - see above

    number, patience, pending = -1, _WARM_UP_S, b""
    while select.select([lines], [], [], patience)[0]:
        chunk = os.read(lines.fileno(), 1 << 16)
        if not chunk:
            break
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            plain = json.loads(line)
            if plain is None:  # warmed up
                number, patience = start, _PATIENCE_S
                continue
            outcome = Outcome(**plain)
            tally.add(outcome, number)
            if outcome.finding:
                tally.findings.subtract([outcome.finding])
                _keep(given, target, number, outcome.finding, outcome.trace, tally)
            number += 1
    return number


def _keep(
    given: argparse.Namespace, target: str, number: int, finding: str, trace: str, tally
) -> None:
    from fuzz_cases import make_case  # noqa: PLC0415 - see above
    from fuzz_engine import digest_of  # noqa: PLC0415 - see above

    tally.findings.update([finding])
    if tally.findings[finding] > _KEPT_OF_A_KIND:
        return
    case = make_case(target, f"{given.seed}/{number}")
    path = given.found / f"{target}-{digest_of(case)}.json"
    case.save(path, finding)
    _say(
        f"\nFOUND {finding}\n  seed {given.seed}, number {number}, kept as {path}\n{trace}",
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _print_target(target: str, tally, seconds: float) -> None:
    _say(
        f"{target}: {tally.examples:,} examples in {seconds:,.0f} s,"
        f" {tally.accepted.total():,} accepted, {tally.refusals.total():,} refused in"
        f" {len(tally.refusals)} ways, {tally.findings.total()} findings;"
        f" slowest {tally.slowest_s:.2f} s (number {tally.slowest});"
        f" memory grew by {tally.growth_bytes / 1e6:,.0f} MB, at most"
        f" {tally.largest_growth_bytes / 1e6:,.0f} MB in one",
    )
    for what, count in (*tally.accepted.most_common(), *tally.findings.most_common()):
        _say(f"    {count:7,} {what}")


def _work(given: argparse.Namespace) -> None:
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    # What a library prints is no result.
    os.dup2(2, 1)
    from fuzz_cases import make_case  # noqa: PLC0415 - see above
    from fuzz_engine import Workspace, examine, guarded, warm_up  # noqa: PLC0415 - see above

    workspace = Workspace()
    try:
        warm_up(given.worker, workspace)
        with guarded():
            out.write(b"null\n")
            for number in range(given.start, given.start + given.examples):
                case = make_case(given.worker, f"{given.seed}/{number}")
                outcome = examine(case, workspace)
                plain = {name: getattr(outcome, name) for name in outcome.__slots__}
                out.write(json.dumps(plain).encode() + b"\n")
    finally:
        workspace.close()


if __name__ == "__main__":
    sys.exit(main())
