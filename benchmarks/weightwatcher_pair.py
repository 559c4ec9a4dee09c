"""Analyse two local models with WeightWatcher, which has no command line for a pair.

Runs in WeightWatcher's own environment: it imports nothing of ours.

    python weightwatcher_pair.py BASE CANDIDATE REPORT
"""

import json
import sys
from pathlib import Path

import weightwatcher  # type: ignore[import-not-found]


def main(base: str, candidate: str, report: str) -> int:
    """Analyse both with its defaults and write what it says of each matrix."""
    analysed = [weightwatcher.WeightWatcher().analyze(model=model) for model in (base, candidate)]
    tables = [json.loads(table.to_json(orient="records")) for table in analysed]
    Path(report).write_text(json.dumps(tables), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
