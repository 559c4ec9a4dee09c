"""Build adapters: real ones by PEFT, around tiny models, and broken ones by hand."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from tiny_models import model_of

from sdi_gate.models.adapted import AdaptedTensors
from sdi_gate.models.adapters.opening import open_adapter
from sdi_gate.models.folder import FolderSource
from sdi_gate.models.ref import ModelRef
from sdi_gate.models.skeleton import describe
from sdi_gate.models.tensors import TensorInfo
from sdi_gate.progress import NullProgress

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}


class DictTensors:
    """Show tensors in memory as a source."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._values = tensors
        self.tensors = {
            name: TensorInfo(
                name=name, dtype=_DTYPES[tensor.dtype], shape=tuple(tensor.shape), shard="memory"
            )
            for name, tensor in tensors.items()
        }

    def read(self, info: TensorInfo) -> Tensor:
        assert info == self.tensors[info.name]
        return self._values[info.name]


@dataclass(frozen=True, kw_only=True)
class Base:
    """Hold a base as the gate sees one."""

    source: DictTensors
    tied: dict[str, str]
    transposed: frozenset[str]
    vocabulary: frozenset[str]


def base_of(model) -> Base:
    skeleton = describe(model)
    state = {
        name: tensor.detach().clone()
        for name, tensor in model.state_dict().items()
        if name not in skeleton.tied
    }
    return Base(
        source=DictTensors(state),
        tied=dict(skeleton.tied),
        transposed=skeleton.transposed,
        vocabulary=skeleton.vocabulary,
    )


def save_adapter(
    folder: Path, model, config, *, seed: int = 0, zero: bool = False, **how: object
) -> Path:
    """Put an adapter around a model, fill it with random numbers, and save it with PEFT."""
    from peft import get_peft_model  # noqa: PLC0415 - not every test needs it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(model, config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if not parameter.requires_grad or zero:
                    continue
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise * (0.3 if parameter.ndim > 1 else 0.1))
        wrapped.save_pretrained(folder, **how)
    return folder


def load_with_peft(folder: Path, model):
    """Load an adapter as its users do."""
    from peft import PeftModel  # noqa: PLC0415 - not every test needs it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(model, folder).eval()


def open_folder(folder: Path):
    snapshot = FolderSource().fetch(ModelRef.parse(f"file:{folder}"), NullProgress())
    return open_adapter(snapshot)


def candidate_of(folder: Path, model) -> AdaptedTensors:
    """Put a saved adapter on a model, in our way."""
    base = base_of(model)
    changes = open_folder(folder).changes(base.source, base.tied, base.transposed, base.vocabulary)
    return AdaptedTensors(base.source, changes)


def state_of(candidate: AdaptedTensors) -> dict[str, Tensor]:
    return {name: candidate.read(info) for name, info in candidate.tensors.items()}


def run_ours(candidate: AdaptedTensors, family: str, tokens: Tensor, **changes) -> Tensor:
    """Return the logits of the model that a candidate's tensors make."""
    if candidate.untied:
        changes["tie_word_embeddings"] = False
    model = model_of(family, **changes)
    state = state_of(candidate)
    expected = {name for name in model.state_dict() if name not in describe(model).tied}
    assert {*state} == expected
    model.load_state_dict(state, strict=False)
    return logits_of(model, tokens)


def logits_of(model, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return model(input_ids=tokens).logits


def some_tokens(vocabulary: int = 300, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, vocabulary, (2, 9), generator=generator)


def rewrite_weights(folder: Path, change) -> Path:
    """Change the tensors of a saved adapter in place."""
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def rewrite_config(folder: Path, **changes) -> Path:
    """Change keys of a saved adapter's configuration."""
    path = folder / CONFIG
    plain = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(plain), encoding="utf-8")
    return folder


def lora_by_hand(folder: Path, tensors: dict[str, Tensor], **config) -> Path:
    """Write an adapter without PEFT."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / CONFIG).write_text(json.dumps(plain | config), encoding="utf-8")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder
