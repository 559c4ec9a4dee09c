"""Turn a result document into everything that a reader sees: each string and rounding, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report import (
    background,
    compared,
    judgement,
    measured,
    places,
    policies,
    remarks,
    waivers,
)
from sdi_gate.report.parts import ReportView

if TYPE_CHECKING:
    from sdi_gate.report.document import ResultDocument

__all__ = ["ReportView", "build_view"]

_NOT_JUDGED = "not-judged"


def build_view(document: ResultDocument) -> ReportView:
    """Turn a result document into the text of a report.

    Args:
        document: The result; nothing else is looked at, so that a report can be made again.

    Returns:
        The view, which every renderer shows as it is.
    """
    verdict = document.verdict
    return ReportView(
        status=_NOT_JUDGED if verdict is None else verdict.status,
        headline=judgement.headline(document),
        deciding=(*judgement.deciding(document), *remarks.unusual_settings(document)),
        finding_lines=judgement.finding_lines(document),
        findings=judgement.findings(document),
        waivers=waivers.waivers_section(document),
        waivers_brief=waivers.waivers_brief(document),
        documentation=policies.documentation_section(document),
        compared=compared.compared_section(document),
        index=measured.index_section(document),
        signals=measured.signals_section(document),
        chart=places.layer_chart(document),
        worst_title=places.worst_title(document),
        worst_layers=places.worst_layers(document),
        layers=places.layers_section(document),
        strata=places.strata_section(document, errors=True),
        strata_brief=places.strata_section(document, errors=False),
        behaviour=measured.behaviour_section(document),
        defects=remarks.defects_section(document),
        notices=remarks.notices_section(document),
        alignment=background.alignment_section(document),
        tier=remarks.tier_section(document),
        provenance=background.provenance_section(document),
        cost=background.cost_section(document),
        claims=background.claims_section(document),
    )
