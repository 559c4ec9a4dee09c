"""Say what a reader must know beside the numbers: defects, notices, tier, unusual settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.models.probe import NAME as DEFAULT_PROBE
from sdi_gate.report.parts import SENTENCE_LIMIT, Section, Table, clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdi_gate.report.document import ResultDocument

_MAX_REMARKS = 20
_OWN = "own:"
_DEPTH_WEIGHTS = "depth-weights"
_DEFAULT_DEPTH = "uniform"
_LIST = "list:"


def defects_section(document: ResultDocument) -> Section:
    """Return what is wrong with the input.

    Args:
        document: The result.

    Returns:
        The section; a sentence if nothing is wrong.
    """
    return _listed("Defect", document.defects)


def notices_section(document: ResultDocument) -> Section:
    """Return what was seen and cannot be judged by a number.

    Args:
        document: The result.

    Returns:
        The section; a sentence if there is nothing to say.
    """
    return _listed("Notice", document.notices)


def tier_section(document: ResultDocument) -> Section:
    """Return which tier ran, and why.

    Args:
        document: The result.

    Returns:
        The section.
    """
    tier = document.tier
    reason = clean(tier.reason, SENTENCE_LIMIT).rstrip(".")
    if reason == f"tier {tier.ran} was asked for":
        sentence = f"Tier {tier.ran} was asked for, and ran."
    elif reason.startswith(f"{tier.requested} "):
        sentence = f"Tier {tier.ran} ran: {reason}."
    else:
        sentence = f"Asked for: {tier.requested}. Tier {tier.ran} ran: {reason}."
    less = [clean(cut, SENTENCE_LIMIT).rstrip(".") for cut in tier.cuts[:_MAX_REMARKS]]
    cuts = [f"Less was measured: {cut}." for cut in less]
    return Section(title="Tier", sentences=(sentence, *cuts))


def unusual_settings(document: ResultDocument) -> tuple[str, ...]:
    """Return what makes these numbers compare only with others that were made so too.

    Args:
        document: The result.

    Returns:
        A sentence on settings that are not the defaults and one on what was cut, as far as there
        are any.
    """
    found = "; ".join(_unusual(document))
    cuts = document.tier.cuts[:_MAX_REMARKS]
    less = "; ".join(clean(cut, SENTENCE_LIMIT).rstrip(".") for cut in cuts)
    return (
        *((f"Not the default settings: {found}.",) if found else ()),
        *((f"Less was measured than was asked for: {less}.",) if less else ()),
    )


def _unusual(document: ResultDocument) -> Iterator[str]:
    name = DEFAULT_PROBE if document.probe is None else document.probe.name
    if name.startswith(_OWN):
        yield f"probe set own: {clean(name.removeprefix(_OWN))}"
    elif name != DEFAULT_PROBE:
        yield f"probe set {clean(name)}"
    weights = {
        parameter.value
        for signal in document.signals
        for parameter in signal.parameters
        if parameter.name == _DEPTH_WEIGHTS and parameter.value != _DEFAULT_DEPTH
    }
    if weights:
        yield f"depth weights {' and '.join(map(_depth_weights, sorted(weights)[:2]))}"
    if document.calibration.own:
        yield f"calibration own: {clean(document.calibration.name)}"
    if document.environment.seed != 0:
        yield f"seed {document.environment.seed}"
    device, dtype = document.environment.device, document.environment.compute_dtype
    usual = "float32" if device == "cpu" else "bfloat16"
    if document.probe is not None and dtype != usual:  # at tier weights no model runs
        yield f"computed in {clean(dtype)}"


def _depth_weights(text: str) -> str:
    # As they are given on the command line.
    scheme, values = text[: len(_LIST)], text[len(_LIST) :]
    if scheme != _LIST:
        return clean(text)
    return clean(",".join(value.removesuffix(".0") for value in values.split(":")))


def _listed(title: str, sentences: Sequence[str]) -> Section:
    nouns = f"{title.lower()}s"
    if not sentences:
        return Section(title=f"{title}s", sentences=("None was found.",))
    rows = tuple((clean(sentence, SENTENCE_LIMIT),) for sentence in sentences[:_MAX_REMARKS])
    table = Table(
        key=nouns,
        nouns=nouns,
        head=(title,),
        rows=rows,
        total=len(sentences),
        essential=1,
        is_numeric=(False,),
    )
    return Section(title=f"{title}s", tables=(table,))
