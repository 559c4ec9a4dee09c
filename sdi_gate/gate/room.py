"""Say where a model is to lie: on one device, or its layers over several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.gate.tier import free_on
from sdi_gate.models.causal_lm import place_model

if TYPE_CHECKING:
    import torch

    from sdi_gate.gate.plan import Plan
    from sdi_gate.gate.request import ScanRequest
    from sdi_gate.models.opening import OpenModel
    from sdi_gate.models.placement import Placement


def placement_for(request: ScanRequest, model: OpenModel, plan: Plan) -> Placement | torch.device:
    """Say where a model is to lie.

    Args:
        request: The devices, and the type of the parameters.
        model: The model.
        plan: What will be done with it.

    Returns:
        The one device; or, of several, the first that hold the model and, in the same proportion,
        what its passes take.

    Raises:
        StorageError: If all of them together do not hold its weights.
    """  # noqa: DOC502 - raised by place_model()
    if len(request.places) == 1 or plan.work is None:
        return request.places[0]
    weights = plan.work.shape.num_parameters * request.dtype.itemsize
    # Layers bring their activations and gradients with them: each device keeps as much of its
    # room free for these as they are of the whole.
    share = min(1.0, weights / plan.work.memory(plan.decision.ran).model_bytes)
    rooms = {device: int(share * free_on(device)) for device in request.places}
    return place_model(model, rooms, request.dtype)
