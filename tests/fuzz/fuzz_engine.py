"""Run one case under a clock and a bound of memory, and say what came of it."""

from __future__ import annotations

import hashlib
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuzz_cases import Case
from fuzz_seeds import SEEDS, sound
from fuzz_targets import READERS
from transformers.utils import logging as transformers_logging

from sdi_gate.errors import SdiGateError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of the processor's time, so that what else runs on the machine counts for nothing; and how many
# times that by the clock, for what waits and does nothing.
MAX_SECONDS = 5.0
_WAITING = 4.0
MAX_GROWTH_BYTES = 200_000_000
# Memory that is asked for and never touched shows here alone.
_HEADROOM_BYTES = 1_000_000_000
_MAX_MESSAGE = 2_000
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|file:\S+")
_BRACKETS = re.compile(r"[\[({].*[\])}]")
_NUMBER = re.compile(r"-?\d[\d,.e+]*")


class HangError(BaseException):
    """Say that a reader took too long; no `Exception`, for those are caught on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Say what came of a case: it was accepted, or refused with a message, or is a finding."""

    accepted: str = ""
    refused: str = ""
    finding: str = ""
    trace: str = ""
    seconds: float = 0.0
    growth_bytes: int = 0


class Workspace:
    """Hold a folder for each seed, where the files of one case after the other lie."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
        self.root = Path(
            tempfile.mkdtemp(prefix="sdi-fuzz-", dir=memory if memory.is_dir() else None)
        )

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    @contextmanager
    def holding(self, case: Case) -> Iterator[Path]:
        folder = self.root / case.seed
        if not folder.is_dir():
            folder.mkdir()
            for name, content in sound(case.seed).items():
                (folder / name).write_bytes(content)
        try:
            _lay(folder, case.changed)
            yield folder
        finally:
            _lay(folder, {name: sound(case.seed).get(name) for name in case.changed})


def _lay(folder: Path, files: Any) -> None:
    for name, content in files.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_bytes(content)


def examine(case: Case, workspace: Workspace) -> Outcome:
    """Run a case; `guarded` must hold."""
    with workspace.holding(case) as folder:
        before, start = _peak_bytes(), time.process_time()
        outcome = _run(case, folder)
        seconds, growth = time.process_time() - start, _peak_bytes() - before
    finding = outcome.finding
    if seconds > MAX_SECONDS:
        finding = finding or "hang"
    elif growth > MAX_GROWTH_BYTES:
        finding = finding or "memory"
    return Outcome(
        accepted=outcome.accepted,
        refused=outcome.refused,
        finding=finding,
        trace=outcome.trace,
        seconds=seconds,
        growth_bytes=growth,
    )


def _run(case: Case, folder: Path) -> Outcome:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
            signal.setitimer(signal.ITIMER_REAL, _WAITING * MAX_SECONDS)
            try:
                return Outcome(accepted=READERS[case.target](case, folder))
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                signal.setitimer(signal.ITIMER_REAL, 0)
    except SdiGateError as exc:
        return _refusal(exc)
    except (Exception, HangError) as exc:  # noqa: BLE001 - finding these is what this is for
        trace = "".join(traceback.format_exception(exc))
        return Outcome(finding=_signature(exc), trace=trace[-6000:])


def _refusal(exc: SdiGateError) -> Outcome:
    text = exc.message + exc.hint
    kind = plain_message(exc.message)
    if not text.isprintable() or len(text) > _MAX_MESSAGE:
        # Whatever prints it would print a stranger's control characters, or pages of them.
        trace = text[:4000].encode("unicode_escape").decode()
        return Outcome(finding=f"unsafe message: {kind[:80]}", trace=trace)
    return Outcome(refused=kind)


def plain_message(message: str) -> str:
    """Return what is the same in all messages of one kind."""
    text = _BRACKETS.sub("[]", _QUOTED.sub("''", message))
    return _NUMBER.sub("0", text)


def _signature(exc: BaseException) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    ours = [frame for frame in frames if "/sdi_gate/" in frame.filename] or frames
    # Where in a loop the alarm comes is chance; in whose model is not.
    ends = [f for f in frames if "transformers/models/" in f.filename] or ours[-1:]
    last = ends[0] if isinstance(exc, HangError) else frames[-1]
    places = [f"{Path(frame.filename).name}:{frame.name}" for frame in (last, ours[-1])]
    return f"{type(exc).__name__} in {' from '.join(dict.fromkeys(places))}"


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def guarded() -> Iterator[None]:
    """Bound the address space and take the alarms, while the block runs."""

    def hang(*_unused: object) -> None:
        msg = f"over {MAX_SECONDS:.0f} s"
        raise HangError(msg)

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    bound = pages * resource.getpagesize() + _HEADROOM_BYTES
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    alarms = (signal.SIGALRM, signal.SIGPROF)
    handlers = [signal.signal(alarm, hang) for alarm in alarms]
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        transformers_logging.set_verbosity(verbosity)
        for alarm, handler in zip(alarms, handlers, strict=True):
            signal.signal(alarm, handler)


@dataclass
class Tally:
    """Count what came of the cases of one target."""

    examples: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: object = None
    seconds: float = 0.0
    growth_bytes: int = 0
    largest_growth_bytes: int = 0

    def add(self, outcome: Outcome, number: object) -> None:
        self.examples += 1
        self.seconds += outcome.seconds
        for counter, what in (
            (self.accepted, outcome.accepted),
            (self.refusals, outcome.refused),
            (self.findings, outcome.finding),
        ):
            counter.update([what] if what else [])
        if outcome.seconds > self.slowest_s:
            self.slowest_s, self.slowest = outcome.seconds, number
        self.growth_bytes += outcome.growth_bytes
        self.largest_growth_bytes = max(self.largest_growth_bytes, outcome.growth_bytes)


def warm_up(target: str, workspace: Workspace) -> dict[str, Outcome]:
    """Read the sound seeds, so that what is loaded once is no growth of a case."""
    with guarded():
        return {seed: examine(Case(target, seed, {}), workspace) for seed in SEEDS[target]}


def digest_of(case: Case) -> str:
    parts = repr((case.seed, sorted(case.changed.items()))).encode()
    return hashlib.sha256(parts).hexdigest()[:12]
