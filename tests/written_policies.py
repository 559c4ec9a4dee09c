"""Write policies for tests of the commands that explain, compare and replay them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from report_documents import document, model, passing

from sdi_gate.report.document import dump

if TYPE_CHECKING:
    from pathlib import Path

# Results of this scale were recorded with a verdict.
RECORDED_SCALE = 0.4
HEAD = "apiVersion: sdi-gate/v1\nkind: Policy\nmetadata: {name: %s}\n"
PARENT = """apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: parent, owner: model-governance, revision: 3}
mode: warn
required-tier: weights
limits:
  sdi: {warn: 0.45, fail: 0.6}
  coverage: {fail: 0.9}
documentation: {reviewer: the review board}
"""
CHILD = """apiVersion: sdi-gate/v1
kind: Policy
metadata: {name: child, contact: governance@example.com, version: "2.1", revision: 7}
extends: ./parent.yml
mode: enforce
limits:
  behaviour:
    nll-change: {warn: 0.05, fail: 0.15}
allowed-families: [llama, qwen]
match:
  - match: {family: llama}
    limits:
      sdi: {fail: 0.5}
      behaviour:
        nll-change: {fail: 0.2}
waivers:
  - id: W-1
    owner: research
    reason: The new domain is meant to be read otherwise.
    approved-by: risk-committee
    granted: 2026-01-01
    expires: 2026-01-31
    model: tune
    metric: behaviour.nll-change
    limit: 0.3
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yml"
    path.write_text(text, encoding="utf-8")
    return path


def write_chain(folder: Path) -> Path:
    """Write a policy that extends another one, with a match block and a waiver."""
    write(folder, "parent", PARENT)
    return write(folder, "child", CHILD)


def simple(name: str, rest: str) -> str:
    return HEAD % name + rest


def write_results(folder: Path, scales: dict[str, float]) -> Path:
    """Write the results of several scans, each in a folder of its own; no two are of one model."""
    for number, (name, scale) in enumerate(scales.items()):
        found = document(
            scale=scale,
            candidate=model(f"hf:org/{name}", digest=f"sha256:{number:064d}"),
            verdict=passing().verdict if scale == RECORDED_SCALE else None,
        )
        path = folder / name / "result.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(dump(found))
    return folder


def without_digests(text: str) -> str:
    return re.sub(r"sha256:[0-9a-f]{64}", "@@DIGEST@@", text)
