"""Write the files through which a step hands outputs and its summary to the runner."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final

from sdi_gate.errors import PublishError
from sdi_gate.integrations.runner.payload import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_SUMMARY_BYTES: Final = 1_048_576  # of a larger one the runner shows nothing
_MAX_VALUE: Final = 1000

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_DELIMITER = re.compile(r"[A-Za-z0-9_-]{16,200}")


def set_outputs(path: Path, outputs: Mapping[str, str], *, delimiter: str) -> None:
    """Add the outputs of a step to the file that ``GITHUB_OUTPUT`` names, all or none.

    Args:
        path: The file, which the runner has made.
        outputs: Values by name; short, and on one line each.
        delimiter: Text that nobody can guess, between which the values stand.

    Raises:
        ValueError: If the delimiter is not made of 16 to 200 letters, digits, dashes and
            underscores.
        PublishError: If a name or value cannot be an output, or the file cannot be written.
    """
    if not _DELIMITER.fullmatch(delimiter):
        msg = "a delimiter has 16 to 200 letters, digits, dashes and underscores"
        raise ValueError(msg)
    problems = [_problem(name, value, delimiter) for name, value in outputs.items()]
    found = [problem for problem in problems if problem]
    if found:
        msg = f"the outputs of the step cannot be set: {'; '.join(found)}"
        raise PublishError(msg)
    text = "".join(
        f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in outputs.items()
    )
    _append(path, text.encode("utf-8"), "GITHUB_OUTPUT")


def append_summary(path: Path, markdown: str) -> None:
    """Add to the summary of a step, in the file that ``GITHUB_STEP_SUMMARY`` names, all or nothing.

    Args:
        path: The file, which the runner has made.
        markdown: What is added.

    Raises:
        PublishError: If the summary would have more than 1,048,576 bytes, of which the runner shows
            nothing, or the file cannot be written.
    """
    try:
        data = markdown.encode("utf-8")
    except UnicodeEncodeError as exc:
        msg = f"the summary of the step is no text that can be written: {exc.reason}"
        raise PublishError(msg) from exc
    whole = data if data.endswith(b"\n") else data + b"\n"
    _append(path, whole, "GITHUB_STEP_SUMMARY", limit=MAX_SUMMARY_BYTES)


def _problem(name: str, value: str, delimiter: str) -> str:
    if not _NAME.fullmatch(name):
        return f"{shown(name)} cannot be the name of an output"
    if len(value) > _MAX_VALUE:
        return f"the output {name} has {len(value)} characters, more than {_MAX_VALUE}"
    if not value.isprintable():
        return f"the output {name} has a line break or another character that cannot be printed"
    if delimiter in value:
        return f"the output {name} holds the delimiter of outputs"
    return ""


def _append(path: Path, data: bytes, variable: str, *, limit: int | None = None) -> None:
    try:
        # Without O_CREAT: in a file that the runner did not make, it would never look.
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _append_to(descriptor, data, limit)
        finally:
            os.close(descriptor)
    except OSError as exc:
        msg = f"cannot write the file {shown(str(path))} of {variable}: {exc.strerror or exc}"
        raise PublishError(msg) from exc


def _append_to(descriptor: int, data: bytes, limit: int | None) -> None:
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        raise OSError("not a regular file")
    # What somebody else wrote before may lack the end of its line.
    begun = state.st_size > 0 and os.pread(descriptor, 1, state.st_size - 1) != b"\n"
    whole = b"\n" + data if begun else data
    if limit is not None and state.st_size + len(whole) > limit:
        msg = f"it would have {state.st_size + len(whole)} bytes, more than {limit}"
        raise OSError(msg)
    if os.write(descriptor, whole) != len(whole):
        os.ftruncate(descriptor, state.st_size)
        raise OSError("no room for all of it")
