"""Say on which device each part of a model lies.

A model that is too large for one device is cut between its decoder layers, never inside one. What
crosses a cut is one hidden state for each token, so that the numbers are those of one device: a
copy rounds nothing. No weight waits on the host or on a disk for its turn: weights that come and
go between a forward and a backward pass have no second derivative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sdi_gate.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sdi_gate.models.skeleton import Skeleton

# Halvings of the fill: to a millionth of a device's room.
_HALVINGS = 20
_HINT = "use more devices, or ones with more memory; --tier weights loads no model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Say on which device each part of a model lies.

    Attributes:
        devices: Device of each part, by the name of its module or parameter, in the order in
            which a forward pass meets them; the empty name stands for the whole model.

    Raises:
        UsageError: If a part would lie where it cannot be run.
    """

    devices: Mapping[str, torch.device]

    def __post_init__(self) -> None:
        """Refuse what accelerate would read as "bring it when it is needed".

        Raises:
            UsageError: If there is such a device, or there are several types, or none.
        """
        if not self.devices:
            msg = "a placement names no device; expected one for each part of the model"
            raise UsageError(msg)
        for name, device in self.devices.items():
            # "disk" is how accelerate spells a folder, and no device of torch's.
            if getattr(device, "type", "meta") == "meta":
                msg = f"{name or 'the model'!r} is placed on {device!r}, where nothing can be run"
                hint = "weights are not offloaded: they would have no second derivative"
                raise UsageError(f"{msg}; expected a torch.device with memory", hint=hint)
        types = sorted({device.type for device in self.devices.values()})
        if len(types) > 1:
            msg = f"a model is placed on devices of {len(types)} types: {', '.join(types)}"
            hint = "place all of it on the CPU, or all of it on one kind of accelerator"
            raise UsageError(f"{msg}; expected one", hint=hint)

    @classmethod
    def on(cls, device: torch.device) -> Placement:
        """Place a whole model on one device.

        Args:
            device: Which.

        Returns:
            The placement.
        """
        return cls(devices={"": device})

    @property
    def input_device(self) -> torch.device:
        """Return the device where batches go, and on which logits come back."""
        return next(iter(self.devices.values()))

    @property
    def is_split(self) -> bool:
        """Say whether parts lie on different devices."""
        return len(set(self.devices.values())) > 1

    def device_of(self, name: str) -> torch.device:
        """Return the device of one parameter.

        Args:
            name: The parameter's name.

        Returns:
            The device of the longest part of the name that is placed.

        Raises:
            UsageError: If no part of the name is placed.
        """
        part = name
        while part not in self.devices:
            if not part:
                msg = f"{name[:120]!r} is placed nowhere; expected a device for every part"
                raise UsageError(msg)
            part = part.rpartition(".")[0]
        return self.devices[part]


def refuse_misplaced(skeleton: Skeleton, placement: Placement) -> None:
    """Refuse a placement that leaves a weight out, or parts two that are one.

    Args:
        skeleton: The model that is placed.
        placement: Where its parts shall lie.

    Raises:
        UsageError: If a weight is placed nowhere, or a tied one apart from the one it is tied to:
            there would be two of them then, and a derivative would see half of it.
    """
    for name in skeleton.shapes:
        placement.device_of(name)
    for name, other in skeleton.tied.items():
        here, there = placement.device_of(name), placement.device_of(other)
        if here != there:
            msg = f"{name!r} is placed on {here} and is tied to {other!r} on {there}"
            raise UsageError(f"{msg}; expected one device for both")


@dataclass(slots=True, kw_only=True)
class _Group:
    names: list[str]
    size_bytes: int


