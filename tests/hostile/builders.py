"""Build one hostile or broken model for each flaw, out of a sound one.

Each function is named after its flaw and changes a copy of a sound model in place: a llama of two
layers in one safetensors file, with its tokenizer.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import torch
from checkpoint_files import INDEX, write_json
from safetensors.torch import load_file, save_file
from tiny_models import WEIGHTS, edit_json, rewrite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
UP = "model.layers.1.mlp.up_proj.weight"
NORM = "model.norm.weight"


def _parts(folder: Path) -> tuple[dict[str, Any], bytes]:
    content = (folder / WEIGHTS).read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def _write(folder: Path, header: object, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data)


def _edit_entry(folder: Path, name: str, **changes: object) -> None:
    header, data = _parts(folder)
    header[name] |= changes
    _write(folder, header, data)


def _shard(folder: Path) -> dict[str, str]:
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    weight_map = {name: SHARDS[i * 2 // len(names)] for i, name in enumerate(names)}
    for shard in SHARDS:
        part = {name: tensors[name] for name in names if weight_map[name] == shard}
        save_file(part, folder / shard, metadata={"format": "pt"})
    (folder / WEIGHTS).unlink()
    write_json(folder / INDEX, {"metadata": {}, "weight_map": weight_map})
    return weight_map


def _change(folder: Path, how: Callable[[torch.Tensor], object], name: str = UP) -> None:
    rewrite(folder, lambda tensors: how(tensors[name]))


# The safetensors file.


def truncated_file(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) * 3 // 4])


def empty_file(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"")


def header_length_over_file(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(content)) + content[8:])


def header_length_over_bound(folder: Path) -> None:
    # The file is as long as it says: only the bound keeps the header from being read.
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", 1 << 29) + b"{")
        file.truncate(1 << 30)


def header_not_json(folder: Path) -> None:
    _write(folder, b"\x80\x04\x95cposix\nsystem\n", _parts(folder)[1])


def header_duplicate_keys(folder: Path) -> None:
    header, data = _parts(folder)
    text, again = json.dumps(header), json.dumps({UP: header[UP]})
    _write(folder, f"{text[:-1]},{again[1:]}".encode(), data)


def overlapping_offsets(folder: Path) -> None:
    header, _ = _parts(folder)
    twin = "model.layers.0.mlp.up_proj.weight"
    _edit_entry(folder, UP, data_offsets=header[twin]["data_offsets"])


def out_of_range_offsets(folder: Path) -> None:
    header, _ = _parts(folder)
    begin, end = header[UP]["data_offsets"]
    _edit_entry(folder, UP, data_offsets=[begin + (1 << 40), end + (1 << 40)])


def hole_between_tensors(folder: Path) -> None:
    header, data = _parts(folder)
    begin, _ = header[UP]["data_offsets"]
    for name, entry in header.items():
        if name != "__metadata__" and entry["data_offsets"][0] >= begin:
            entry["data_offsets"] = [offset + 16 for offset in entry["data_offsets"]]
    _write(folder, header, data[:begin] + b"hidden by a hole" + data[begin:])


def dtype_and_shape_disagree(folder: Path) -> None:
    _edit_entry(folder, UP, dtype="F16")


def shape_overflow(folder: Path) -> None:
    # In 64 bits the product of the sizes is 0 again.
    _edit_entry(folder, UP, shape=[1 << 32, 1 << 32])


def unknown_dtype(folder: Path) -> None:
    _edit_entry(folder, UP, dtype="F12")


def weights_of_holes(folder: Path) -> None:
    size = 1 << 40
    header = {"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)


# The index.


def index_points_outside(folder: Path) -> None:
    weight_map = _shard(folder)
    weight_map[UP] = "../../private/model.safetensors"
    write_json(folder / INDEX, {"weight_map": weight_map})


def index_missing_shard(folder: Path) -> None:
    _shard(folder)
    (folder / SHARDS[1]).unlink()


def index_twice_one_tensor(folder: Path) -> None:
    text = json.dumps({"weight_map": _shard(folder)})
    (folder / INDEX).write_text(text[:-2] + f', "{UP}": "{SHARDS[0]}"}}}}', encoding="utf-8")


def index_disagrees_with_shard(folder: Path) -> None:
    weight_map = _shard(folder)
    other = {SHARDS[0]: SHARDS[1], SHARDS[1]: SHARDS[0]}
    write_json(folder / INDEX, {"weight_map": weight_map | {UP: other[weight_map[UP]]}})


# JSON and what it asks for.


def duplicate_json_keys(folder: Path) -> None:
    text = (folder / "config.json").read_text(encoding="utf-8")
    twice = text.rstrip().removesuffix("}") + ', "model_type": "gpt2"}'
    (folder / "config.json").write_text(twice, encoding="utf-8")


def deeply_nested_json(folder: Path) -> None:
    (folder / "config.json").write_bytes(b'{"a":' * 1_000_000)


def nested_json(folder: Path) -> None:
    nested: object = {}
    for _ in range(100):
        nested = {"a": nested}
    edit_json(folder / "config.json", nested=nested)


def many_parts_json(folder: Path) -> None:
    (folder / "config.json").write_bytes(b'{"a":[' + b"[]," * 3_000_000 + b"0]}")


def config_absurd_layers(folder: Path) -> None:
    edit_json(folder / "config.json", num_hidden_layers=10**9)


def config_absurd_vocabulary(folder: Path) -> None:
    edit_json(folder / "config.json", vocab_size=10**12)


def config_absurd_sizes_below(folder: Path) -> None:
    edit_json(folder / "config.json", text_config={"num_experts": 10**8})


def config_negative_count(folder: Path) -> None:
    edit_json(folder / "config.json", num_attention_heads=-2)


def auto_map(folder: Path) -> None:
    _write_code(folder)
    names = ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer")
    edit_json(folder / "config.json", auto_map=dict.fromkeys(names, "own.Own"))


def auto_map_of_the_tokenizer(folder: Path) -> None:
    _write_code(folder)
    edit_json(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", None]})


def trust_remote_code(folder: Path) -> None:
    _write_code(folder)
    edit_json(folder / "config.json", trust_remote_code=True)


def _write_code(folder: Path) -> None:
    canary = folder.parent / "canary"
    code = f"open({str(canary)!r}, 'w').close()\nclass Own: pass\n"
    for name in ("own.py", "__init__.py"):
        (folder / name).write_text(code, encoding="utf-8")


def symlink_leaves_folder(folder: Path) -> None:
    private = folder.parent / "private.safetensors"
    (folder / WEIGHTS).rename(private)
    (folder / WEIGHTS).symlink_to(private)


def giant_tokenizer(folder: Path) -> None:
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(1 << 40)


# Weights that are sound files and unsound numbers.


def nan_weights(folder: Path) -> None:
    _change(folder, lambda tensor: tensor[0].fill_(torch.nan))


def inf_weights(folder: Path) -> None:
    _change(folder, lambda tensor: tensor[0].fill_(-torch.inf))


def denormal_weights(folder: Path) -> None:
    _change(folder, lambda tensor: tensor.mul_(1e-40))


def all_zeros(folder: Path) -> None:
    _change(folder, lambda tensor: tensor.zero_())


def all_zeros_everywhere(folder: Path) -> None:
    rewrite(folder, lambda tensors: [tensor.zero_() for tensor in tensors.values()])


def constant_rows(folder: Path) -> None:
    _change(folder, lambda tensor: tensor.copy_(tensor.mean(1, keepdim=True).expand_as(tensor)))


def zero_length_tensor(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({NORM: torch.empty(0)}))


def extra_zero_length_tensor(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"model.extra.weight": torch.empty(0, 3)}))
