import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_parts import BASE, KEY, OTHER_BASE, OTHER_KEY, a_part

from sdi_gate.profiles.parts import LayeredStore, NoStore, PartKey

PARAMETERS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4)


class Shelf:
    """A store in memory."""

    def __init__(self):
        self.parts = {}

    def load(self, key):
        return self.parts.get(key)

    def save(self, key, part):
        self.parts[key] = part


@given(PARAMETERS, PARAMETERS)
def test_keys_are_equal_exactly_if_their_digests_are(one, other):
    first = PartKey(BASE, "probe", tuple(one.items()))
    second = PartKey(BASE, "probe", tuple(reversed(other.items())))
    assert (first == second) == (first.digest == second.digest) == (one == other)


def test_each_field_of_a_key_changes_its_digest():
    keys = [KEY, OTHER_KEY, PartKey(OTHER_BASE, KEY.part, KEY.parameters)]
    keys += [PartKey(BASE, "probe", KEY.parameters), PartKey(BASE, KEY.part)]
    assert len({key.digest for key in keys}) == len(keys)


def test_no_parameter_can_pass_for_two():
    joined = PartKey(BASE, "probe", (("a", '1"],["b","2'),))
    assert joined.digest != PartKey(BASE, "probe", (("a", "1"), ("b", "2"))).digest


def test_the_file_of_a_key_says_the_part_and_its_folder_the_base():
    assert KEY.folder == "a" * 64
    assert re.fullmatch(r"spectra-[0-9a-f]{64}\.json", KEY.file)


@pytest.mark.parametrize(
    ("base", "part", "parameters", "message"),
    [
        ("a" * 64, "probe", (), "expected a base as sha256"),
        ("sha256:" + "A" * 64, "probe", (), "expected a base as sha256"),
        (BASE + "\n", "probe", (), "expected a base as sha256"),
        (BASE, "../probe", (), "expected a part of lower-case letters"),
        (BASE, "", (), "expected a part of lower-case letters"),
        (BASE, "p" * 41, (), "expected a part of lower-case letters"),
        (BASE, "probe", (("a", "1"), ("a", "2")), "expected each parameter once"),
    ],
    ids=["bare", "upper case", "newline", "path", "empty", "long", "twice"],
)
def test_a_key_that_is_none_is_refused(base, part, parameters, message):
    with pytest.raises(ValueError, match=message):
        PartKey(base, part, parameters)


def test_without_a_store_nothing_is_kept():
    store = NoStore()
    store.save(KEY, a_part())
    assert store.load(KEY) is None


def test_layers_are_read_in_order_and_only_the_last_is_written():
    shipped, cache = Shelf(), Shelf()
    store = LayeredStore((shipped, cache))
    assert store.load(KEY) is None
    mine, theirs = a_part(1.0), a_part(2.0)
    store.save(KEY, mine)
    assert (store.load(KEY), shipped.parts) == (mine, {})
    shipped.save(KEY, theirs)
    assert store.load(KEY) is theirs
