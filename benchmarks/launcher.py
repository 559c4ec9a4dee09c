"""Run one command and write down how long it took and how much memory it had.

A program of its own, from the standard library alone and small: a child starts with its parent's
peak of resident memory, so that the parent has to be smaller than anything that is measured.

    python -I -S launcher.py RECORD LOG COMMAND...

RECORD receives JSON: ``seconds``, ``peak_rss_bytes`` (the largest of any process of the tree, as
the kernel counted it), ``tree_rss_bytes`` (the largest sum over the tree that was seen; pages that
several processes share count for each), ``code``. LOG receives what the command prints.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

EVERY_S = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")
UNIT = 1 if sys.platform == "darwin" else 1024


def tree(root: int) -> list[int]:
    """Return a process and its descendants; without /proc the process alone."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        # The name in parentheses may hold anything, blanks and parentheses too.
        parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def resident(process: int) -> int:
    """Return the resident memory of a process in bytes; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    return int(fields[1]) * PAGE


def watch(root: int, done: threading.Event, peak: list[int]) -> None:
    """Keep the largest sum of resident memory over a tree in ``peak[0]`` until ``done``."""
    while not done.wait(EVERY_S):
        peak[0] = max(peak[0], sum(resident(process) for process in tree(root)))


def start(command: list[str], log: str) -> int:
    """Start the command with both outputs in the log; return its process id."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    actions = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    return os.posix_spawnp(command[0], command, os.environ, file_actions=actions)


def main(argv: list[str]) -> int:
    """Run the command and write the record; return 0 whatever the command returned."""
    record, log, *command = argv
    done, peak = threading.Event(), [0]
    began = time.monotonic()
    process = start(command, log)
    watcher = threading.Thread(target=watch, args=(process, done, peak))
    watcher.start()
    _, status, usage = os.wait4(process, 0)
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    largest = usage.ru_maxrss * UNIT
    facts = {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_rss_bytes": largest,
        "tree_rss_bytes": max(peak[0], largest),
        "code": os.waitstatus_to_exitcode(status),
    }
    Path(record).write_text(json.dumps(facts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
