"""Make broken files out of sound ones: one case for each number, the same on every machine."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

from checkpoint_files import INDEX
from fuzz_mutations import NUMBERS, dump, mutate_bytes, mutate_json, some_value
from fuzz_seeds import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONFIG,
    FAMILIES,
    GGUF,
    SEEDS,
    WEIGHTS,
    parsed,
    sound,
)
from fuzz_words import (
    ADAPTER_WORDS,
    CONFIG_WORDS,
    HEADER_WORDS,
    LENGTHS,
    METHOD_WORDS,
    NAMES,
    PATHS,
    SIZES,
    TENSORS,
    TYPES,
)
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TARGETS = tuple(SEEDS)
# How many empty tensors a case of the configuration adds to those that are stored.
EXTRA = "extra"


@dataclass(frozen=True)
class Case:
    """Hold what differs from a sound seed; None stands for a file that is missing."""

    target: str
    seed: str
    changed: Mapping[str, bytes | None]

    @property
    def files(self) -> dict[str, bytes]:
        files: dict[str, Any] = {**sound(self.seed), **self.changed}
        return {name: content for name, content in files.items() if content is not None}

    def save(self, path: Path, what: str) -> None:
        """Keep the case, with what went wrong in it."""
        changed = {
            name: None if content is None else base64.b85encode(zlib.compress(content, 9)).decode()
            for name, content in self.changed.items()
        }
        plain = {"target": self.target, "seed": self.seed, "found": what, "changed": changed}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Case:
        plain = json.loads(path.read_text(encoding="utf-8"))
        changed = {
            name: None if text is None else zlib.decompress(base64.b85decode(text))
            for name, text in plain["changed"].items()
        }
        return cls(target=plain["target"], seed=plain["seed"], changed=changed)


def make_case(target: str, number: object) -> Case:
    """Return the case that a number stands for."""
    rng = Random(f"{target}/{number}")
    seed = rng.choice(SEEDS[target])
    return Case(target, seed, _MAKERS[target](rng, seed))


def _times(rng: Random) -> int:
    return rng.choice((1, 1, 1, 2, 2, 3))


def _changed_json(rng: Random, seed: str, name: str, words: tuple[object, ...]) -> bytes:
    if rng.random() < 0.08:
        return mutate_bytes(rng, sound(seed)[name])
    return dump(mutate_json(rng, parsed(seed, name), words, _times(rng)))


# Headers.


def _changed_header(rng: Random, seed: str, name: str, words: tuple[object, ...] = ()) -> bytes:
    """Change the JSON of a header, a tensor in it, its length or its bytes."""
    content = sound(seed)[name]
    end = 8 + struct.unpack("<Q", content[:8])[0]
    way = rng.random()
    if way < 0.2:
        return mutate_bytes(rng, content, head=rng.choice((8, end)))
    if way < 0.3:
        text = mutate_bytes(rng, content[8:end])
    elif way < 0.55:
        text = dump(_changed_entry(rng, parsed(seed, name)))
    else:
        text = dump(mutate_json(rng, parsed(seed, name), (*HEADER_WORDS, *words), _times(rng)))
    length, data = len(text), content[end:]
    if rng.random() < 0.08:
        length = max(0, min(2**64 - 1, rng.choice((length - 1, length + 1, rng.choice(LENGTHS)))))
    if rng.random() < 0.05:
        data = mutate_bytes(rng, data)
    return struct.pack("<Q", length) + text + data


def _changed_entry(rng: Random, header: Any) -> dict[str, Any]:
    """Change a tensor's entry so that it still makes sense in part: the bounds lie there."""
    header = json.loads(json.dumps(header))
    names = [name for name in header if name != "__metadata__"]
    name = rng.choice(names)
    entry = header[name]
    begin, end = entry["data_offsets"]
    match rng.randrange(9):
        case 0:
            entry["dtype"] = rng.choice(TYPES)
        case 1:
            entry["shape"] = rng.sample(entry["shape"], len(entry["shape"])) + [1] * rng.randrange(
                3
            )
        case 2:
            entry["shape"] = [rng.choice(NUMBERS) for _ in range(rng.randrange(4))]
        case 3:
            entry["data_offsets"] = [begin + rng.choice((-2, 2, 2**40)), end + rng.choice((-2, 0))]
        case 4:
            entry["data_offsets"] = [rng.choice(NUMBERS), rng.choice(NUMBERS)]
        case 5:
            other = rng.choice(names)
            entry["data_offsets"], header[other]["data_offsets"] = (
                header[other]["data_offsets"],
                entry["data_offsets"],
            )
        case 6:
            header[f"{name}.again"] = entry | {"shape": [0], "data_offsets": [end, end]}
        case 7:
            header["__metadata__"] = some_value(rng, ({"format": "pt"}, {"a": "b"}, {"a": 1}))
        case _:
            header[str(some_value(rng))] = header.pop(name)
    return header


def _header_case(rng: Random, seed: str) -> dict[str, bytes | None]:
    return {WEIGHTS: _changed_header(rng, seed, WEIGHTS)}


# Indices.