def spread(
    skeleton: Skeleton,
    layers: Sequence[nn.Module],
    rooms: Mapping[torch.device, int],
    dtype: torch.dtype,
) -> Placement:
    """Place a model on as few devices as hold its weights, all of them filled to the same share.

    Equal shares, because what a pass needs beside the weights grows with the layers of a device.

    Args:
        skeleton: The model without weights.
        layers: Its decoder layers; none of them is cut.
        rooms: Bytes for weights on each device, in the order in which they are to be filled:
            what is free less what the passes need there.
        dtype: Type of its parameters.

    Returns:
        The placement.

    Raises:
        StorageError: If they do not fit.
    """
    groups = _groups(skeleton, layers, dtype)
    for count in range(1, len(rooms) + 1):
        devices = [*rooms][:count]
        capacities = [rooms[device] for device in devices]
        if (placed := _fill_evenly([group.size_bytes for group in groups], capacities)) is not None:
            if len(set(placed)) == 1:
                return Placement.on(devices[placed[0]])
            return Placement(
                devices={
                    name: devices[index]
                    for group, index in zip(groups, placed, strict=True)
                    for name in group.names
                }
            )
    total, largest = (f(group.size_bytes for group in groups) for f in (sum, max))
    msg = (
        f"no room for the weights: needed {total / 1e9:,.1f} GB, of which {largest / 1e9:,.1f} GB"
        f" cannot be parted; there are {sum(rooms.values()) / 1e9:,.1f} GB on {len(rooms)} devices"
    )
    raise StorageError(msg, hint=_HINT)


def _fill_evenly(sizes: Sequence[int], rooms: Sequence[int]) -> list[int] | None:
    # More room never fits less: each device ends at the same group or at a later one.
    best = _fill(sizes, rooms, 1.0)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS if best is not None else 0):
        middle = (low + high) / 2
        if (found := _fill(sizes, rooms, middle)) is None:
            low = middle
        else:
            best, high = found, middle
    return best


def _fill(sizes: Sequence[int], rooms: Sequence[int], share: float) -> list[int] | None:
    placed: list[int] = []
    index, used = 0, 0
    for size in sizes:
        while not used + size <= rooms[index] * share:
            index, used = index + 1, 0
            if index == len(rooms):
                return None
        placed.append(index)
        used += size
    return placed


def _groups(skeleton: Skeleton, layers: Sequence[nn.Module], dtype: torch.dtype) -> list[_Group]:
    # What comes before the layers stays together, and what comes after them: their sums and
    # products are computed by the module around them, which moves nothing.
    inside = {id(layer) for layer in layers}
    first = _Group(names=[], size_bytes=0)
    last = _Group(names=[], size_bytes=0)
    middle: list[_Group] = []
    for name, part in _parts(skeleton.model, inside, ""):
        size = _size_of(name, part, skeleton, dtype)
        if id(part) in inside:
            middle.append(_Group(names=[name], size_bytes=size))
            continue
        weighs = isinstance(part, nn.Module) and any(True for _ in part.parameters())
        is_last = bool(middle) and weighs and not _is_tied(name, skeleton)
        group = last if is_last else first
        group.names.append(name)
        group.size_bytes += size
    groups = [group for group in (first, *middle, last) if group.names]
    if not _ties_cross(skeleton, groups):
        return groups
    # A weight that several layers share lies on one device, and with it all of them.
    names = [name for group in groups for name in group.names]
    return [_Group(names=names, size_bytes=sum(group.size_bytes for group in groups))]


def _parts(
    module: nn.Module, inside: set[int], prefix: str
) -> Iterator[tuple[str, nn.Module | Tensor]]:
    # Everything once: the layers, what holds no layer, and the own tensors of what holds some.
    for own in (module.named_parameters, module.named_buffers):
        for name, tensor in own(recurse=False):
            yield f"{prefix}{name}", tensor
    for name, child in module.named_children():
        if id(child) in inside or not any(id(part) in inside for part in child.modules()):
            yield f"{prefix}{name}", child
        else:
            yield from _parts(child, inside, f"{prefix}{name}.")


def _size_of(name: str, part: nn.Module | Tensor, skeleton: Skeleton, dtype: torch.dtype) -> int:
    held = (
        {name: part}
        if isinstance(part, Tensor)
        else {f"{name}.{key}": tensor for key, tensor in _tensors_of(part)}
    )
    return sum(
        tensor.numel() * (dtype.itemsize if tensor.is_floating_point() else tensor.element_size())
        for key, tensor in held.items()
        if key not in skeleton.tied
    )


def _tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _is_tied(part: str, skeleton: Skeleton) -> bool:
    return any(_is_within(name, part) for pair in skeleton.tied.items() for name in pair)


def _ties_cross(skeleton: Skeleton, groups: Sequence[_Group]) -> bool:
    def place(name: str) -> list[bool]:
        return [any(_is_within(name, part) for part in group.names) for group in groups]

    return any(place(name) != place(other) for name, other in skeleton.tied.items())


def _is_within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")
