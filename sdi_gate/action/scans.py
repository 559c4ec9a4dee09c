"""Scan candidates one after the other: what goes wrong with one does not end the others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sdi_gate.action.documents import entry_of_error
from sdi_gate.action.subjects import located
from sdi_gate.cli.options import ScanOptions
from sdi_gate.cli.output import fail, say
from sdi_gate.errors import ExitCode, PublishError, SdiGateError
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.policy.format.spelling import visible
from sdi_gate.report.files import MARKDOWN, RESULT, write_files
from sdi_gate.report.runs.document import ErrorEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdi_gate.action.checkout import Checkout
    from sdi_gate.action.folder import OutFolder
    from sdi_gate.action.inputs import ActionInputs
    from sdi_gate.action.subjects import Subject
    from sdi_gate.policy.loader import LoadedPolicy
    from sdi_gate.report.document import ModelEntry, ResultDocument

_logger = logging.getLogger(__name__)


class Scanner:
    """Scan candidates under one policy.

    Args:
        inputs: What the workflow gives.
        policy: The policy.
        folder: Where the files of each candidate go.
        checkout: Where folders of the repository are.

    Attributes:
        is_published: Whether the files of every candidate that has a result were written.
    """

    def __init__(
        self, inputs: ActionInputs, policy: LoadedPolicy, folder: OutFolder, checkout: Checkout
    ) -> None:
        self._inputs = inputs
        self._policy = policy
        self._folder = folder
        self._checkout = checkout
        self.is_published = True

    def scan_all(self, subjects: Sequence[Subject]) -> list[ResultDocument | ErrorEntry]:
        """Scan all of them.

        Args:
            subjects: What is to be judged.

        Returns:
            For each, in the same order, its result with a verdict or why there is none.
        """
        found: dict[int, ResultDocument | ErrorEntry] = {}
        for index in in_order_of_bases([subject.base for subject in subjects]):
            say(f"candidate {len(found) + 1} of {len(subjects)}: {subjects[index].name}")
            found[index] = self._scan(subjects[index], index)
            _release()
        return [found[index] for index in range(len(subjects))]

    def _scan(self, subject: Subject, index: int) -> ResultDocument | ErrorEntry:
        try:
            document = self._examine(subject, index)
        except SdiGateError as exc:
            fail(exc)
            return entry_of_error(exc, self._checkout.workspace)
        except BaseException as exc:
            # A library that panics, or ends the process by itself, ends the scan of this one.
            if isinstance(exc, KeyboardInterrupt) or isinstance(exc.__context__, KeyboardInterrupt):
                raise
            _logger.debug("internal error", exc_info=exc)
            message = f"internal error: {type(exc).__name__}: no verdict was reached"
            say(message)
            return ErrorEntry(exit_code=ExitCode.BUG, message=message, hint="please report it")
        self._write(document, index)
        return document

    def _examine(self, subject: Subject, index: int) -> ResultDocument:
        from sdi_gate.cli.precheck import look_ahead  # noqa: PLC0415
        from sdi_gate.cli.scanning import examine  # noqa: PLC0415 - loads torch

        inputs, workspace = self._inputs, self._checkout.workspace
        self._checkout.check(subject)
        options = ScanOptions(
            base=None if subject.base is None else located(subject.base, workspace),
            candidate=located(subject.candidate, workspace),
            tier=inputs.tier,
            device=inputs.device,
            out=self._folder.of_candidate(index),
            probe=None,
            calibration=None,
            seed=0,
            depth_weights="uniform",
            threads=inputs.threads,
            budget=inputs.budget_s,
        )
        look_ahead(options)
        document, _ = examine(options, self._policy, subject.registered_name)
        return _as_asked(document, subject)

    def _write(self, document: ResultDocument, index: int) -> None:
        from sdi_gate.report.document import dump  # noqa: PLC0415
        from sdi_gate.report.markdown import render_markdown  # noqa: PLC0415
        from sdi_gate.report.view import build_view  # noqa: PLC0415

        markdown = render_markdown(build_view(document)).encode()
        try:
            files = {RESULT: dump(document), MARKDOWN: markdown}
            write_files(self._folder.of_candidate(index), files)
        except PublishError as exc:
            fail(exc)
            self.is_published = False


def in_order_of_bases(bases: Sequence[str | None]) -> list[int]:
    """Return the order in which candidates are scanned: those of one base after each other.

    Args:
        bases: The base of each; None for an adapter that names its own.

    Returns:
        Their indices; bases, and candidates of one base, in the order in which they were given.
    """
    first: dict[str | None, int] = {}
    for index, base in enumerate(bases):
        first.setdefault(base, index)
    return sorted(range(len(bases)), key=lambda index: (first[bases[index]], index))


def _as_asked(document: ResultDocument, subject: Subject) -> ResultDocument:
    # A folder of the checkout by its path in the repository: where a runner keeps that is nobody's
    # business, and of no use to who runs the same again.
    def named(entry: ModelEntry, reference: str | None) -> ModelEntry:
        if reference is None or ModelRef.parse(reference).scheme is not Scheme.FILE:
            return entry
        return entry.model_copy(update={"reference": visible(reference)})

    models = {
        "base": named(document.base, subject.base),
        "candidate": named(document.candidate, subject.candidate),
    }
    return document.model_copy(update=models)


def _release() -> None:
    from sdi_gate.gate.memory import release  # noqa: PLC0415 - loads torch

    release()
