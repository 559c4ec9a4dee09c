"""Of a manifest exactly those entries are judged that a change adds or alters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifests import BASE, OTHER, TUNE, entry, read

from sdi_gate.manifest.changes import ChangeKind, all_entries, changed_entries
from sdi_gate.manifest.reading import ReadEntry, ReadManifest
from sdi_gate.policy.origins import Origin

ADDED, CHANGED, PRESENT = ChangeKind
NEWER = f"hf:org/tune@{'d' * 40}"
NOTHING: frozenset[str] = frozenset()


def kinds(before: ReadManifest | None, after: ReadManifest, files=NOTHING) -> dict[str, ChangeKind]:
    return {found.entry.name: found.kind for found in changed_entries(before, after, files)}


def test_an_entry_that_is_as_it_was_is_not_judged():
    assert kinds(read(entry(), base=BASE), read(entry(), base=BASE)) == {}


def test_a_new_entry_is_added_and_one_that_is_gone_is_nobody():
    both = read(entry(), entry("b", OTHER))
    assert kinds(read(entry()), both) == {"b": ADDED}
    assert kinds(both, read(entry())) == {}
    assert kinds(None, both) == {"support": ADDED, "b": ADDED}


def test_an_entry_with_another_name_is_a_new_one():
    assert kinds(read(entry("old")), read(entry("new"))) == {"new": ADDED}


def test_a_change_says_what_the_entry_named_before():
    before, after = read(entry(), base=BASE), read(entry(candidate=NEWER), base=OTHER)
    (found,) = changed_entries(before, after, NOTHING)
    assert (found.kind, found.former_base, found.former_candidate) == (CHANGED, BASE, TUNE)
    (found,) = changed_entries(before, read(entry(candidate=NEWER), base=BASE), NOTHING)
    assert (found.kind, found.former_base, found.former_candidate) == (CHANGED, None, TUNE)


def test_another_base_for_all_changes_all_that_use_it():
    entries = entry("a"), entry("b", base=BASE), entry("c", NEWER)
    assert kinds(read(*entries, base=BASE), read(*entries, base=OTHER)) == {
        "a": CHANGED,
        "c": CHANGED,
    }


def test_where_a_base_stands_does_not_matter():
    assert kinds(read(entry(), base=BASE), read(entry(base=BASE))) == {}


def test_another_name_in_the_registry_is_a_change():
    assert kinds(read(entry()), read(entry(**{"registered-name": "bot"}))) == {"support": CHANGED}


TOUCHING = {
    "a-file": "models/tune/config.json",
    "deeper": "models/tune/deep/er.safetensors",
    "submodule": "models/tune",
    "submodule-around": "models",
    "attributes-inside": "models/tune/.gitattributes",
    "attributes-around": "models/.gitattributes",
    "attributes-of-all": ".gitattributes",
}
APART = {
    "neighbour": "models/tune2/config.json",
    "begins-alike": "models/tun",
    "elsewhere": "src/models/tune/config.json",
    "attributes-elsewhere": "docs/.gitattributes",
    "capitals": "Models/tune/config.json",
    "empty": "",
}


@pytest.mark.parametrize("file", TOUCHING.values(), ids=TOUCHING)
@pytest.mark.parametrize("key", ["candidate", "base"])
def test_a_file_that_can_change_a_folder_has_it_judged(file: str, key: str):
    own = {"candidate": TUNE, key: "file:models/tune"}
    manifest = read(entry(**own), entry("hub", OTHER))
    assert kinds(manifest, manifest, {file, "README.md"}) == {"support": CHANGED}


@pytest.mark.parametrize("file", APART.values(), ids=APART)
def test_other_files_do_not(file: str):
    manifest = read(entry(candidate="file:models/tune"))
    assert kinds(manifest, manifest, {file}) == {}


def test_where_not_all_changed_files_are_known_all_entries_are_judged():
    before, after = read(entry(), entry("b", OTHER)), read(entry(), entry("b", NEWER), entry("c"))
    assert kinds(before, after, None) == {"support": PRESENT, "b": CHANGED, "c": ADDED}
    assert [found.kind for found in all_entries(after)] == [PRESENT] * 3


MODELS = st.sampled_from([BASE, OTHER, "file:m", "file:m/n", None])
FILES = st.sets(st.sampled_from(["m", "m/x", "m/n/x", "n", ".gitattributes", "x"]), max_size=3)
ENTRIES = st.builds(
    ReadEntry,
    name=st.sampled_from("abcd"),
    base=MODELS,
    candidate=st.sampled_from([TUNE, NEWER, "file:m", "file:o"]),
    registered_name=st.sampled_from([None, "bot"]),
    origin=st.builds(Origin, file=st.just("m.yml"), line=st.integers(1, 9)),
)
MANIFESTS = st.lists(ENTRIES, min_size=1, max_size=4, unique_by=lambda found: found.name).map(
    lambda entries: ReadManifest(path="m.yml", entries=tuple(entries))
)


def triple(found: ReadEntry) -> tuple[object, ...]:
    return found.base, found.candidate, found.registered_name


@given(MANIFESTS, MANIFESTS, FILES)
def test_an_entry_is_left_out_exactly_if_nothing_of_it_can_have_changed(
    before: ReadManifest, after: ReadManifest, files: set[str]
):
    found = {change.entry.name: change for change in changed_entries(before, after, files)}
    for now in after.entries:
        old = [then for then in before.entries if then.name == now.name]
        if not old:
            assert found[now.name].kind is ADDED
        elif triple(old[0]) != triple(now):
            assert found[now.name].kind is CHANGED
            assert found[now.name].former_candidate in {None, old[0].candidate}
        else:
            # By brute force: what lies in the folder, above it, or rules how it is written out.
            folders = [r[5:].split("/") for r in triple(now)[:2] if r and r.startswith("file:")]
            names = [file.split("/") for file in files]
            touched = any(
                name[: len(folder)] == folder or folder[: len(name)] == name
                for folder in folders
                for name in names
            )
            touched |= bool(folders) and ".gitattributes" in files
            assert (now.name in found) == touched


@given(MANIFESTS, MANIFESTS, FILES, st.randoms(use_true_random=False))
def test_the_order_of_entries_decides_nothing(
    before: ReadManifest, after: ReadManifest, files: set[str], random
):
    def shuffled(manifest: ReadManifest) -> ReadManifest:
        entries = list(manifest.entries)
        random.shuffle(entries)
        return ReadManifest(path=manifest.path, entries=tuple(entries))

    again = changed_entries(shuffled(before), shuffled(after), files)
    once = changed_entries(before, after, files)
    assert sorted(map(repr, again)) == sorted(map(repr, once))
    assert [c.entry for c in once] == [e for e in after.entries if e in [c.entry for c in once]]


@given(MANIFESTS, FILES)
def test_all_is_new_where_there_was_nothing(after: ReadManifest, files: set[str]):
    found = changed_entries(None, after, files)
    assert [change.entry for change in found] == list(after.entries)
    assert {change.kind for change in found} == {ADDED}


@given(MANIFESTS, MANIFESTS)
def test_without_the_list_of_files_nothing_is_left_out(before: ReadManifest, after: ReadManifest):
    found = changed_entries(before, after, None)
    assert [change.entry for change in found] == list(after.entries)
