"""Write manifests for tests, and read them."""

from __future__ import annotations

from typing import Any

import yaml

from sdi_gate.manifest.reading import ReadManifest, parse_manifest

BASE = f"hf:org/base@{'a' * 40}"
TUNE = f"hf:org/tune@{'b' * 40}"
OTHER = f"hf:org/other@{'c' * 40}"


def entry(name: str = "support", candidate: str = TUNE, **more: str) -> dict[str, Any]:
    return {"name": name, "candidate": candidate, **more}


def document(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"apiVersion": "sdi-gate/v1", "kind": "Candidates"}
    return {**head, **more, "candidates": list(entries) or [entry()]}


def written(*entries: dict[str, Any], **more: Any) -> bytes:
    return yaml.safe_dump(document(*entries, **more), sort_keys=False).encode()


def read(*entries: dict[str, Any], **more: Any) -> ReadManifest:
    return parse_manifest(written(*entries, **more), "models.yml")
