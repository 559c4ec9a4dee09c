import hashlib
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_parts import BASE, KEY

from sdi_gate.errors import FormatError
from sdi_gate.profiles.documents import MAX_BYTES, Document, dump, parse
from sdi_gate.profiles.parts import PartKey
from sdi_gate.profiles.plain import decode

SHA256 = "c" * 64
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
FACTS = st.dictionaries(st.text(max_size=5), PLAIN, max_size=4)


def document(facts=None):
    return Document(key=KEY, sha256=SHA256, size_bytes=16, facts=facts or {"a": [1, 2.5]})


def changed(*path, value):
    """Return a document with one value changed, and a digest that fits to it."""
    plain = json.loads(dump(document()))
    inner = plain
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return with_digest(plain)


def with_digest(plain):
    plain.pop("digest", None)
    body = json.dumps(plain, separators=(",", ":")).encode()
    plain["digest"] = f"sha256:{hashlib.sha256(body).hexdigest()}"
    return json.dumps(plain, separators=(",", ":")).encode()


@given(FACTS, st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3))
def test_a_document_that_was_written_is_read_as_the_same(facts, parameters):
    key = PartKey(BASE, "probe", tuple(parameters.items()))
    written = Document(key=key, sha256=SHA256, size_bytes=17, facts=facts)
    found = parse(dump(written), "'x'")
    assert found == written
    assert json.dumps(found.facts) == json.dumps(facts)
    assert dump(found) == dump(written)


def test_facts_keep_their_order():
    facts = {name: index for index, name in enumerate(reversed(string.ascii_lowercase))}
    assert list(parse(dump(document(facts)), "'x'").facts) == list(facts)


def test_a_document_with_one_bit_changed_is_refused():
    content = dump(document())
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            with pytest.raises(FormatError, match=r"not JSON|damaged|describes no part"):
                parse(bytes(damaged), "'x'")


@pytest.mark.parametrize("end", range(0, 300, 7))
def test_a_document_that_is_cut_short_is_refused(end):
    with pytest.raises(FormatError, match="is not JSON as sdi-gate writes it"):
        parse(dump(document())[:end], "'x'")


def test_the_way_of_changing_documents_makes_ones_that_are_read():
    assert parse(changed("facts", value={"b": 1}), "'x'").facts == {"b": 1}


@pytest.mark.parametrize(
    "content",
    [
        changed("schema", value="sdi-gate/profile/v2"),
        changed("tensors", "sha256", value="../" + "c" * 61),
        changed("tensors", "sha256", value="C" * 64),
        changed("tensors", "size_bytes", value="16"),
        changed("tensors", "size_bytes", value=True),
        changed("tensors", "size_bytes", value=16.0),
        changed("tensors", "more", value=1),
        changed("more", value=1),
        changed("facts", value=[]),
        changed("key", value=[]),
        changed("key", "base", value="a" * 64),
        changed("key", "part", value="../probe"),
        changed("key", "parameters", value={"seed": 0}),
        changed("key", "parameters", value={"seed": "0", "dtype": "float32"}),
        changed("key", "parameters", value=None),
        with_digest({"schema": "sdi-gate/profile/v1"}),
        b"[]",
        b"17",
        b"",
        b"\xff",
        dump(document()) + b"\n",
        dump(document()).replace(b'"facts":', b'"facts": '),
        dump(document()).replace(b'"a":', b'"a":1,"a":'),
        dump(document()).replace(b"2.5", b"NaN"),
        dump(document()).replace(b"2.5", b"1e999"),
        b"[" * 200_000,
        b"[" + b"[]," * 2_000_000 + b"[]]",
        b"1" * 10_000,
    ],
    ids=lambda content: content[:20].decode("latin-1") + f"-{len(content)}",
)
def test_what_would_not_have_been_written_is_not_read(content):
    refused = r"is not JSON as sdi-gate writes it|is damaged|describes no part"
    with pytest.raises(FormatError, match=refused):
        parse(content, "'x'")


def test_a_document_that_is_too_long_is_neither_written_nor_read():
    with pytest.raises(FormatError, match="take 16,777,"):
        dump(document({"text": "x" * MAX_BYTES}))
    with pytest.raises(FormatError, match="is longer than 16,777,216 bytes"):
        parse(b"x" * (MAX_BYTES + 1), "'x'")


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_a_number_that_is_not_finite_is_not_written(value):
    with pytest.raises(FormatError, match="facts of part 'spectra' cannot be written"):
        dump(document({"value": [value]}))


def test_facts_that_are_no_json_are_a_mistake_of_the_programmer():
    with pytest.raises(TypeError, match="not JSON serializable"):
        dump(document({"value": object()}))


def test_a_text_of_too_many_parts_is_refused_although_it_is_well_formed():
    assert decode(b"[" + b"0," * 10 + b"0]", "'x'") == [0] * 11
    with pytest.raises(FormatError, match="is not JSON as sdi-gate writes it"):
        decode(b"[" + b"0," * 2_000_000 + b"0]", "'x'")
