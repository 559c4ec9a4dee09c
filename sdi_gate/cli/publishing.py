"""Publish what a scan found: files, the report on standard output, a warning beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdi_gate.cli.output import fail, printable, put, say
from sdi_gate.cli.rendering import render_document
from sdi_gate.errors import ExitCode, PublishError
from sdi_gate.policy.modes import Mode
from sdi_gate.report.document import dump
from sdi_gate.report.files import MARKDOWN, RESULT, write_files
from sdi_gate.report.markdown import render_markdown
from sdi_gate.report.view import build_view

if TYPE_CHECKING:
    from pathlib import Path

    from sdi_gate.gate.result import Judgement
    from sdi_gate.report.document import ResultDocument


def publish(document: ResultDocument, folder: Path, code: ExitCode) -> ExitCode:
    """Write the report's files and print the report: if one fails, the other is still done.

    Args:
        document: The result.
        folder: An existing folder.
        code: Exit code of the verdict.

    Returns:
        The same code; 6 for a 0 whose report could not be written.
    """
    markdown = render_markdown(build_view(document))
    text = render_document(document, "console")
    written = f"\nReport: {folder / MARKDOWN}\nResult: {folder / RESULT}\n"
    published = code
    try:
        write_files(folder, {RESULT: dump(document), MARKDOWN: markdown.encode()})
    except PublishError as exc:
        fail(exc)
        written, published = "", code or ExitCode.NOT_PUBLISHED
    try:
        put(text + printable(written))
    except PublishError as exc:
        fail(exc)
        published = code or ExitCode.NOT_PUBLISHED
    return published


def warn(judgement: Judgement | None) -> None:
    """Say on standard error what a gate that only warns would have done.

    Args:
        judgement: What a policy makes of a scan, if there was one. A policy in mode ``warn`` ends
            with code 0 whatever it finds: who reads no report is told here.
    """
    if judgement is None or judgement.verdict.mode is not Mode.WARN:
        return
    enforced = replace(judgement.verdict, mode=Mode.ENFORCE)
    if enforced.exit_code:
        found = enforced.deciding
        say(
            f"warning: the policy {judgement.policy.name} is in warn mode; in enforce mode the "
            f"gate would have been closed (exit code {enforced.exit_code}) by {found.rule}: "
            f"{found.reason}"
        )
