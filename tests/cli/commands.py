"""Run the command line, here or in a process of its own, and look at what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tiny_models import tiny_probe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROJECT = Path(__file__).parents[2]
POLICIES = PROJECT / "policies"
# What a person's shell may hold and a test must not see.
_PRIVATE = ("HF_", "HUGGING", "SDI_", "PYTHON", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "COV_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(home: Path, **changes: str) -> dict[str, str]:
    """Return an environment without settings of the Hub's client, whose cache is in ``home``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_PRIVATE)}
    # A process whose files are bounded in size would leave half of its byte code for the others.
    own = {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SDI_GATE_CACHE": str(home / "profiles"),
    }
    return kept | own | changes


def run_process(*arguments: object, env: Mapping[str, str], **options: object) -> Ended:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "sdi_gate", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        command, check=False, env=dict(env), text=True, encoding="utf-8", timeout=300, **pipes
    )
    return Ended(code=done.returncode, out=done.stdout or "", err=done.stderr or "")


def references(base: Path, candidate: Path) -> tuple[str, ...]:
    return ("--base", f"file:{base}", "--candidate", f"file:{candidate}", "--threads", "1")


def write_probe(path: Path) -> Path:
    """Write a probe set of ten samples in two strata."""
    lines = []
    for sample in tiny_probe().samples:
        plain = {"stratum": sample.stratum, "text": sample.text, "prompt": sample.prompt}
        lines.append(json.dumps({key: value for key, value in plain.items() if value}))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def assert_one_clear_error(ended: Ended, code: int, *words: str) -> None:
    """Check for exactly one error, no result, and no traceback."""
    shown = f"exit code {ended.code}\n{ended.err}"
    errors = [line for line in ended.err.splitlines() if line.startswith("sdi-gate: error: ")]
    assert ended.code == code, shown
    assert ended.out == "", ended.out
    assert len(errors) == 1, shown
    assert "Traceback" not in ended.err, shown
    assert "internal error" not in ended.err, shown
    assert all(word in ended.err for word in words), shown


@contextmanager
def nobody_writing_to(pipe: Path) -> Iterator[None]:
    """Make a pipe that nobody writes to; whoever waits for it all the same waits five seconds."""
    os.mkfifo(pipe)
    late = threading.Timer(5.0, _close_a_writer_of, [pipe])
    late.start()
    try:
        yield
    finally:
        late.cancel()


def _close_a_writer_of(pipe: Path) -> None:
    with suppress(OSError):
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))
