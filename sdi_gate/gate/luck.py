"""Draw what is random in a curvature draw: the same for base and candidate."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from sdi_gate.signals.signs import PackedSigns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

# Shape of each parameter, in a model's own order.
Shapes = Mapping[str, tuple[int, ...]]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Luck:
    """Hold the random numbers of one draw.

    Attributes:
        signs: For each parameter the signs that the base has, then those of rows that only the
            candidate has; empty where no signs are needed.
        uniforms: Numbers in [0, 1) for labels, one for each token, float64.
    """

    signs: Mapping[str, tuple[PackedSigns, ...]]
    uniforms: Tensor

    def of(self, name: str, parameter: Tensor) -> Tensor:
        """Return the signs of a parameter.

        Args:
            name: Its name.
            parameter: The parameter.

        Returns:
            -1 and 1, of the parameter's shape, type and place.
        """
        first, *added = (
            part.unpack(parameter.dtype, parameter.device) for part in self.signs[name]
        )
        return torch.cat([first[: len(parameter)], *added]) if added else first


def draw_luck(base: Shapes, own: Shapes, num_tokens: int, generator: torch.Generator) -> Luck:
    """Draw the signs of the base's parameters, the uniform numbers, and signs of added rows.

    In this order, so that what both models have in common is drawn before anything that only one
    of them has.

    Args:
        base: Shapes of the base's parameters; empty to draw uniform numbers alone.
        own: Shapes of the parameters of the model that will use the numbers.
        num_tokens: How many uniform numbers to draw.
        generator: Source of randomness, on the CPU.

    Returns:
        The random numbers.
    """
    signs: dict[str, tuple[PackedSigns, ...]] = {
        name: (PackedSigns.draw(shape, generator),) for name, shape in base.items()
    }
    uniforms = torch.rand(num_tokens, generator=generator, dtype=torch.float64)
    for name in own if base else ():
        if own[name] != base[name]:
            rows = max(0, own[name][0] - base[name][0])
            signs[name] += (PackedSigns.draw((rows, *own[name][1:]), generator),)
    return Luck(signs=signs, uniforms=uniforms)


def in_advance(make: Callable[[int], _T], count: int, workers: int) -> Iterator[_T]:
    """Make things in order, the next of them in threads while one is in use.

    Random numbers come from a generator on the CPU, number after number, while a GPU computes.

    Args:
        make: Makes one, given its place.
        count: How many to make.
        workers: How many to make ahead, each in a thread; 0 makes each when it is asked for.

    Yields:
        What was made, in order.
    """
    if workers < 1:
        yield from map(make, range(count))
        return
    with ThreadPoolExecutor(workers) as pool:
        coming: deque[Future[_T]] = deque(pool.submit(make, i) for i in range(min(workers, count)))
        try:
            for place in range(workers, workers + count):
                made = coming.popleft().result()
                if place < count:
                    coming.append(pool.submit(make, place))
                yield made
        finally:
            for future in coming:
                future.cancel()
