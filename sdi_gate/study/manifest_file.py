"""Read and write manifests."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

import yaml
from pydantic import ValidationError

from sdi_gate.errors import UsageError
from sdi_gate.study.documents import DocumentError, explain, listed, read_yaml
from sdi_gate.study.keys import PROBE, TASKS
from sdi_gate.study.manifest import SHIPPED_PROBES, Manifest

MAX_SIZE_BYTES = 16_000_000
_HINT = "docs/schema/manifest-v1.json says what a manifest holds"


def load_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Args:
        path: A YAML file.

    Returns:
        The manifest, valid in every respect.

    Raises:
        UsageError: If the file cannot be read or is no manifest; the message lists every problem
            with file, line and column.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIZE_BYTES + 1)
    except OSError as exc:
        msg = f"cannot read the manifest {str(path)!r}: {exc.strerror}"
        raise UsageError(msg, hint=_HINT) from exc
    if len(content) > MAX_SIZE_BYTES:
        msg = f"{path}: not a manifest: larger than {MAX_SIZE_BYTES:,} bytes"
        raise UsageError(msg, hint=_HINT)
    try:
        return parse_manifest(content.decode(), str(path))
    except UnicodeDecodeError as exc:
        msg = f"{path}: not a manifest: not UTF-8 at byte {exc.start}"
        raise UsageError(msg, hint=_HINT) from exc


def parse_manifest(text: str, where: str) -> Manifest:
    """Read a manifest from text.

    Args:
        text: YAML.
        where: Name of the file, for messages.

    Returns:
        The manifest.

    Raises:
        DocumentError: If the text is no manifest.
    """
    plain, places = read_yaml(text, where)
    try:
        return Manifest.model_validate_json(json.dumps(plain, allow_nan=False))
    except ValidationError as exc:
        raise DocumentError(listed(where, explain(exc, places)), hint=_HINT) from exc


def with_inputs(manifest: Manifest, tasks: Path | None = None) -> Manifest:
    """Return a manifest whose keys follow the content of the files that it is worked on with.

    Args:
        manifest: The manifest.
        tasks: Folder of items that stand for the population's own tests.

    Returns:
        The manifest; with such tests, or with a probe set of a file, their digests are settings.

    Raises:
        UsageError: If such a file cannot be read.
    """  # noqa: DOC502 - raised by the digest
    files = {TASKS: sorted(tasks.glob("*.jsonl"))} if tasks is not None else {}
    if manifest.probe not in SHIPPED_PROBES:
        files[PROBE] = [Path(manifest.probe)]
    if not files:
        return manifest
    extra = manifest.settings.extra | {name: _digest(paths) for name, paths in files.items()}
    settings = manifest.settings.model_copy(update={"extra": extra})
    return manifest.model_copy(update={"settings": settings})


def _digest(paths: list[Path]) -> str:
    hashed = hashlib.sha256()
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as exc:
            msg = f"cannot read {str(path)!r}: {exc.strerror}"
            raise UsageError(msg) from exc
        hashed.update(f"{path.name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return hashed.hexdigest()


def dump_manifest(manifest: Manifest) -> str:
    """Write a manifest as YAML that `parse_manifest` reads back equal.

    Args:
        manifest: The manifest.

    Returns:
        YAML with the keys in the order of the schema.
    """
    plain = manifest.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def shipped_manifest(name: str) -> Path:
    """Say where a manifest is that ships with the package.

    Args:
        name: Its name, such as ``public``.

    Returns:
        The file, which may not exist.
    """
    return Path(str(resources.files("sdi_gate.study") / "data" / f"{name}.yaml"))
