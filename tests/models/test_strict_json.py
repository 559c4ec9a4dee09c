"""JSON that readers could disagree on, or that costs more than it weighs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.errors import FormatError
from sdi_gate.models.strict_json import parse_object

FLAWS = {
    "empty": (b"", "is not JSON: Expecting value"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "is not JSON: not UTF-8"),
    "utf-32": ('{"a": 1}'.encode("utf-32-le"), "is not JSON: Expecting property name"),
    "mark": (b"\xef\xbb\xbf{}", "is not JSON: Unexpected UTF-8 BOM"),
    "twice": (b'{"a": {"key": 1, "b": 2, "key": 1}}', "key 'key' stands in one object twice"),
    "long-key-twice": (b'{"%s": 1, "%s": 2}' % (b"k" * 500, b"k" * 500), "key 'k{80}' stands"),
    "nan": (b'{"a": NaN}', "NaN is no JSON number"),
    "infinity": (b'{"a": -Infinity}', "-Infinity is no JSON number"),
    "overflow": (b'{"a": 1e999}', "1e999 is no number that a float can hold"),
    "long-overflow": (b'{"a": 1%s.0}' % (b"0" * 400), "10{19} is no number that a float"),
    "deep-for-the-parser": (b'{"a":' * 100_000, "is not JSON: nested too deeply"),
    "deep": (b'{"a": ' * 65 + b"1" + b"}" * 65, "is nested deeper than 64 levels"),
    "deep-lists": (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "is nested deeper than 64 levels"),
    "text": (b'"a"', "is not a JSON object; got str"),
    "many-parts": (b'{"a": [' + b"[]," * 1_600_000, "has 3,200,002 parts; expected at most 3,000"),
}


@pytest.mark.parametrize(("content", "text"), FLAWS.values(), ids=FLAWS)
def test_every_flaw_has_its_own_sentence(content, text):
    with pytest.raises(FormatError, match=f"^some file .*{text}") as caught:
        parse_object(content, "some file")
    assert caught.value.hint
    assert len(caught.value.message) < 250


def test_sixty_four_levels_are_taken():
    content = b'{"a": ' * 64 + b"1" + b"}" * 64
    assert parse_object(content, "x") == json.loads(content)


def test_the_same_key_in_two_objects_is_no_duplicate():
    content = b'{"a": {"k": 1}, "b": {"k": 2}}'
    assert parse_object(content, "x") == json.loads(content)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), _VALUES), st.booleans())
def test_every_sound_object_is_read_as_it_was_written(value, ascii_only):
    content = json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    try:
        content.decode()
    except UnicodeDecodeError:
        return
    assert parse_object(content, "x") == value


@given(st.binary() | st.text().map(str.encode))
def test_whatever_the_bytes_an_object_or_one_clear_error(content):
    try:
        found = parse_object(content, "x")
    except FormatError:
        return
    assert found == json.loads(content)