def _index_case(rng: Random, seed: str) -> dict[str, bytes | None]:
    shards = [name for name in sound(seed) if name.endswith(".safetensors")]
    changed: dict[str, bytes | None] = {}
    way = rng.random()
    if way < 0.8:
        changed[INDEX] = _changed_json(rng, seed, INDEX, (*PATHS, *TENSORS))
    elif way < 0.85:
        changed[rng.choice(shards)] = None
    elif way < 0.9:
        one, other = rng.sample(shards, 2)
        changed |= {one: sound(seed)[other], other: sound(seed)[one]}
    if way > 0.95 or rng.random() < 0.1:
        changed[rng.choice(shards)] = _changed_header(rng, seed, shards[0], TENSORS)
    if rng.random() < 0.05:
        new = rng.choice(("model.safetensors", "extra.safetensors", "a\nb.safetensors"))
        changed[new] = sound(seed)[shards[0]]
    return changed


# Configurations.


@cache
def _config_words() -> tuple[object, ...]:
    # The keys of every family, so that each family meets those of the others.
    keys = {key for family in FAMILIES for key in CONFIG_MAPPING[family]().to_dict()}
    return (*CONFIG_WORDS, *sorted(keys), *_families())


def _config_case(rng: Random, seed: str) -> dict[str, bytes | None]:
    plain: Any = parsed(seed, CONFIG)
    way = rng.random()
    if way < 0.06:
        plain = plain | {"model_type": rng.choice(_families())}
    elif way < 0.12:
        plain = {"model_type": plain["model_type"], "text_config": plain}
    elif way < 0.3:
        counts = [key for key, value in plain.items() if type(value) is int]
        plain = plain | {key: rng.choice(SIZES) for key in rng.sample(counts, 2)}
    elif way < 0.32:
        return _bomb(rng, plain)
    text = dump(mutate_json(rng, plain, _config_words(), _times(rng)))
    if rng.random() < 0.03:
        text = mutate_bytes(rng, text)
    return {CONFIG: text}


def _bomb(rng: Random, plain: dict[str, Any]) -> dict[str, bytes | None]:
    """Ask for much in a way that single changes do not find: by numbers that fit each other."""
    # A header of some hundred kilobytes holds as many tensors that have no numbers.
    extra = rng.choice((40, 400, 5_000, 30_000))
    if rng.random() < 0.5:
        family = rng.choice(_families())
        plain = {"model_type": family, **_counts_of(family)}
    counts = [key for key, value in plain.items() if type(value) is int]
    keys = sorted({*counts, "num_labels", "num_hidden_layers"})
    wanted = rng.sample(keys, min(len(keys), rng.choice((1, 1, 2, 3))))
    sizes = (extra, extra, 2 * extra, 90_000, 999_999, 9_999_999)
    plain = plain | {"layer_types": None} | {key: rng.choice(sizes) for key in wanted}
    return {CONFIG: dump(plain), EXTRA: str(extra).encode()}


@cache
def _families() -> tuple[str, ...]:
    return tuple(sorted(config.model_type for config in MODEL_FOR_CAUSAL_LM_MAPPING))


@cache
def _counts_of(family: str) -> dict[str, int]:
    """Return the numbers of a family's configuration, with one layer of each kind."""
    try:
        plain = CONFIG_MAPPING[family]().to_dict()
    except Exception:  # noqa: BLE001 - some have no defaults
        return {}
    numbers = {key: value for key, value in plain.items() if type(value) is int}
    return {key: 1 if "layer" in key else value for key, value in numbers.items()}


# Adapters.


def _adapter_case(rng: Random, seed: str) -> dict[str, bytes | None]:
    changed: dict[str, bytes | None] = {}
    way = rng.random()
    if way < 0.6:
        changed[ADAPTER_CONFIG] = _changed_json(rng, seed, ADAPTER_CONFIG, ADAPTER_WORDS)
    if way > 0.5:
        changed[ADAPTER_WEIGHTS] = _changed_header(rng, seed, ADAPTER_WEIGHTS, NAMES)
    return changed


# Whole folders.


def _folder_case(rng: Random, seed: str) -> dict[str, bytes | None]:
    name = rng.choice(sorted(sound(seed)))
    if name == GGUF:
        content = sound(seed)[name]
        # The values and infos of this file end before the 8192nd byte.
        for _ in range(_times(rng)):
            content = mutate_bytes(rng, content, head=rng.choice((24, 600, 8192)))
        return {name: content}
    if rng.random() < 0.03:
        return {name: None}
    if name == WEIGHTS:
        return {name: _changed_header(rng, seed, name)}
    words = _config_words() if rng.random() < 0.5 else METHOD_WORDS
    if name == CONFIG and rng.random() < 0.5:
        plain: Any = parsed(seed, name)
        method = plain.get("quantization_config", {"quant_method": "fp8"})
        method = mutate_json(rng, method, METHOD_WORDS, _times(rng))
        return {name: dump(plain | {"quantization_config": method})}
    return {name: _changed_json(rng, seed, name, words)}


_MAKERS = {
    "header": _header_case,
    "index": _index_case,
    "config": _config_case,
    "adapter": _adapter_case,
    "folder": _folder_case,
}
