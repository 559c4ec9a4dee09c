"""Build policies with waivers, as files and as levels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scan_facts import facts_of

from sdi_gate.policy.facts import Facts, ModelIdentity
from sdi_gate.policy.format.schema import API_VERSION, KIND
from sdi_gate.policy.loader import LoadedPolicy, load_policy

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "registry/chat"
DIGEST, OTHER_DIGEST = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


def waiver(ident: str = "W-1", **changes: Any) -> dict[str, Any]:
    """Return a waiver for the model on the index, in force on the day of the tests."""
    return {
        "id": ident,
        "owner": "chat-team",
        "reason": "The new dialect moves the index; see the ticket.",
        "approved-by": "model-governance",
        "granted": "2026-11-01",
        "expires": "2026-12-31",
        "model": MODEL,
        "metric": "sdi",
        "limit": 0.75,
    } | {key.replace("_", "-"): value for key, value in changes.items()}


def written(folder: Path, name: str = "policy", **rest: Any) -> Path:
    """Write a policy; JSON is YAML."""
    whole = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}} | {
        key.replace("_", "-"): value for key, value in rest.items()
    }
    path = folder / f"{name}.yml"
    path.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    return path


def loaded(folder: Path, *waivers: dict[str, Any], **rest: Any) -> LoadedPolicy:
    """Return a policy that warns above 0.3 and fails above 0.5, with waivers."""
    rest = {"limits": {"sdi": {"warn": 0.3, "fail": 0.5}}} | rest
    if waivers:
        rest["waivers"] = list(waivers)
    return load_policy(written(folder, **rest))


def chat(**changes: Any) -> Facts:
    """Return the facts of a scan of the model that waivers are for."""
    candidate = ModelIdentity(reference="hf:org/chat", name="org/chat", digest=DIGEST)
    return facts_of(**{"registered_name": MODEL, "candidate": candidate} | changes)
