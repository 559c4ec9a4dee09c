"""Find the npm packages that tests hold ours against, and run node over them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[1] / ".venv" / "node" / "node_modules"
_TIMEOUT_S = 120


def node_folder():
    """Give the folder `node_modules` that `make test` installs.

    Returns:
        The folder, which exists and has packages.
    """
    if not shutil.which("node") or not _FOLDER.is_dir():
        # Continuous integration has npm, and then the Makefile has installed them.
        if os.environ.get("CI") == "true" and shutil.which("npm"):
            pytest.fail(f"npm packages are absent from {_FOLDER}: make test installs them")
        pytest.skip("npm packages are absent: make test installs them where npm is")
    return _FOLDER


def run_node(script, *args, stdin=""):
    """Run a script that asks for the packages by name, with `require` or `await import`.

    Args:
        script: The text of the script; its arguments are `process.argv.slice(2)`.
        *args: The arguments.
        stdin: What the script reads.

    Returns:
        What it wrote to standard output; a test fails where it did not end with 0.
    """
    packages = node_folder()
    # node looks the names of packages up from the folder it runs in; a script from the command
    # line has no name among its arguments, unlike one from a file.
    start = "process.argv.splice(1, 0, 'script');\n"
    completed = subprocess.run(  # noqa: S603 - our own scripts
        [shutil.which("node"), "--eval", start + script, "--", *args],
        cwd=packages.parent,
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout
