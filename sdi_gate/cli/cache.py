"""Where profiles of bases are kept, and the commands that list and prune them."""

from __future__ import annotations

import json
import os
import re
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sdi_gate.cli.options import PATH
from sdi_gate.cli.output import printable, put
from sdi_gate.errors import SdiGateError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdi_gate.profiles.listing import Entry
    from sdi_gate.profiles.parts import ProfileStore

LIMIT_BYTES = 20 * 10**9
# A profile that was given by hand is not ours to bound; a file of holes could be of any size.
_PROFILE_BYTES = 10**12
_LAST_SECOND = 253_402_300_799.0
_ENVIRONMENT = "SDI_GATE_CACHE"
_BASE = re.compile(r"sha256:[0-9a-f]{64}")
_DURATION = re.compile(r"([0-9]{1,6})(m|h|d|w)")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(MB|GB|TB|MiB|GiB|TiB)")
_BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class _Age(click.ParamType[float]):
    """Read ``30d``."""

    name = "AGE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail(
                f"expected a number with m, h, d or w, such as 30d; got {value!r}", param, ctx
            )
        return float(int(match[1]) * _SECONDS[match[2]])


class _Size(click.ParamType[int]):
    """Read ``20GB``."""

    name = "SIZE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        match = _SIZE.fullmatch(str(value))
        if match is None:
            units = ", ".join(_BYTES)
            self.fail(
                f"expected a number with one of {units}, such as 20GB; got {value!r}", param, ctx
            )
        return int(float(match[1]) * _BYTES[match[2]])


def cache_folder(given: Path | None) -> Path | None:
    """Find the folder in which profiles are kept.

    Args:
        given: What the command line says, if anything.

    Returns:
        That; else ``SDI_GATE_CACHE``; else ``sdi-gate`` in ``XDG_CACHE_HOME`` or ``~/.cache``. None
        where nobody has a home.
    """
    if given is not None:
        return given
    if own := os.environ.get(_ENVIRONMENT):
        return Path(own)
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # Not a relative one, says the XDG Base Directory Specification.
    if shared.is_absolute():
        return shared / "sdi-gate"
    try:
        return Path.home() / ".cache" / "sdi-gate"
    except RuntimeError:
        return None


def open_store(profile: Path | None, cache: Path | None, *, use_cache: bool) -> ProfileStore:
    """Compose where a scan reads profiles and keeps them.

    Args:
        profile: A folder that `sdi-gate profile --out` wrote, read first and never written.
        cache: The cache's folder, if not the usual one.
        use_cache: Whether there is to be a cache.

    Returns:
        The store.

    Raises:
        UsageError: If the profile is no folder.
    """
    from sdi_gate.profiles.store import FolderStore, LayeredStore, NoStore, Use  # noqa: PLC0415

    folder = cache_folder(cache) if use_cache else None
    kept = FolderStore(folder, LIMIT_BYTES) if folder is not None else NoStore()
    if profile is None:
        return kept
    if not profile.is_dir():
        msg = f"--profile: expected a folder; got {str(profile)!r}"
        raise UsageError(msg, hint="sdi-gate profile --base REF --out DIR makes one")
    return LayeredStore((FolderStore(profile, _PROFILE_BYTES, Use.SOURCE), kept))


