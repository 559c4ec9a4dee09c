"""Run the action: python -m sdi_gate.action."""

from __future__ import annotations

from sdi_gate.action.main import entry

if __name__ == "__main__":
    entry()
