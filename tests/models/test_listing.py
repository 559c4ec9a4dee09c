"""What file names and sizes alone say against a checkpoint."""

from __future__ import annotations

import pytest
from checkpoint_files import INDEX
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.errors import ExitCode, FormatError
from sdi_gate.models.listing import (
    check_listing,
    check_size,
    is_index,
    is_inspected,
    is_large,
    is_weights,
)
from sdi_gate.models.ref import ModelRef, Scheme
from sdi_gate.models.snapshot import is_wanted

REF = ModelRef(scheme=Scheme.FILE, location="some/model")
COMPLETE = ("config.json", "model.safetensors")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def test_config_and_weights_are_enough():
    assert check_listing(COMPLETE, REF) is None


@pytest.mark.parametrize(
    "names",
    [
        ADAPTER,
        (*ADAPTER, "config.json", "adapter_model.bin", "tokenizer.json"),
        ("x.gguf",),
        ("config.json", "x.gguf"),
        (*COMPLETE, "a.gguf", "b.gguf"),
        (*COMPLETE, "adapter_model.bin"),
    ],
    ids=str,
)
def test_an_adapter_or_one_gguf_file_is_enough(names):
    assert check_listing(names, REF) is None


REFUSED = {
    "empty": ((), r"^file:some/model holds no files; expected config\.json"),
    "no-config": (("README.md",), r"holds no config\.json; expected a model in transformers"),
    "config-below": (("sub/config.json", "model.safetensors"), r"holds no config\.json"),
    "no-weights": (("config.json",), r"but no weights; expected \*\.safetensors"),
    "weights-below": (("config.json", "sub/model.safetensors"), "but no weights"),
    "index-only": (("config.json", INDEX), "but no weights"),
    "pickle-only": (
        ("config.json", "pytorch_model.bin"),
        r"no weights; expected .*, got 'pytorch_model\.bin', a format that can run code",
    ),
    "adapter-beside-model": ((*COMPLETE, ADAPTER[0]), r"other weights .*'model\.safetensors'"),
    "both-beside-model": ((*COMPLETE, *ADAPTER), r"other weights .*'model\.safetensors'"),
    "adapter-beside-index": ((*ADAPTER, INDEX), "other weights than adapter_model"),
    "adapter-in-shards": (
        (ADAPTER[0], "adapter_model-00001-of-00002.safetensors"),
        r"other weights .*'adapter_model-00001-of-00002\.safetensors'",
    ),
    "pickled-adapter": (
        (ADAPTER[0], "adapter_model.bin"),
        r"no adapter_model\.safetensors; got 'adapter_model\.bin', a format that can run code",
    ),
    "adapter-without-weights": ((ADAPTER[0],), r"but no adapter_model\.safetensors$"),
    "adapter-without-config": ((ADAPTER[1],), r"no adapter_config\.json: its scale cannot be"),
    "stray-adapter": ((*COMPLETE, ADAPTER[1]), r"no adapter_config\.json: its scale cannot be"),
    "several-gguf": (("a.gguf", "b.gguf"), r"2 GGUF files, 'a\.gguf' and 'b\.gguf' first"),
    "line-break": ((*COMPLETE, "a\nb.safetensors"), r"not safe to use: 'a\\nb\.safetensors'"),
    "line-break-gguf": (("a\nb.gguf",), r"not safe to use: 'a\\nb\.gguf'"),
    "backslash": ((*COMPLETE, "..\\x.safetensors"), "a name that is not safe to use"),
    "not-utf8": ((*COMPLETE, "\udcff.safetensors"), "a name that is not safe to use"),
}


@pytest.mark.parametrize(("names", "text"), REFUSED.values(), ids=REFUSED)
def test_a_listing_that_cannot_be_read_is_refused(names, text):
    with pytest.raises(FormatError, match=text) as caught:
        check_listing(names, REF)
    assert caught.value.hint
    assert caught.value.exit_code is ExitCode.SOURCE


@pytest.mark.parametrize(
    ("names", "class_"),
    [(("config.json", "model.pt"), "AutoModel"), ((ADAPTER[0], "adapter_model.bin"), "PeftModel")],
    ids=["model", "adapter"],
)
def test_a_pickled_checkpoint_is_told_to_be_saved_as_safetensors(names, class_):
    with pytest.raises(FormatError, match="a format that can run code") as caught:
        check_listing(names, REF)
    assert "as safetensors" in caught.value.hint
    assert class_ in caught.value.hint


def test_pickles_beside_safetensors_do_not_matter():
    assert check_listing((*COMPLETE, "training_args.bin", "optimizer.pt"), REF) is None


KNOWN = ["config.json", "model.safetensors", INDEX, *ADAPTER, "model.bin", "a.py", "x.gguf"]


@given(st.lists(st.sampled_from(KNOWN) | st.text(max_size=30).map("{}.safetensors".format)))
def test_what_is_accepted_is_one_kind_of_model_with_all_that_it_needs(names):
    try:
        check_listing(names, REF)
        accepted = True
    except FormatError:
        accepted = False
    weights = {name for name in names if is_weights(name)}
    gguf = [name for name in names if is_large(name) and not is_weights(name)]
    full = "config.json" in names and weights and not set(ADAPTER) & set(names)
    adapter = set(ADAPTER) <= set(names) and weights == {ADAPTER[1]} and INDEX not in names
    alone = not weights and ADAPTER[0] not in names and len(gguf) == 1
    safe = all(name.isprintable() and "\\" not in name for name in filter(is_wanted, names))
    assert accepted == bool(safe and (full or adapter or alone))


LIMITS = {
    "config.json": 10_000_000,
    "generation_config.json": 10_000_000,
    "tokenizer_config.json": 10_000_000,
    "adapter_config.json": 10_000_000,
    "special_tokens_map.json": 10_000_000,
    "chat_template.jinja": 10_000_000,
    INDEX: 100_000_000,
    "tokenizer.json": 200_000_000,
    "merges.txt": 200_000_000,
    "tokenizer.model": 200_000_000,
    "model.safetensors": 2_199_023_255_552,
    "x.gguf": 2_199_023_255_552,
}


@pytest.mark.parametrize(("name", "limit"), LIMITS.items(), ids=LIMITS)
def test_every_file_has_a_largest_size(name, limit):
    check_size(name, limit, REF)
    with pytest.raises(FormatError, match=rf"'{name}' of file:some/model .* got {limit + 1:,}"):
        check_size(name, limit + 1, REF)


def test_inspected_files_are_wanted_ones():
    names = ["config.json", "tokenizer_config.json", "generation_config.json", ADAPTER[0], INDEX]
    others = ["model.safetensors", "x/config.json", "tokenizer.json", "x.gguf"]
    assert [name for name in (*names, *others) if is_inspected(name)] == names
    assert all(is_wanted(name) for name in names)
    assert [name for name in (*names, *others) if is_index(name)] == [INDEX]
    assert [name for name in others if is_weights(name)] == ["model.safetensors"]
    assert [name for name in others if is_large(name)] == ["model.safetensors", "x.gguf"]
