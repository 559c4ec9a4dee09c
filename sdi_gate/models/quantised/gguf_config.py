"""Make a model's configuration of what a GGUF file says, by the tables of transformers."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn

from sdi_gate.errors import FormatError, IncomparableError
from sdi_gate.models.quantised.gguf_header import ALIGNMENT, MAGIC, Header, read_header
from sdi_gate.models.quantised.gguf_keys import refuse_unread
from sdi_gate.models.quantised.libraries import AGAIN, REMEDY, library_errors, owner, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdi_gate.models.ref import ModelRef

LOADER = "transformers.modeling_gguf_pytorch_utils"
_ARCHITECTURE = "general.architecture"
_EMBEDDING = "token_embd.weight"
_UINT64 = 10
_BLOCK = re.compile(r"blk\.(\d{1,6})\.")
# Larger than any width, vocabulary or context there is; a model of that size is not built.
_MAX_NUMBER = 2**27
_MAX_EXPERTS = 4_096
# transformers' table of names takes some milliseconds for each; no model has a quarter of these.
_MAX_BLOCKS = 1_000
# Widths that transformers (5.23) leaves at the default of a model type.
_EXPERTS = {
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
}
_WINDOW = {"attention.sliding_window": "sliding_window"}
_OVERLOOKED = {
    "gpt_oss": _WINDOW,
    "phi3": _WINDOW,
    "qwen2_moe": _EXPERTS,
    "qwen3": {"attention.key_length": "head_dim"},
    "qwen3_moe": _EXPERTS,
    "starcoder2": _WINDOW | {"rope.freq_base": "rope_theta"},
}
# Rotary positions are scaled by what transformers leaves in the file.
_SCALED = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
_SOURCE = "compare the checkpoint that the GGUF file was converted from"


def header_of(path: Path, ref: ModelRef) -> Header:
    """Read the header of a GGUF file that holds one whole model.

    Args:
        path: The file.
        ref: The model, for messages.

    Returns:
        The header.

    Raises:
        FormatError: If the file is damaged, or says what cannot be.
        IncomparableError: If gguf is not installed, or the file is one of several.
    """  # noqa: DOC502 - raised by what it calls
    sizes = owner("gguf", "gguf", ref).GGML_QUANT_SIZES
    header = read_header(path, {int(kind): size for kind, size in sizes.items()}, ref)
    if header.values.get("split.count", 1) not in {0, 1}:
        msg = f"{path.name!r} of {ref} is one part of a GGUF model; expected all of it"
        raise IncomparableError(msg, hint="join the parts with llama-gguf-split --merge")
    if header.values.get("general.type", "model") != "model":
        got = shown(header.values["general.type"])
        msg = f"{path.name!r} of {ref} holds {got}; expected a 'model'"
        raise IncomparableError(msg, hint=_SOURCE)
    return header


def gguf_config(path: Path, ref: ModelRef) -> dict[str, Any]:
    """Make a configuration of what a GGUF file says.

    Args:
        path: The file.
        ref: The model, for messages.

    Returns:
        What a ``config.json`` would hold: plain, and bounded by the tensors of the file.

    Raises:
        FormatError: If the file is damaged, or contradicts itself.
        IncomparableError: If transformers cannot make a model of it.
    """  # noqa: DOC502 - raised by what it calls
    return config_of(header_of(path, ref), ref)


def config_of(header: Header, ref: ModelRef) -> dict[str, Any]:
    """Make a configuration of a header.

    Args:
        header: The header.
        ref: The model, for messages.

    Returns:
        What a ``config.json`` would hold.

    Raises:
        FormatError: If the file contradicts itself.
        IncomparableError: If transformers cannot make a model of it.
    """  # noqa: DOC502 - raised by what it calls
    loader = owner(LOADER, "transformers", ref)
    architecture = header.values.get(_ARCHITECTURE)
    known = loader.GGUF_SUPPORTED_ARCHITECTURES
    if not isinstance(architecture, str) or _plain(architecture) not in map(_plain, known):
        _refuse(f"of the architecture {shown(architecture)}", ref)
    _check_numbers(header, architecture, ref)
    _refuse_scaled_positions(header, architecture, ref)
    with TemporaryDirectory() as folder:
        small = Path(folder) / "header.gguf"
        small.write_bytes(_without_arrays(header, architecture))
        with library_errors(f"transformers can make no configuration of {ref}"):
            config: dict[str, Any] = loader.load_gguf_checkpoint(str(small))["config"]
    made = _completed(config, header, ref)
    _refuse_unread(header, architecture, made, ref)
    return made


def _refuse_unread(
    header: Header, architecture: str, config: Mapping[str, Any], ref: ModelRef
) -> None:
    loader = owner(LOADER, "transformers", ref)
    prefix = f"{architecture}."
    tables = loader.GGUF_TO_TRANSFORMERS_MAPPING["config"].items()
    table = next(table for name, table in tables if _plain(name) == _plain(architecture))
    overlooked = _OVERLOOKED.get(config["model_type"], {})
    values = {
        key.removeprefix(prefix): value
        for key, value in header.values.items()
        if key.startswith(prefix)
    }
    auto = owner("transformers", "transformers", ref)
    plain = {key: config[key] for key in config if key not in {"architectures", "model_type"}}
    with library_errors(f"transformers can make no configuration of {ref}"):
        full = auto.CONFIG_MAPPING[config["model_type"]](**plain)
        refuse_unread(values, {**table, **overlooked}, full, ref)


def _plain(architecture: str) -> str:
    # llama.cpp writes qwen3moe and gpt-oss where transformers lists qwen3_moe and gpt_oss.
    return architecture.replace("_", "").replace("-", "")


def _refuse(what: str, ref: ModelRef) -> NoReturn:
    msg = f"{ref} is a GGUF file {what}, which transformers cannot read here"
    raise IncomparableError(msg, hint=f"{_SOURCE}; or {REMEDY}")


def _check_numbers(header: Header, architecture: str, ref: ModelRef) -> None:
    for key, value in header.values.items():
        # Models are built from these, one module for each layer and expert.
        limit = _MAX_EXPERTS if key.endswith("expert_count") else _MAX_NUMBER
        if (
            key.startswith(f"{architecture}.")
            and isinstance(value, int)
            and value not in range(limit)
        ):
            msg = f"{shown(key)} of {ref} is {value:,}; expected at most {limit:,}"
            raise FormatError(msg, hint=AGAIN)
    blocks = {found[1] for t in header.tensors if (found := _BLOCK.match(t.name))}
    claimed = header.values.get(f"{architecture}.block_count")
    if claimed != len(blocks):
        msg = f"{ref} names {shown(claimed)} layers and holds tensors of {len(blocks)}"
        raise FormatError(msg, hint=AGAIN)
    if len(blocks) > _MAX_BLOCKS:
        msg = f"{ref} holds tensors of {len(blocks):,} layers; expected at most {_MAX_BLOCKS:,}"
        raise FormatError(msg, hint=AGAIN)


def _refuse_scaled_positions(header: Header, architecture: str, ref: ModelRef) -> None:
    prefix = f"{architecture}.rope.scaling."
    scaled = [tensor.name for tensor in header.tensors if tensor.name in _SCALED]
    scaled += [key for key in header.values if key.startswith(prefix)]
    if header.values.get(f"{prefix}type", "none") == "none":
        scaled = [name for name in scaled if name in _SCALED]
    if scaled:
        _refuse(f"with scaled positions ({shown(scaled[0])})", ref)


def _without_arrays(header: Header, architecture: str) -> bytes:
    # Small enough for a reader that makes some objects of every element.
    names = [t.name for t in header.tensors if not _BLOCK.match(t.name)]
    names += [t.name for t in header.tensors if t.name.startswith("blk.0.")]
    size_key = f"{architecture}.vocab_size"
    kept = [raw for key, raw in header.raw.items() if key not in {"general.alignment", size_key}]
    rows = next((t.shape[0] for t in header.tensors if t.name == _EMBEDDING), 0)
    kept.append(_text(size_key) + struct.pack("<IQ", _UINT64, rows))
    # transformers only asks which tensors there are.
    infos = [
        _text(name) + struct.pack("<IQIQ", 1, 1, 0, ALIGNMENT * place)
        for place, name in enumerate(names)
    ]
    head = MAGIC + struct.pack("<IQQ", 3, len(names), len(kept)) + b"".join(kept + infos)
    return head + bytes(-len(head) % ALIGNMENT + ALIGNMENT * len(names))


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _completed(config: dict[str, Any], header: Header, ref: ModelRef) -> dict[str, Any]:
    shapes: Mapping[str, tuple[int, ...]] = {t.name: t.shape for t in header.tensors}
    names = owner("transformers.models.auto.modeling_auto", "transformers", ref)
    model_type = str(config.get("model_type"))
    architecture = names.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type)
    if architecture is None:
        _refuse(f"of the model type {shown(model_type)}", ref)
    if _EMBEDDING not in shapes:
        msg = f"{ref} holds no {_EMBEDDING!r}; expected a language model"
        raise FormatError(msg, hint=AGAIN)
    kept = {key: value for key, value in config.items() if key != "_model_name_or_path"}
    if model_type == "gpt2" and "position_embd.weight" in shapes:
        # transformers keeps the length of the context under a name that GPT-2 no longer reads.
        kept["n_positions"] = shapes["position_embd.weight"][0]
    for key, ours in _OVERLOOKED.get(model_type, {}).items():
        value = header.values.get(f"{header.values[_ARCHITECTURE]}.{key}")
        # A window of 0 is none.
        if isinstance(value, (int, float)) and value:
            kept.setdefault(ours, value)
    kept["vocab_size"] = shapes[_EMBEDDING][0]
    return kept | {"architectures": [architecture]}
