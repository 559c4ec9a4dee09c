"""Describe the models and the probe of a scan, as the result has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.gate.result import ModelFacts, ProbeFacts
from sdi_gate.models.families import family_of

if TYPE_CHECKING:
    from sdi_gate.gate.plan import Plan
    from sdi_gate.models.opening import OpenModel


def describe_model(model: OpenModel) -> ModelFacts:
    """Describe one of the two models.

    Args:
        model: The model, open.

    Returns:
        What the report says of it.
    """
    return ModelFacts(
        snapshot=model.snapshot,
        architecture=model.config.name,
        family=family_of(model.config.model_type),
        num_parameters=model.num_parameters,
        dtypes=model.stored_types,
        quantisation=model.quantisation.description if model.quantisation is not None else None,
        quantisation_method=model.quantisation.key if model.quantisation is not None else None,
        adapter=model.adapter,
        ignored=tuple(info.name for info in model.ignored),
        tied_copies=tuple(info.name for info in model.tied_copies),
    )


def describe_probe(plan: Plan) -> ProbeFacts | None:
    """Describe the probe set that both models read.

    Args:
        plan: What ran.

    Returns:
        Its name, digest and strata; None if the tier that ran has none.
    """
    if plan.tokens is None:
        return None
    return ProbeFacts(
        name=plan.probe.name,
        digest=plan.probe.digest,
        strata=tuple(plan.probe.strata.items()),
        max_tokens=plan.tokens.max_tokens,
        chat_template=plan.tokens.chat_template,
    )
