"""Rank what a report can do without: rows are left out by rank, and never cut off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdi_gate.report.parts import ReportView, Section

_STATEMENTS = "statements"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Say how many rows of a table are kept, and how that is told.

    Attributes:
        table: Key of the table.
        keep: How many of its first rows are kept.
        told: What is left out, in the words of a list.
    """

    table: str
    keep: int
    told: str


# What matters least goes first; each rung adds to those before it.
LADDER = (
    Cut(table="cost", keep=0, told="the cost by stage"),
    Cut(table="files", keep=6, told="files of the models"),
    Cut(table="set-aside", keep=0, told="stored tensors that were set aside"),
    Cut(table="roles", keep=0, told="roles of the tensors"),
    Cut(table="base-only", keep=5, told="tensors without a partner"),
    Cut(table="candidate-only", keep=5, told="tensors without a partner"),
    Cut(table="mismatched", keep=5, told="tensors without a partner"),
    Cut(table=_STATEMENTS, keep=10, told="statements of the policy's authors"),
    Cut(table="layers", keep=60, told="layer groups that add least"),
    Cut(table="layers", keep=20, told="layer groups that add least"),
    Cut(table="signal-ids", keep=0, told="the signals' parameters"),
    Cut(table="files", keep=0, told="files of the models"),
    Cut(table="strata", keep=20, told="strata"),
    Cut(table="vocabulary", keep=4, told="rows of the vocabulary"),
    Cut(table=_STATEMENTS, keep=0, told="statements of the policy's authors"),
    Cut(table="waivers", keep=15, told="waivers"),
    Cut(table="findings", keep=15, told="findings that matter less"),
    Cut(table="notices", keep=5, told="notices"),
    Cut(table="defects", keep=5, told="defects"),
    Cut(table="layers", keep=5, told="layer groups that add least"),
    Cut(table="base-only", keep=0, told="tensors without a partner"),
    Cut(table="candidate-only", keep=0, told="tensors without a partner"),
    Cut(table="mismatched", keep=0, told="tensors without a partner"),
    Cut(table="strata", keep=9, told="strata"),
    Cut(table="vocabulary", keep=0, told="rows of the vocabulary"),
    Cut(table="waivers", keep=3, told="waivers"),
    Cut(table="findings", keep=5, told="findings that matter less"),
    Cut(table="layers", keep=0, told="layer groups that add least"),
    Cut(table="strata", keep=5, told="strata"),
    Cut(table="notices", keep=2, told="notices"),
    Cut(table="defects", keep=2, told="defects"),
    Cut(table="findings", keep=3, told="findings that matter less"),
    Cut(table="waivers", keep=1, told="waivers"),
    Cut(table="settings", keep=4, told="settings"),
)


def shorten(view: ReportView, cut: Cut) -> ReportView:
    """Leave out what a rung of the ladder takes.

    Args:
        view: The report.
        cut: The rung.

    Returns:
        The report without it, equal to the report if there is nothing to take.
    """
    return replace(
        view,
        findings=_kept(view.findings, cut),
        waivers=_kept(view.waivers, cut),
        documentation=_kept(view.documentation, cut),
        compared=_kept(view.compared, cut),
        defects=_kept(view.defects, cut),
        notices=_kept(view.notices, cut),
        layers=_kept(view.layers, cut),
        strata=_kept(view.strata, cut),
        alignment=_kept(view.alignment, cut),
        provenance=_kept(view.provenance, cut),
        cost=_kept(view.cost, cut),
    )


def _kept(section: Section, cut: Cut) -> Section:
    tables = tuple(
        replace(table, rows=table.rows[: cut.keep]) if table.key == cut.table else table
        for table in section.tables
    )
    keep = cut.keep if cut.table == _STATEMENTS else len(section.statements)
    return replace(section, tables=tables, statements=section.statements[:keep])
