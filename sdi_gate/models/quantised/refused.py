"""Refuse the formats that cannot be dequantised without a graphics card."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from sdi_gate.errors import IncomparableError
from sdi_gate.models.quantised.libraries import REMEDY, shown

if TYPE_CHECKING:
    from sdi_gate.models.ref import ModelRef

# Who unpacks each; none of them does it on a plain processor for one tensor at a time.
_LIBRARIES = {
    "gptq": "gptqmodel",
    "awq": "gptqmodel or autoawq",
    "hqq": "hqq",
    "aqlm": "aqlm",
    "quanto": "optimum-quanto",
    "torchao": "torchao",
    "eetq": "eetq",
    "vptq": "vptq",
    "spqr": "spqr_quant",
    "higgs": "flute-kernel",
    "mxfp4": "kernels",
    "bitnet": "kernels",
    "fbgemm_fp8": "fbgemm-gpu",
    "fp_quant": "fp_quant",
    "auto-round": "auto-round",
}


def refuse(method: str, ref: ModelRef) -> NoReturn:
    """Refuse a model that is quantised by a method we do not read.

    Args:
        method: What its configuration calls the method.
        ref: The model, for messages.

    Raises:
        IncomparableError: Always.
    """
    library = _LIBRARIES.get(method.lower())
    by = f", which {library} unpacks" if library else ", which sdi-gate does not know"
    msg = f"{ref} is quantised by {shown(method)}{by}; sdi-gate cannot dequantise it on a CPU"
    raise IncomparableError(msg, hint=REMEDY)