def open_target(out: Path | None, cache: Path | None) -> tuple[ProfileStore, Path]:
    """Compose where a profile is made, which has to be possible.

    Args:
        out: A folder for it alone; None for the cache.
        cache: The cache's folder, if not the usual one.

    Returns:
        The store, and its folder.

    Raises:
        UsageError: If nobody has a home for a cache, or the folder cannot be written to.
    """  # noqa: DOC502 - raised by the functions called
    from sdi_gate.profiles.files import check_root  # noqa: PLC0415
    from sdi_gate.profiles.store import FolderStore, Use  # noqa: PLC0415

    folder = _needed(cache) if out is None else out
    # Before hours of work go into it.
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        check_root(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    limit_bytes = LIMIT_BYTES if out is None else _PROFILE_BYTES
    return FolderStore(folder, limit_bytes, Use.TARGET), folder


_CACHE = click.option(
    "--cache",
    "folder",
    type=PATH,
    metavar="DIR",
    help="The cache; default: $SDI_GATE_CACHE, else ~/.cache/sdi-gate.",
)


@click.group()
def cache() -> None:
    """Look after the profiles of bases that are kept on this machine."""


@cache.command(name="list")
@_CACHE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(folder: Path | None, *, as_json: bool) -> None:
    """List the parts of the profiles, with their sizes and when they were used last."""
    from sdi_gate.profiles.listing import list_profiles  # noqa: PLC0415

    where = _needed(folder)
    with _usable(where):
        entries = list_profiles(where)
    put(_as_json(where, entries) if as_json else printable(_as_text(where, entries)))


@cache.command()
@_CACHE
@click.option(
    "--older-than", type=_Age(), help="Remove what was not used for so long (30d, 12h, 90m, 4w)."
)
@click.option(
    "--keep", type=_Size(), help="Keep so much (20GB), and remove what was not used for longest."
)
@click.option("--base", metavar="sha256:...", help="Remove parts of this base alone.")
@click.option("--all", "everything", is_flag=True, help="Remove all parts of all bases.")
def prune(
    folder: Path | None,
    older_than: float | None,
    keep: int | None,
    base: str | None,
    *,
    everything: bool,
) -> None:
    """Remove profiles from the cache: they are made again when they are needed."""
    from sdi_gate.profiles.pruning import Limits  # noqa: PLC0415
    from sdi_gate.profiles.pruning import prune as remove  # noqa: PLC0415
    from sdi_gate.report.numbers import plural, size  # noqa: PLC0415

    _check_choice((older_than, keep, base), base, everything=everything)
    where = _needed(folder)
    with _usable(where):
        pruned = remove(where, Limits(keep_bytes=keep, older_than_s=older_than, base=base))
    freed = size(pruned.freed_bytes)
    put(printable(f"Removed {plural(pruned.parts, 'part')}, {freed}, from {where}\n"))


def _check_choice(chosen: Sequence[object], base: str | None, *, everything: bool) -> None:
    if everything == any(choice is not None for choice in chosen):
        msg = "expected --older-than, --keep or --base, or else --all"
        raise UsageError(msg, hint="sdi-gate cache list shows what is there")
    if base is not None and not _BASE.fullmatch(base):
        msg = f"--base: expected sha256: and 64 hex digits; got {base[:80]!r}"
        raise UsageError(msg, hint="sdi-gate cache list shows the bases")


def _needed(given: Path | None) -> Path:
    folder = cache_folder(given)
    if folder is None:
        msg = "this user has no home, and so no cache"
        raise UsageError(msg, hint=f"give a folder with --cache, or set {_ENVIRONMENT}")
    return folder


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        msg = f"the folder {str(folder)!r} cannot be used: {exc.strerror}"
        raise UsageError(msg, hint="give another folder") from exc
    except SdiGateError as exc:
        msg = f"the folder {str(folder)!r} cannot be used: {exc.message}"
        raise UsageError(msg, hint=exc.hint) from exc


def _as_json(folder: Path, entries: Sequence[Entry]) -> str:
    profiles = [
        {
            "base": entry.base,
            "part": entry.part,
            "parameters": dict(entry.key.parameters) if entry.key is not None else None,
            "size_bytes": entry.size_bytes,
            "last_used": _last_use(entry).isoformat(timespec="seconds"),
            "problem": entry.problem or None,
            "file": str(entry.path),
        }
        for entry in entries
    ]
    return json.dumps({"folder": str(folder), "profiles": profiles}, indent=1) + "\n"


def _as_text(folder: Path, entries: Sequence[Entry]) -> str:
    from sdi_gate.report.numbers import plural, size  # noqa: PLC0415

    if not entries:
        return f"No profiles in {folder}\n"
    lines = []
    for base in sorted({entry.base for entry in entries}):
        lines.append(base)
        lines.extend(_line(entry) for entry in entries if entry.base == base)
    held = size(sum(entry.size_bytes for entry in entries))
    lines.append(f"{plural(len(entries), 'part')}, {held}, in {folder}")
    return "\n".join(lines) + "\n"


def _line(entry: Entry) -> str:
    from sdi_gate.report.numbers import size  # noqa: PLC0415

    used = f"{_last_use(entry):%Y-%m-%d %H:%M} UTC"
    problem = f"; cannot be used: {entry.problem}" if entry.problem else ""
    return f"  {entry.part:<10} {size(entry.size_bytes):>10}  used {used}{problem}"


def _last_use(entry: Entry) -> datetime:
    # A file system has more years than a calendar.
    return datetime.fromtimestamp(min(max(entry.last_used_s, 0.0), _LAST_SECOND), UTC)
