"""Publish a run: files, summary, annotations, comment, check run. None of it changes a verdict."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sdi_gate.action.folder import COMMENT, JUNIT, SARIF
from sdi_gate.action.outcome import REPORT, RUN, outputs_of
from sdi_gate.action.posting import OF_A_FORK, author_of, may_write, plan_comment
from sdi_gate.action.surroundings import check_token
from sdi_gate.cli.output import fail, printable, put, say
from sdi_gate.errors import ExitCode, PublishError, SdiGateError
from sdi_gate.integrations.github.check_runs import CheckAnnotation, CheckRun
from sdi_gate.integrations.runner.commands import Level, annotation
from sdi_gate.integrations.runner.files import append_summary
from sdi_gate.report.parts import clean
from sdi_gate.report.runs.annotations import annotations_of
from sdi_gate.report.runs.check_run import CheckAnnotation as AnnotationText
from sdi_gate.report.runs.check_run import check_run_of
from sdi_gate.report.runs.comment import comment_marker, render_comment
from sdi_gate.report.runs.document import dump
from sdi_gate.report.runs.full import render_full, render_log
from sdi_gate.report.runs.junit import render_junit
from sdi_gate.report.runs.sarif import render_sarif
from sdi_gate.report.runs.summary import render_summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdi_gate.action.folder import OutFolder
    from sdi_gate.action.inputs import ActionInputs
    from sdi_gate.action.outcome import Written
    from sdi_gate.action.session import Session
    from sdi_gate.integrations.github.client import GitHub
    from sdi_gate.integrations.runner.event import Event
    from sdi_gate.report.runs.document import RunDocument

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Publish runs.

    Attributes:
        inputs: What the workflow gives.
        event: What it runs for.
        folder: Where files go.
        github: The client with the job's token; made where it is first needed.
        session: What the runner is told at the end.
        files: What was written, by name.
    """

    inputs: ActionInputs
    event: Event
    folder: OutFolder
    github: Callable[[], GitHub]
    session: Session
    files: dict[str, Written] = field(default_factory=dict)

    def publish(self, run: RunDocument, *, is_whole: bool = True) -> int:
        """Publish a run.

        Args:
            run: The run.
            is_whole: Whether the files of every candidate could be written.

        Returns:
            The exit code: that of the run; 6 for a 0 whose files could not be written.
        """
        # 1. The report, and the run as data: what a verdict is not published without.
        is_written = self._write_report(run) and is_whole
        code = int(run.exit_code or (ExitCode.OK if is_written else ExitCode.NOT_PUBLISHED))
        # 2. Other files.
        self._write_others(run)
        # 3. What GitHub shows on the pull request and beside the commit.
        self._try("the comment could not be made", lambda: self._comment(run))
        self._try("the check run could not be made", lambda: self._check(run))
        # 4. What the runner shows: summary and annotations.
        self._try("the summary could not be written", lambda: self._summarise(run))
        self._try("annotations could not be made", lambda: self._annotate(run))
        # 5. What a person reads in the log, and what later steps go by.
        self._try("the log could not be written", lambda: put(printable(render_log(run))))
        for written in self.files.values():
            say(f"written: {written.path}")
        self.folder.hand_over(self.session.environment.get("RUNNER_TEMP"))
        return self.session.settle(outputs_of(run, self.files), code)

    def _write_report(self, run: RunDocument) -> bool:
        try:
            contents = {REPORT: render_full(run).encode(), RUN: dump(run)}
            self.files.update(self.folder.write(contents))
        except PublishError as exc:
            fail(exc)
            self._annotate_error(exc.message)
            return False
        except Exception as exc:  # noqa: BLE001 - a verdict is there, and must be told
            self._annotate_error(self._internal("the report could not be written", exc))
            return False
        return True

    def _write_others(self, run: RunDocument) -> None:
        renderers: dict[str, Callable[[], bytes]] = {COMMENT: lambda: render_comment(run).encode()}
        if self.inputs.sarif:
            renderers[SARIF] = lambda: render_sarif(run)
        if self.inputs.junit:
            renderers[JUNIT] = lambda: render_junit(run)
        for name, render in renderers.items():
            self._try(f"{name} could not be written", lambda: self._write(name, render))  # noqa: B023

    def _write(self, name: str, render: Callable[[], bytes]) -> None:
        self.files.update(self.folder.write({name: render()}))

    def _comment(self, run: RunDocument) -> None:
        plan = plan_comment(run, self.event, self.inputs.comment)
        if plan is None:
            if not may_write(self.event):
                say(f"no comment: {OF_A_FORK}")
            return
        check_token(self.inputs)
        github = self.github()
        outcome = github.upsert_comment(
            self.event.repository,
            plan.number,
            marker=comment_marker(run.policy.key),
            body=render_comment(run),
            author=author_of(self.inputs, github),
            only_existing=plan.only_existing,
        )
        say(outcome.told)

    def _check(self, run: RunDocument) -> None:
        if not self.inputs.check_run:
            return
        if not may_write(self.event):
            say(f"no check run: {OF_A_FORK}")
            return
        check_token(self.inputs)
        told = check_run_of(run)
        named = "" if run.policy.name is None else f": {clean(run.policy.name)}"
        check = CheckRun(
            name=f"sdi-gate{named}",
            head_sha=self.event.head_sha,
            conclusion=told.conclusion,
            title=told.title,
            summary=told.summary,
            text=told.text,
            annotations=[_check_annotation(each) for each in told.annotations],
            details_url=run.event.run_url,
        )
        say(f"check run: {self.github().create_check_run(self.event.repository, check)}")

    def _summarise(self, run: RunDocument) -> None:
        path = self.session.environment.get("GITHUB_STEP_SUMMARY")
        if path:
            append_summary(Path(path), render_summary(run))

    def _annotate(self, run: RunDocument) -> None:
        self.session.annotations += [
            annotation(
                Level(each.level),
                each.message,
                title=each.title,
                file=each.file or "",
                line=each.line,
                column=each.column,
            )
            for each in annotations_of(run)
        ]

    def _annotate_error(self, message: str) -> None:
        self.session.annotations.append(annotation(Level.ERROR, message, title="sdi-gate"))

    def _try(self, told: str, work: Callable[[], None]) -> None:
        try:
            work()
        except SdiGateError as exc:
            hint = f". Hint: {exc.hint}" if exc.hint else ""
            self._warn(f"{told}: {exc.message}{hint}")
        except Exception as exc:  # noqa: BLE001 - no view of a verdict may change it
            self._warn(self._internal(told, exc))

    def _internal(self, told: str, exc: Exception) -> str:
        _logger.debug("internal error", exc_info=exc)
        return f"{told}: internal error: {type(exc).__name__}"

    def _warn(self, message: str) -> None:
        say(f"warning: {message}")
        self.session.annotations.append(annotation(Level.WARNING, message, title="sdi-gate"))


def _check_annotation(each: AnnotationText) -> CheckAnnotation:
    return CheckAnnotation(
        path=each.path,
        start_line=each.start_line,
        end_line=each.end_line,
        annotation_level=each.annotation_level,
        title=each.title,
        message=each.message,
    )
