"""Render the details of one candidate of a run: whole, whole by a ladder, or brief."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.blocks import Rendered, markdown_environment
from sdi_gate.report.ladder import LADDER, Cut, shorten
from sdi_gate.report.runs.candidates import Words, sdi_words, words
from sdi_gate.report.runs.reproduce import reproduce
from sdi_gate.report.view import build_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.report.parts import ReportView
    from sdi_gate.report.runs.document import RunDocument, SubjectEntry

WHOLE_FILE = "run.json"
_TEMPLATE = "candidate.md.j2"
_BRIEF = tuple(
    Cut(table=table, keep=keep, told="")
    for table, keep in (
        *(("findings", 5), ("waivers", 3), ("layers", 8), ("strata", 9)),
        *(("defects", 3), ("notices", 3), ("vocabulary", 0), ("settings", 4)),
    )
)
_LEVEL = Rendered("####")


class Details:
    """Render the details of the candidates of one run."""

    def __init__(self, run: RunDocument) -> None:
        self._run = run
        environment = markdown_environment(whole=WHOLE_FILE)
        self._template = environment.get_template(_TEMPLATE)
        self._escape = environment.from_string("{{ text }}")
        self._summary = environment.from_string("{{ text | summary }}")

    def deciding(self, index: int) -> Iterator[tuple[Rendered, tuple[str, ...]]]:
        """Render the details of the deciding candidate, each time with less.

        Args:
            index: Of the candidate.

        Yields:
            The details, from all to the least, and what was left out of them.
        """
        view = self._view(index)
        told: dict[str, None] = {}
        yield self._candidate(index, view, is_whole=True, is_named=False), ()
        if view is None:
            return
        for cut in LADDER:
            shorter = shorten(view, cut)
            if shorter == view:
                continue
            view = shorter
            told[cut.told] = None
            yield self._candidate(index, view, is_whole=True, is_named=False), tuple(told)
        told["all but what decided"] = None
        yield self._candidate(index, _brief(view), is_whole=False, is_named=False), tuple(told)

    def other(self, index: int, *, is_whole: bool) -> Rendered:
        """Render the details of another candidate, folded.

        Args:
            index: Of the candidate.
            is_whole: Whether all is shown; else what decided, the layers and the strata.

        Returns:
            One folded block.
        """
        view = self._view(index)
        if view is not None and not is_whole:
            view = _brief(view)
        subject, told = self._run.subjects[index], words(self._run.subjects[index])
        body = self._candidate(index, view, is_whole=is_whole, is_named=True)
        commands = self.commands(index)
        steps = f"{_LEVEL} How to reproduce\n\n{commands}\n\n" if commands else ""
        title = self._summary.render(text=_title(told, subject))
        return Rendered(f"<details>\n{title}\n\n{body}\n\n{steps}</details>")

    def commands(self, index: int) -> Rendered:
        """Render the commands that judge a candidate again.

        Args:
            index: Of the candidate.

        Returns:
            A block of code and what must be known of it; empty if it was not judged.
        """
        found = reproduce(self._run, self._run.subjects[index])
        if found is None:
            return Rendered("")
        sentences = (self._escape.render(text=sentence) for sentence in found.sentences)
        # Plain characters alone: no fence is among them.
        code = f"```sh\n{found.text}\n```" if found.text else ""
        return Rendered("\n\n".join(filter(None, (code, " ".join(sentences)))))

    def _view(self, index: int) -> ReportView | None:
        result = self._run.subjects[index].result
        return None if result is None else build_view(result)

    def _candidate(
        self, index: int, view: ReportView | None, *, is_whole: bool, is_named: bool
    ) -> Rendered:
        text = self._template.render(
            words=words(self._run.subjects[index]),
            view=view,
            is_whole=is_whole,
            named=is_named,
            level=_LEVEL,
        )
        return Rendered(text.strip("\n"))


def _brief(view: ReportView) -> ReportView:
    for cut in _BRIEF:
        view = shorten(view, cut)
    return view


def _title(told: Words, subject: SubjectEntry) -> str:
    index = "" if subject.result is None else f", sdi {sdi_words(subject.result)}"
    return f"{told.decision}: {told.name}{index}"
