"""Tell an exception that means that memory ran out from every other."""

from __future__ import annotations

import torch

# torch has no class of its own for the CPU's allocator, and for some libraries on the GPU.
_SIGNS = ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(exc: BaseException) -> bool:
    """Say whether an exception means that memory ran out, on the host or on a device.

    Args:
        exc: Any exception.

    Returns:
        True for torch's own, for Python's, and for what torch's CPU allocator raises.
    """
    if isinstance(exc, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(exc, RuntimeError) and any(sign in str(exc) for sign in _SIGNS)
