"""Take gradients parameter by parameter, so that no two of them need to be in memory together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A vector in the space of the parameters: from a parameter's name and the parameter to the part
# of the vector that belongs to it, in its shape, type and place; None for zeros. It is asked for
# inside a backward pass: on a GPU by autograd's thread.
Direction = Callable[[str, Tensor], Tensor | None]
# One number per parameter name.
ByName = dict[str, float]

# Elements that are promoted to float64 at once: few enough to stay in a processor's cache, and
# on a GPU enough to keep it busy.
_CHUNK = 2**20
_GPU_CHUNK = 2**24


def inner_product(left: Tensor, right: Tensor) -> Tensor:
    """Sum the products of two tensors' elements in float64, without a whole copy of either.

    Args:
        left: Any tensor.
        right: One of its shape.

    Returns:
        The sum, 0-d, float64, where the tensors are.
    """
    chunk = _CHUNK if left.device.type == "cpu" else _GPU_CHUNK
    if left.numel() <= chunk:
        return (left.detach().double() * right.detach().double()).sum()
    rows = chunk * len(left) // left.numel()
    if not rows:
        parts = [inner_product(a, b) for a, b in zip(left, right, strict=True)]
    else:
        pieces = zip(torch.split(left, rows), torch.split(right, rows), strict=True)
        parts = [inner_product(a, b) for a, b in pieces]
    return torch.stack(parts).sum()


def take_gradients(
    parameters: Mapping[str, Tensor],
    loss: Tensor,
    take: Callable[[str, Tensor], None],
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Differentiate a loss, and hand over each parameter's gradient as soon as it is there.

    Args:
        parameters: What to differentiate by; their own ``grad`` is left alone.
        loss: A number with a graph.
        take: Told of the name and the gradient of each parameter that the loss depends on. What
            it does not keep is freed.
        retain_graph: Whether the graph is needed again.
        create_graph: Whether the gradients shall have a graph themselves.
    """
    how = {"retain_graph": retain_graph or create_graph, "create_graph": create_graph}
    _backward(parameters, ([loss], None), take, **how)


def _backward(
    parameters: Mapping[str, Tensor],
    roots: tuple[Sequence[Tensor] | Sequence[GradientEdge], Sequence[Tensor] | None],
    take: Callable[[str, Tensor], None],
    *,
    retain_graph: bool,
    create_graph: bool = False,
) -> None:
    with ExitStack() as stack:
        for name, parameter in parameters.items():
            hook = parameter.register_hook(partial(_taken, take, name))  # type: ignore[no-untyped-call]
            stack.callback(hook.remove)
        outputs, seeds = roots
        torch.autograd.grad(
            outputs,
            [*parameters.values()],
            seeds,
            retain_graph=retain_graph,
            create_graph=create_graph,
            allow_unused=True,
        )


def _taken(take: Callable[[str, Tensor], None], name: str, gradient: Tensor) -> Tensor:
    take(name, gradient)
    # autograd holds what a hook gives back until the last gradient is there: one number.
    return _zeros_like(gradient)


def _zeros_like(tensor: Tensor) -> Tensor:
    return tensor.detach().new_zeros(()).expand(tensor.shape)


class GradientGraph:
    """Hold the gradient of a loss as a graph, without its numbers.

    Args:
        parameters: What the loss was differentiated by.
        loss: A number with a graph that can be differentiated twice.
    """

    def __init__(self, parameters: Mapping[str, Tensor], loss: Tensor) -> None:
        self._parameters = dict(parameters)
        self._edges: dict[str, GradientEdge] = {}
        take_gradients(parameters, loss, self._note, create_graph=True)

    def _note(self, name: str, gradient: Tensor) -> None:
        if gradient.requires_grad:  # else it does not depend on the parameters
            self._edges[name] = get_gradient_edge(gradient)

    def form(self, direction: Direction, *, last: bool = False) -> ByName:
        r"""Multiply the Hessian by a vector, and the product by the vector again.

        Args:
            direction: The vector :math:`v`.
            last: Whether the graph may be freed.

        Returns:
            :math:`v_i^\top (H v)_i` for each parameter, summed in float64; 0 where the vector is
            zero or the gradient does not depend on the parameter.
        """
        found: dict[str, Tensor] = {}

        def take(name: str, product: Tensor) -> None:
            vector = direction(name, self._parameters[name].detach())
            if vector is not None:
                found[name] = inner_product(vector, product)

        with ExitStack() as stack:
            for name, edge in self._edges.items():
                entry = partial(self._enter, direction, name, edge.output_nr)
                stack.callback(edge.node.register_prehook(entry).remove)
            edges = [*self._edges.values()]
            if edges:
                seeds = [_zeros_like(self._parameters[name]) for name in self._edges]
                _backward(self._parameters, (edges, seeds), take, retain_graph=not last)
        for name in self._parameters.keys() - found.keys():
            # Nothing came out here; a vector that is not finite must not get lost for that.
            take(name, _zeros_like(self._parameters[name]))
        return {name: float(found.get(name, 0.0)) for name in self._parameters}

    def _enter(
        self, direction: Direction, name: str, place: int, gradients: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        vector = direction(name, self._parameters[name].detach())
        if vector is None:
            return gradients
        # Added, for what enters a gradient may be used elsewhere in the graph as well.
        return (*gradients[:place], gradients[place] + vector, *gradients[place + 1 :])
