import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdi_gate.models.adapters.patterns import Name, PatternError, compile_pattern

PIECES = st.sampled_from([
    "a", "b", ".", r"\.", r"\d", r"\d+", ".*", ".*?", "a?", "b+", "[ab]", "[^a]", "[0-1]", "(a|b)",
    "(?:ab|1)", "(ab)?", "^", "$", "|", r"\w+", "-", r"\-", "_", "(a|.*)", "[a-]",
    "(ab)*", "(?:a|b1)+", "(.b|1)*",
])  # fmt: skip
PATTERNS = st.lists(PIECES, max_size=8).map("".join)
NAMES = st.text(alphabet="ab.1-_", max_size=10)


@given(text=PATTERNS, name=NAMES)
@example(text="a|b", name="b.a")
@example(text="^a.*", name="b.ab")
@example(text="", name="")
@example(text="", name="a.")
def test_a_pattern_matches_what_python_matches(text, name):
    pattern = compile_pattern(text)
    assert pattern.matches(Name(name)) == bool(re.fullmatch(text, name))
    assert pattern.matches_end(Name(name)) == bool(re.match(rf"(.*\.)?({text})$", name))


@pytest.mark.parametrize(
    "text",
    [
        "(?!a)b", "(?=a)", "(?P<n>a)", r"(a)\1", "(a+)+", "(a*)*", "(.*a)*", "a{3}", "a++", "a**",
        "*a", "^*", "a)", "(a", "[a", "[]", "[b-a]", r"[\d-z]", r"\bq", r"\Z", "\\", "]", "}", "é",
        "[é]", "[[:alpha:]]", "a" * 501, "(" * 20 + "a" + ")" * 20, "(?i)a", "a\nb",
    ],
)  # fmt: skip
def test_a_pattern_beyond_what_is_understood_is_refused(text):
    with pytest.raises(PatternError, match=r"not understood|longer than 500"):
        compile_pattern(text)


@pytest.mark.parametrize(
    "text", [".*" * 200 + "x", ".*a" * 150 + "x", "(a|a|a|a)" * 50 + "x", "a?" * 240]
)
def test_a_hostile_pattern_takes_no_time(text):
    name = Name("a" * 300)
    before = time.perf_counter()
    assert not compile_pattern(text).matches_end(name)
    assert time.perf_counter() - before < 2.0
