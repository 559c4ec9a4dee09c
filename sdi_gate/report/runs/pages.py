"""Put a run on one page of Markdown within a limit: detail is left out by rank, never cut off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sdi_gate.report.blocks import Rendered, markdown_environment
from sdi_gate.report.numbers import count
from sdi_gate.report.parts import Section, clean
from sdi_gate.report.runs import headings
from sdi_gate.report.runs.advice import next_steps
from sdi_gate.report.runs.candidates import MESSAGE, candidates_section, words
from sdi_gate.report.runs.details import WHOLE_FILE, Details
from sdi_gate.report.runs.edits import edit_section
from sdi_gate.report.runs.facts import facts_section, policy_sentence

if TYPE_CHECKING:
    from sdi_gate.report.runs.document import RunDocument

_TEMPLATE = "run.md.j2"
# Room that is left for what matters less than the table, and less than the edit.
_FOR_TABLE = 0.6
_FOR_EDIT = 0.7
_FOR_OTHERS = 0.85
_EDIT_ROWS = (200, 40, 10, 3, 0)
# As long as the sentence on what was left out can be.
_LONGEST = "x" * 1500
_REPORTED = "Reported by a job of the fork: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Hold how long a page may be.

    Attributes:
        characters: In units of UTF-16, which is no less than any count of characters; None for
            no limit.
        size_bytes: In UTF-8; None for no limit.
        told: What the page has to fit, in the words of a sentence.
    """

    characters: int | None = None
    size_bytes: int | None = None
    told: str = ""

    def holds(self, text: str, share: float = 1.0) -> bool:
        """Say whether a text fits.

        Args:
            text: The text.
            share: Of the limit.

        Returns:
            True if it does.
        """
        units = len(text.encode("utf-16-le")) // 2
        return (self.characters is None or units <= share * self.characters) and (
            self.size_bytes is None or len(text.encode()) <= share * self.size_bytes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Hold what stands on the page, in its order."""

    heading: str
    lead: tuple[str, ...]
    policy: str
    address: Rendered
    alerts: tuple[str, ...]
    candidates: Section
    edit: Section
    deciding_title: str
    deciding: Rendered
    commands: Rendered
    steps: Section
    others: tuple[Rendered, ...]
    facts: Section
    shortened: str


def render_page(run: RunDocument, limit: Limit, *, marker: str = "", note: str = "") -> str:
    """Render a run.

    Args:
        run: The run.
        limit: How long the page may be.
        marker: First line, as it is; empty for none.
        note: A paragraph before the decision, which then is what another job reported; empty for
            none.

    Returns:
        Markdown.
    """
    return _Composer(run, limit, marker).compose(note)


class _Composer:
    """Add to the shortest page whatever fits, by rank."""

    def __init__(self, run: RunDocument, limit: Limit, marker: str) -> None:
        self._run = run
        self._limit = limit
        self._marker = Rendered(marker)
        self._template = markdown_environment(whole=WHOLE_FILE).get_template(_TEMPLATE)
        self._details = Details(run)
        self._left_out: tuple[str, ...] = ()
        self._blocks: dict[int, Rendered] = {}
        self._whole: set[int] = set()

    def compose(self, note: str) -> str:
        """Render the page.

        Args:
            note: A paragraph before the decision; empty for none.

        Returns:
            Markdown.
        """
        # 1. The shortest page: the decision, what decided it, what to do.
        page = self._shortest(note)
        # 2. The table of the candidates, then what the edit of the policy would do.
        page = self._with_table(page)
        page = self._with_edit(page)
        # 3. In brief what else closes the gate; then all of the deciding one; then the others.
        page = self._with_others(page, self._closing(), is_whole=False, share=_FOR_OTHERS)
        page = self._with_deciding(page)
        page = self._with_others(page, self._run.ranked[1:], is_whole=False)
        page = self._with_others(page, self._run.ranked[1:], is_whole=True)
        # 4. What was left out.
        text = self._render(replace(page, shortened=self._shortened(page)))
        assert self._limit.holds(text), "the shortest page is bounded"  # noqa: S101 - a law
        return text

    def _shortest(self, note: str) -> _Page:
        run = self._run
        address = headings.run_address(run)
        notes = (clean(note, MESSAGE),) if note else ()
        index = run.deciding
        return _Page(
            heading=f"{_REPORTED if note else ''}{headings.heading(run)}",
            lead=(*notes, *headings.lead(run, is_reported=bool(note))),
            policy=policy_sentence(run),
            address=Rendered(f"[Open the run]({address})." if address else ""),
            alerts=headings.alerts(run),
            candidates=_rows(candidates_section(run), 0),
            edit=_rows(edit_section(run), 0),
            deciding_title="" if index is None else words(run.subjects[index]).name,
            deciding=Rendered(""),
            commands=Rendered("" if index is None else self._details.commands(index)),
            steps=next_steps(run),
            others=(),
            facts=facts_section(run),
            shortened="",
        )

    def _with_table(self, page: _Page) -> _Page:
        # Where the rest leaves little room, a row matters more than what would follow it.
        num_rows = self._num_rows(page, _FOR_TABLE) or self._num_rows(page, 1.0)
        return replace(page, candidates=_rows(candidates_section(self._run), num_rows))

    def _num_rows(self, page: _Page, share: float) -> int:
        whole = candidates_section(self._run)
        fewest, most = 0, len(self._run.subjects)
        # Rows are dropped from the end: the greatest number that fits is found by halving.
        while fewest < most:
            middle = (fewest + most + 1) // 2
            fits = self._fits(replace(page, candidates=_rows(whole, middle)), share)
            fewest, most = (middle, most) if fits else (fewest, middle - 1)
        return fewest

    def _with_edit(self, page: _Page) -> _Page:
        whole = edit_section(self._run)
        pages = (replace(page, edit=_rows(whole, rows)) for rows in _EDIT_ROWS)
        return next((each for each in pages if self._fits(each, _FOR_EDIT)), page)

    def _with_deciding(self, page: _Page) -> _Page:
        index = self._run.deciding
        if index is None:
            return page
        for block, told in self._details.deciding(index):
            longer = replace(page, deciding=block)
            if self._fits(longer):
                self._left_out = told
                return longer
        self._left_out = ("its details",)
        return page

    def _closing(self) -> tuple[int, ...]:
        kinds = {"fail", "inconclusive", "error", "warn"}
        return tuple(i for i in self._run.ranked[1:] if self._run.subjects[i].decision in kinds)

    def _with_others(
        self, page: _Page, indices: tuple[int, ...], *, is_whole: bool, share: float = 1.0
    ) -> _Page:
        for index in indices:
            if index in self._blocks and not is_whole:
                continue
            before = self._blocks
            self._blocks = {**before, index: self._details.other(index, is_whole=is_whole)}
            longer = replace(page, others=self._others())
            if not self._fits(longer, share):
                self._blocks = before
                break
            page = longer
            self._whole |= {index} if is_whole else set()
        return page

    def _others(self) -> tuple[Rendered, ...]:
        return tuple(self._blocks[index] for index in self._run.ranked if index in self._blocks)

    def _shortened(self, page: _Page) -> str:
        others = len(self._run.subjects) - 1
        whole = len(self._whole)
        parts = [f"{page.deciding_title}: {', '.join(self._left_out)}"] if self._left_out else []
        if len(self._blocks) < others:
            parts.append(f"the details of {count(others - len(self._blocks))} other candidates")
        if whole < len(self._blocks):
            parts.append(f"all but the chief details of {count(len(self._blocks) - whole)} others")
        if not parts:
            return ""
        return (
            f"Shortened to fit {self._limit.told}; left out in part or whole: {'; '.join(parts)}. "
            f"The run wrote the full report as report.md, and every number as {WHOLE_FILE}."
        )

    def _fits(self, page: _Page, share: float = 1.0) -> bool:
        return self._limit.holds(self._render(replace(page, shortened=_LONGEST)), share)

    def _render(self, page: _Page) -> str:
        return self._template.render(page=page, marker=self._marker).lstrip("\n")


def _rows(section: Section, keep: int) -> Section:
    tables = tuple(replace(table, rows=table.rows[:keep]) for table in section.tables)
    return replace(section, tables=tables)
