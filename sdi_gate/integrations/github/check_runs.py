"""Write a check run: a verdict on a commit, with annotations on lines of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from sdi_gate.integrations.github.errors import shown
from sdi_gate.integrations.github.line import Request, commit_in, path_to

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdi_gate.integrations.github.line import Line

LONGEST_TITLE = 255
LONGEST_TEXT = 65_535
LARGEST_MESSAGE_BYTES = 64 * 1024
MOST_PER_REQUEST = 50


# `neutral` and `skipped` would let a required check pass.
Conclusion = Literal["success", "failure"]
Level = Literal["failure", "warning", "notice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckAnnotation:
    """Say something about lines of a file.

    Attributes:
        path: Path of the file in the repository.
        start_line: First line, from 1.
        end_line: Last line.
        annotation_level: How much it matters.
        title: Its title, at most 255 characters.
        message: What it says, at most 64 KiB.
    """

    path: str
    start_line: int
    end_line: int
    annotation_level: Level
    title: str
    message: str

    def __post_init__(self) -> None:
        """Refuse what GitHub would refuse.

        Raises:
            ValueError: If a limit is not kept.
        """
        _limit("the title of an annotation", len(self.title), LONGEST_TITLE, "characters")
        num_bytes = len(self.message.encode())
        _limit("the message of an annotation", num_bytes, LARGEST_MESSAGE_BYTES, "bytes")
        if not self.message or not 1 <= self.start_line <= self.end_line:
            msg = "an annotation has a message, and lines from 1, the first before the last"
            raise ValueError(msg)
        if not self.path or self.path.startswith("/"):
            msg = f"the path of an annotation is {shown(self.path)!r}; expected folder/file"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun:
    """Hold a check run that has ended.

    Attributes:
        name: Name of the check.
        head_sha: Commit that it is about.
        conclusion: How it ended.
        title: One line.
        summary: Markdown, at most 65,535 characters.
        text: Markdown with details, at most as long; empty for none.
        annotations: Any number of annotations.
        details_url: Where more is told; None for nowhere.
    """

    name: str
    head_sha: str
    conclusion: Conclusion
    title: str
    summary: str
    text: str = ""
    annotations: Sequence[CheckAnnotation] = ()
    details_url: str | None = None

    def __post_init__(self) -> None:
        """Refuse what GitHub would refuse, and what would let a check pass without a verdict.

        Raises:
            ValueError: If a limit is not kept, or the conclusion is another.
        """
        if self.conclusion not in get_args(Conclusion):
            msg = f"a check ends with success or failure, not with {shown(self.conclusion)!r}"
            raise ValueError(msg)
        if not self.name or not self.title or not self.summary:
            msg = "a check has a name, a title and a summary"
            raise ValueError(msg)
        _limit("the title of a check", len(self.title), LONGEST_TITLE, "characters")
        _limit("the summary of a check", len(self.summary), LONGEST_TEXT, "characters")
        _limit("the text of a check", len(self.text), LONGEST_TEXT, "characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRuns:
    """Write check runs.

    Attributes:
        line: Asks the server.
    """

    line: Line

    def create(self, repository: str, run: CheckRun) -> str:
        """See `GitHub.create_check_run`.

        Args:
            repository: ``owner/name``.
            run: The check run.

        Returns:
            Where it can be looked at; empty if GitHub did not say.
        """
        what = f"write the check {shown(run.name)!r} on {shown(repository)}"
        path = path_to(repository, "check-runs")
        first = self.line.one(Request(what=what, path=path, method="POST", body=_created(run)))
        path = path_to(repository, "check-runs", str(first.number("id")))
        for start in range(MOST_PER_REQUEST, len(run.annotations), MOST_PER_REQUEST):
            body = {"output": _output(run, start)}
            self.line.one(Request(what=what, path=path, method="PATCH", body=body))
        return first.page()


def _created(run: CheckRun) -> Mapping[str, object]:
    body: dict[str, object] = {
        "name": run.name,
        "head_sha": commit_in(run.head_sha),
        "status": "completed",
        "conclusion": run.conclusion,
        "output": _output(run, 0),
    }
    return body if run.details_url is None else {**body, "details_url": run.details_url}


def _output(run: CheckRun, start: int) -> Mapping[str, object]:
    # GitHub adds the annotations of each request to those that are there.
    output: dict[str, object] = {"title": run.title, "summary": run.summary}
    if run.text:
        output["text"] = run.text
    chosen = run.annotations[start : start + MOST_PER_REQUEST]
    return {**output, "annotations": [_annotation(one) for one in chosen]}


def _annotation(one: CheckAnnotation) -> Mapping[str, object]:
    told = {"title": one.title} if one.title else {}
    return {
        "path": one.path,
        "start_line": one.start_line,
        "end_line": one.end_line,
        "annotation_level": one.annotation_level,
        "message": one.message,
        **told,
    }


def _limit(what: str, size: int, limit: int, unit: str) -> None:
    if size > limit:
        msg = f"{what} has {size:,} {unit}; GitHub takes at most {limit:,}"
        raise ValueError(msg)
