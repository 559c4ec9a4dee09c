"""The command that writes a first policy."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sdi_gate.cli.options import PATH
from sdi_gate.cli.output import printable, put
from sdi_gate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Not asked of the module that has the texts: help needs no schema.
_POSTURES = ("default", "observe", "strict", "regulated")
_SUFFIXES = (".yml", ".yaml")


@click.command(name="init")
@click.option(
    "--posture",
    type=click.Choice(_POSTURES),
    default="default",
    show_default=True,
    help="Which policy to start from; observe blocks nothing.",
)
@click.option("--name", metavar="NAME", help="Its name; default: that of the posture.")
@click.option("--owner", metavar="TEXT", help="Who answers for it; default: model-governance.")
@click.option(
    "--out",
    type=PATH,
    default=Path("sdi-gate-policy.yml"),
    show_default=True,
    help="File to write; the test goes beside it.",
)
def init_command(posture: str, name: str | None, owner: str | None, out: Path) -> None:
    """Write a policy with comments, and a test for it, to start from.

    Asks nothing, and overwrites nothing.
    """
    from sdi_gate.policy.loader import parse_policy  # noqa: PLC0415
    from sdi_gate.policy.telling.starting import metadata_of, start  # noqa: PLC0415

    test = _test_file(out)
    metadata = metadata_of(posture if name is None else name, owner)
    texts = start(posture, metadata, out)
    digest = parse_policy(texts.policy.encode(), path=str(out)).digest
    _write({test: texts.test.encode(), out: texts.policy.encode()})
    put(printable(_told(out, test, f"{metadata.name}, {digest}")))


def _test_file(out: Path) -> Path:
    if out.suffix not in _SUFFIXES or out.stem.endswith(".test"):
        msg = (
            f"--out: expected a name that ends with .yml, and not with .test.yml; got {out.name!r}"
        )
        raise UsageError(msg, hint="such as sdi-gate-policy.yml")
    if not out.parent.is_dir():
        msg = f"--out: there is no folder {str(out.parent)!r} to write {out.name!r} to"
        raise UsageError(msg, hint="make the folder first")
    return out.with_name(f"{out.stem}.test.yml")


def _write(contents: Mapping[Path, bytes]) -> None:
    # All of them or none, each whole from its first moment.
    from sdi_gate.report.files import remove, stage  # noqa: PLC0415

    staged: dict[Path, Path] = {}
    placed: list[Path] = []
    path = next(iter(contents))
    try:
        for path, content in contents.items():
            _refuse_existing(path)
            staged[path] = stage(path, content)
        for path, temporary in staged.items():
            _place(temporary, path)
            placed.append(path)
    except BaseException as exc:
        for written in placed:
            remove(written)
        if isinstance(exc, OSError):
            msg = f"cannot write {str(path)!r}: {exc.strerror}"
            raise UsageError(msg, hint="give another file with --out") from exc
        raise
    finally:
        for temporary in staged.values():
            remove(temporary)


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        msg = f"{str(path)!r} is there already, and nothing is overwritten"
        raise UsageError(msg, hint="give another file with --out, or move it away")


def _place(temporary: Path, path: Path) -> None:
    try:
        # Unlike a renamed file, a link never takes the place of another.
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # Some file systems have no links.
        _refuse_existing(path)
        temporary.rename(path)


def _told(out: Path, test: Path, policy: str) -> str:
    file, cases = shlex.quote(str(out)), shlex.quote(str(test))
    return (
        f"Wrote {out} (policy {policy})\n"
        f"Wrote {test}\n"
        "\n"
        "Next:\n"
        f"  sdi-gate policy validate {file}   # what it demands\n"
        f"  sdi-gate policy test {cases}   # what it decides\n"
        f"  sdi-gate check --base REF --candidate REF --policy {file}\n"
    )
