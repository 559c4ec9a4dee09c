"""References as users write them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdi_gate.errors import ExitCode, UsageError
from sdi_gate.models.ref import ModelRef, Scheme

WORD = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,20}", fullmatch=True).filter(
    lambda word: ".." not in word
)
FOLDERS = st.text(min_size=1).filter(lambda text: "\0" not in text)
REVISIONS = st.lists(WORD, min_size=1, max_size=3).map("/".join)
HUB_REFS = st.builds(
    lambda words, revision: ModelRef(
        scheme=Scheme.HUB, location="/".join(words), revision=revision
    ),
    st.lists(WORD, min_size=1, max_size=2),
    st.none() | REVISIONS,
)
FOLDER_REFS = st.builds(
    lambda folder: ModelRef(scheme=Scheme.FILE, location=folder),
    FOLDERS,
)


@given(HUB_REFS | FOLDER_REFS)
@example(ModelRef(scheme=Scheme.FILE, location="C:\\models\\a@b"))
@example(ModelRef(scheme=Scheme.HUB, location="gpt2", revision="refs/pr/1"))
def test_parsing_undoes_writing(ref):
    assert ModelRef.parse(str(ref)) == ref


@given(st.text() | st.text().map("hf:".__add__) | st.text().map("file:".__add__))
def test_any_text_is_a_reference_or_a_usage_error(text):
    try:
        outcome = str(ModelRef.parse(text))
    except UsageError as error:
        outcome = error.hint
    assert outcome == text or "hf:org/name@revision" in outcome


@pytest.mark.parametrize(
    ("text", "location", "revision"),
    [
        ("hf:org/name", "org/name", None),
        ("hf:org/name@v1.0", "org/name", "v1.0"),
        ("hf:gpt2@refs/pr/3", "gpt2", "refs/pr/3"),
        ("file:/models/a@b:c", "/models/a@b:c", None),
    ],
)
def test_a_reference_is_taken_apart(text, location, revision):
    ref = ModelRef.parse(text)
    assert (ref.location, ref.revision) == (location, revision)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a model reference: ''"),
        ("org/name", "not a model reference"),
        ("mlflow:model", "not a model reference: 'mlflow:model'"),
        ("HF:org/name", "not a model reference"),
        ("hf:", "not a model reference"),
        ("file:", "not a model reference"),
        ("file:a\0b", "holds a null character"),
        ("hf:a/b/c", "not a Hub repository name: 'a/b/c'"),
        ("hf:../b", "not a Hub repository name"),
        ("hf:a/b..c", "not a Hub repository name"),
        ("hf:a b", "not a Hub repository name"),
        ("hf:a/b@", "not a revision: ''"),
        ("hf:a/b@../x", "not a revision"),
        ("hf:a/b@x..y", "not a revision: 'x..y'"),
        ("hf:a/b@-x", "not a revision"),
    ],
    ids=repr,
)
def test_what_is_no_reference_says_what_was_expected(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        ModelRef.parse(text)
    assert "hf:org/name@revision" in caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE
