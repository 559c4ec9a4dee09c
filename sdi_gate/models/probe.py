"""Hold the probe set: fixed texts in strata, pinned by their content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from sdi_gate.errors import FormatError, UsageError
from sdi_gate.files import read_at_most

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

STRATA = (
    "general",
    "knowledge",
    "instruction",
    "reasoning",
    "code",
    "dialogue",
    "safety",
    "misconception",
    "multilingual",
)
NAME = "sdi-probe-1"
# Changing a sample changes every number that rests on the probe: the set is pinned here.
DIGEST = "sha256:f86c04289827b1ae3a60ab1d7899e2fe673a5d88d7a56fa7de540cab5bb00092"
MIN_SAMPLES_PER_STRATUM = 4
# What a reduced set keeps of each stratum, if the stratum has as many.
MIN_KEPT = 8
_MAX_BYTES = 50_000_000
_KEYS = frozenset({"stratum", "text", "prompt"})
_EXAMPLE = '{"stratum": "general", "text": "…"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSample:
    """Hold one text.

    Attributes:
        stratum: The capability that it stands for.
        text: The text; the answer, where there is a prompt.
        prompt: What the text answers; it goes through the chat template where there is one.
    """

    stratum: str
    text: str
    prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSet:
    """Hold the texts that both models read.

    Attributes:
        name: Name of the set, or of the user's file.
        samples: The texts, stratum by stratum.
    """

    name: str
    samples: tuple[ProbeSample, ...]

    @property
    def digest(self) -> str:
        """Return ``sha256:…`` over the samples in their order."""
        lines = (
            json.dumps([sample.stratum, sample.prompt, sample.text], ensure_ascii=False) + "\n"
            for sample in self.samples
        )
        return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def strata(self) -> dict[str, int]:
        """Return the number of samples of each stratum, in order of first appearance."""
        counts: dict[str, int] = {}
        for sample in self.samples:
            counts[sample.stratum] = counts.get(sample.stratum, 0) + 1
        return counts

    def chosen(self, indices: Sequence[int]) -> ProbeSet:
        """Return the set of some of the samples.

        Args:
            indices: Which, in ascending order.

        Returns:
            The set, named after this one; this one itself if it is all of them.
        """
        if len(indices) == len(self.samples):
            return self
        name = f"{self.name} ({len(indices)} of {len(self.samples)})"
        return ProbeSet(name=name, samples=tuple(self.samples[i] for i in indices))


def reduced_sizes(strata: Mapping[str, int], part: int, whole: int) -> dict[str, int]:
    """Say how many samples of each stratum a reduced set keeps.

    Args:
        strata: Samples of each stratum.
        part: How much to keep; at least 0.
        whole: What ``part`` is of.

    Returns:
        For each stratum its share, rounded up, but `MIN_KEPT` at least, or all that it has.
    """
    return {
        name: min(count, max(MIN_KEPT, -(-count * part // whole))) for name, count in strata.items()
    }


def reduced_indices(probe: ProbeSet, part: int, whole: int) -> tuple[int, ...]:
    """Choose the samples of a reduced set.

    Args:
        probe: All samples.
        part: How much to keep; at least 0.
        whole: What ``part`` is of.

    Returns:
        Positions of the samples, ascending: of every stratum as many as `reduced_sizes` says,
        spread evenly over it, the same for every model and every run.
    """
    sizes = reduced_sizes(probe.strata, part, whole)
    places: dict[str, list[int]] = {}
    for index, sample in enumerate(probe.samples):
        places.setdefault(sample.stratum, []).append(index)
    return tuple(
        sorted(
            own[position * len(own) // sizes[name]]
            for name, own in places.items()
            for position in range(sizes[name])
        )
    )


def load_default() -> ProbeSet:
    """Load the probe set that ships with the package.

    Returns:
        1,000 samples over nine strata.

    Raises:
        FormatError: If its files are not those that were shipped.
    """
    folder = resources.files("sdi_gate.models") / "probe_data"
    hint = "install sdi-gate again, or give a probe set of your own"
    try:
        samples = [
            sample
            for stratum in STRATA
            for sample in parse((folder / f"{stratum}.jsonl").read_bytes(), f"{stratum}.jsonl")
        ]
    except (OSError, UsageError) as exc:
        raise FormatError(f"the shipped probe set {NAME} is damaged: {exc}", hint=hint) from exc
    probe = ProbeSet(name=NAME, samples=tuple(samples))
    if probe.digest != DIGEST:
        msg = f"the shipped probe set {NAME} was changed; expected {DIGEST}, got {probe.digest}"
        raise FormatError(msg, hint=hint)
    return probe


def load_file(path: Path) -> ProbeSet:
    """Load a user's own probe set.

    Args:
        path: JSON Lines with ``text``, ``stratum`` and optionally ``prompt``.

    Returns:
        The set.

    Raises:
        UsageError: If the file cannot be read, a line is not a sample, or a stratum is too small.
    """
    try:
        content = read_at_most(path, _MAX_BYTES)
    except OSError as exc:
        msg = f"cannot read the probe set {str(path)!r}: {exc.strerror}"
        raise UsageError(msg, hint="check the path given with --probe") from exc
    if len(content) > _MAX_BYTES:
        msg = f"{str(path)!r}: a probe set has at most {_MAX_BYTES:,} bytes; got more"
        raise UsageError(msg)
    # The name says whose it is: a file may be called like the shipped set.
    probe = ProbeSet(name=f"own:{path.name}", samples=tuple(parse(content, str(path))))
    small = {name: n for name, n in probe.strata.items() if n < MIN_SAMPLES_PER_STRATUM}
    if small or not probe.samples:
        got = small or "no samples at all"
        msg = f"{str(path)!r}: every stratum needs at least {MIN_SAMPLES_PER_STRATUM} samples;"
        msg = f"{msg} got {got}"
        raise UsageError(msg, hint="some tens in each stratum make the numbers worth reading")
    return probe


def parse(content: bytes, where: str) -> list[ProbeSample]:
    """Read samples from JSON Lines.

    Args:
        content: UTF-8; blank lines are skipped.
        where: Name of the file, for messages.

    Returns:
        The samples in the file's order.

    Raises:
        UsageError: If a line is not a sample.
    """  # noqa: DOC502 - raised by _sample()
    return [
        _sample(line, f"{where}:{number}")
        for number, line in enumerate(content.split(b"\n"), start=1)
        if line.strip()
    ]


def _sample(line: bytes, where: str) -> ProbeSample:
    hint = f"write one object a line, such as {_EXAMPLE}"
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as exc:
        msg = f"{where}: not JSON: {type(exc).__name__}"
        raise UsageError(msg, hint=hint) from exc
    if not isinstance(plain, dict) or not {"stratum", "text"} <= plain.keys() <= _KEYS:
        got = ", ".join(sorted(plain)) if isinstance(plain, dict) else type(plain).__name__
        msg = f"{where}: expected the keys text and stratum, prompt if you like; got {got}"
        raise UsageError(msg, hint=hint)
    if not all(map(_is_text, plain.values())):
        msg = f"{where}: text, stratum and prompt are strings of characters, not empty"
        raise UsageError(msg, hint=hint)
    return ProbeSample(**plain)


def _is_text(value: object) -> bool:
    # JSON can hold half of a surrogate pair, which is no character and has no UTF-8.
    return (
        isinstance(value, str)
        and bool(value.strip())
        and not any("\ud800" <= character <= "\udfff" for character in value)
    )
