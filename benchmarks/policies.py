"""Time `sdi-gate policy test policies/`, beside the start of the same Python without it.

Each is a process of its own, in turn, several times; printed are medians, and the ratio of the two
within each round. The target is 2 seconds, and that torch is not loaded.

    python -m benchmarks.policies [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import processes

TARGET_S = 2.0
START = [sys.executable, "-c", "import click, yaml, pydantic"]
TEST = [sys.executable, "-m", "sdi_gate", "policy", "test", "policies"]
LOADS = (
    "import sys\nfrom sdi_gate.cli.main import main\ncode = main(['policy', 'test', 'policies'])\n"
    "sys.exit(code or ('torch' in sys.modules and 1))"
)


def main() -> int:
    """Time both in turn and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    environment = processes.environment(None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        light = processes.run([sys.executable, "-c", LOADS], folder, environment)
        found = [
            [_timed(command, folder, environment) for command in (START, TEST)]
            for _ in range(rounds)
        ]
    last = light.output.strip().splitlines()[-1]
    seconds = statistics.median(test.seconds for _, test in found)
    ratio = statistics.median(test.seconds / start.seconds for start, test in found)
    print(last)
    print(f"torch loaded: {'no' if light.code == 0 else 'YES'}")
    print(f"wall time: {seconds:.2f} s (median of {rounds}; target {TARGET_S:g} s)")
    print(f"beside starting Python with click, PyYAML and pydantic: {ratio:.1f} times as long")
    return 0 if light.code == 0 and seconds < TARGET_S else 1


def _timed(command: list[str], folder: Path, environment: dict[str, str]) -> processes.Run:
    found = processes.run(command, folder, environment)
    if found.code != 0:
        msg = f"{' '.join(command)} ended with {found.code}: {found.output}"
        raise processes.BenchmarkError(msg)
    return found


if __name__ == "__main__":
    sys.exit(main())
