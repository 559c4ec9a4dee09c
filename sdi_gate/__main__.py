"""Run the command line: ``python -m sdi_gate``."""

from __future__ import annotations

from sdi_gate.cli.main import entry

if __name__ == "__main__":
    entry()
