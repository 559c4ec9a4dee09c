"""The shipped probe set, sample by sample, and a user's own."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.errors import ExitCode, FormatError, UsageError
from sdi_gate.models import probe
from sdi_gate.models.probe import (
    DIGEST,
    MIN_KEPT,
    MIN_SAMPLES_PER_STRATUM,
    NAME,
    STRATA,
    ProbeSample,
    ProbeSet,
    load_default,
    load_file,
    parse,
    reduced_indices,
    reduced_sizes,
)

BENCHMARKS = Path(__file__).parents[2] / ".." / "shared" / "data" / "benchmarks"
SIZE_OF_OVERLAP = 8

_IDEOGRAPH = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
_LETTER = rf"(?:(?!{_IDEOGRAPH})\w)"
_WORD = re.compile(rf"{_IDEOGRAPH}|{_LETTER}+(?:['\u2019]{_LETTER}+)*")
_TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d[\d.,]*|[^\w\s]")
_FIRST_SENTENCE = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+|\n")


def words(text):
    """Return the words of a text in lower case; a Chinese or Japanese character is a word."""
    return [word.lower() for word in _WORD.findall(text)]


def ngrams(text, n):
    found = words(text)
    return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}


def whole(sample):
    return f"{sample.prompt}\n\n{sample.text}" if sample.prompt else sample.text


def opening(sample):
    return sample.prompt or sample.text


def frame(text):
    """Return the first sentence with capitalised words and numbers masked."""
    masked = []
    for token in _TOKEN.findall(_FIRST_SENTENCE.split(text.strip(), maxsplit=1)[0]):
        shape = "0" if token[0].isdigit() else "X" if token[0].isupper() else token
        if shape != "X" or masked[-1:] != ["X"]:
            masked.append(shape)
    return tuple(masked)


@pytest.fixture(scope="module")
def shipped():
    return load_default()


# The shipped set.


def test_it_is_the_set_that_is_pinned(shipped):
    assert shipped.digest == DIGEST
    assert shipped.name == NAME


def test_it_has_a_thousand_samples_in_nine_strata(shipped):
    assert len(shipped.samples) == 1000
    assert tuple(shipped.strata) == STRATA
    assert len(STRATA) == 9
    assert min(shipped.strata.values()) >= 80
    assert sum(shipped.strata.values()) == 1000


def test_every_sample_has_from_15_to_200_words(shipped):
    sizes = {whole(sample)[:60]: len(words(whole(sample))) for sample in shipped.samples}
    assert {text: size for text, size in sizes.items() if not 15 <= size <= 200} == {}


def test_a_chinese_or_japanese_character_counts_as_a_word():
    assert words("漢字 and かな: isn't 3") == ["漢", "字", "and", "か", "な", "isn't", "3"]


def test_no_two_samples_are_alike(shipped):
    grams = [ngrams(whole(sample), 3) for sample in shipped.samples]
    holders = defaultdict(list)
    for index, own in enumerate(grams):
        for gram in own:
            holders[gram].append(index)
    shared = Counter(
        pair for indices in holders.values() for pair in itertools.combinations(indices, 2)
    )
    similar = {pair: count / len(grams[pair[0]] | grams[pair[1]]) for pair, count in shared.items()}
    assert {pair: value for pair, value in similar.items() if value >= 0.3} == {}
    assert len({whole(sample) for sample in shipped.samples}) == 1000


def test_no_two_samples_begin_with_the_same_three_words(shipped):
    for part in (opening, lambda sample: sample.text):
        starts = Counter(tuple(words(part(sample))[:3]) for sample in shipped.samples)
        assert {start: count for start, count in starts.items() if count > 1} == {}


@pytest.mark.parametrize("length", [None, 4], ids=["sentence", "start"])
def test_no_more_than_a_quarter_of_a_stratum_follows_one_template(shipped, length):
    frames = Counter(
        (sample.stratum, frame(opening(sample))[:length]) for sample in shipped.samples
    )
    ((stratum, _), most) = frames.most_common(1)[0]
    assert most <= shipped.strata[stratum] / 4


def test_the_masks_would_find_a_template():
    made = ["Compare Athens and Cork in 30 words.", "Compare New York and Rome in 4 words."]
    assert len({frame(text) for text in made}) == 1


def test_instructions_have_prompts_and_nothing_else_has(shipped):
    assert {sample.stratum for sample in shipped.samples if sample.prompt} == {"instruction"}
    assert all(sample.prompt for sample in shipped.samples if sample.stratum == "instruction")


def benchmark_items():
    for path in sorted((BENCHMARKS / "mmlu").rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            yield from (" ".join(row) for row in csv.reader(file))
    with (BENCHMARKS / "ifeval" / "input_data.jsonl").open(encoding="utf-8") as file:
        yield from (json.loads(line)["prompt"] for line in file)
    truthful = BENCHMARKS / "truthfulqa"
    with (truthful / "TruthfulQA.csv").open(encoding="utf-8-sig", newline="") as file:
        yield from (cell for row in csv.DictReader(file) for cell in row.values())
    for item in json.loads((truthful / "mc_task.json").read_text(encoding="utf-8")):
        yield from (item["question"], *item["mc1_targets"], *item["mc2_targets"])
    with (BENCHMARKS / "toxigen" / "exp_dataset.jsonl").open(encoding="utf-8") as file:
        yield from (json.loads(line)["text"] for line in file)


@pytest.mark.data
@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="../shared/data/benchmarks is not there")
def test_no_sample_shares_eight_words_in_a_row_with_a_benchmark(shipped):
    ours = {
        gram: whole(sample)
        for sample in shipped.samples
        for gram in ngrams(whole(sample), SIZE_OF_OVERLAP)
    }
    items = list(benchmark_items())
    assert len(items) > 20_000
    shared = {gram for item in items for gram in ngrams(item, SIZE_OF_OVERLAP)} & ours.keys()
    assert {" ".join(gram): ours[gram] for gram in shared} == {}


def copy_of_shipped(tmp_path, monkeypatch):
    folder = tmp_path / "models" / "probe_data"
    folder.mkdir(parents=True)
    original = Path(probe.__file__).parent / "probe_data"
    for path in original.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(probe.resources, "files", lambda _package: tmp_path / "models")
    return folder


def test_a_copy_of_the_set_is_the_set(tmp_path, monkeypatch):
    copy_of_shipped(tmp_path, monkeypatch)
    assert load_default().digest == DIGEST


def test_a_changed_word_is_refused_as_damage(tmp_path, monkeypatch):
    path = copy_of_shipped(tmp_path, monkeypatch) / "code.jsonl"
    path.write_bytes(path.read_bytes().replace(b"stack", b"heap", 1))
    with pytest.raises(FormatError, match=rf"sdi-probe-1 was changed; expected {DIGEST}"):
        load_default()


@pytest.mark.parametrize("content", [None, b"not JSON\n"], ids=["missing", "garbage"])
def test_a_lost_stratum_is_refused_as_damage(tmp_path, monkeypatch, content):
    path = copy_of_shipped(tmp_path, monkeypatch) / "code.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FormatError, match=r"sdi-probe-1 is damaged: .*code\.jsonl") as caught:
        load_default()
    assert "install sdi-gate again" in caught.value.hint


# The digest.

SAMPLES = st.lists(
    st.builds(
        ProbeSample,
        stratum=st.sampled_from(STRATA),
        text=st.text(min_size=1),
        prompt=st.none() | st.text(min_size=1),
    ),
    max_size=4,
)


@given(SAMPLES, SAMPLES)
def test_the_digest_tells_two_sets_apart(one, other):
    digests = {ProbeSet(name=n, samples=tuple(s)).digest for n, s in (("a", one), ("b", other))}
    assert (len(digests) == 1) == (one == other)


def test_strata_are_counted_in_order_of_first_appearance():
    names = ["b", "a", "b"]
    samples = tuple(ProbeSample(stratum=name, text="x") for name in names)
    assert list(ProbeSet(name="", samples=samples).strata.items()) == [("b", 2), ("a", 1)]


# A user's own set.

LINE = {"stratum": "law", "text": "The lease ends in May."}


def write(path, *lines):
    content = b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )
    path.write_bytes(content)
    return path


def test_a_users_set_is_read_with_prompts_and_blank_lines(tmp_path):
    path = write(tmp_path / "own.jsonl", *[LINE] * 3, b"", LINE | {"prompt": "When?"}, b"  ")
    own = load_file(path)
    assert own.name == "own:own.jsonl"
    assert own.samples[0] == ProbeSample(stratum="law", text="The lease ends in May.")
    assert own.samples[3].prompt == "When?"
    assert own.strata == {"law": 4}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "not JSON: JSONDecodeError"),
        (b'{"text": "\xff"}', "not JSON: UnicodeDecodeError"),
        (b"[" * 100_000, "not JSON: RecursionError"),
        (b"9" * 5_000, "not JSON: ValueError"),
        ([], "expected the keys text and stratum, prompt if you like; got list"),
        ("text", "got str"),
        (None, "got NoneType"),
        ({}, "got $"),
        ({"text": "x"}, "got text"),
        (LINE | {"label": "x"}, "got label, stratum, text"),
        (LINE | {"text": ""}, "strings of characters, not empty"),
        (LINE | {"text": " \n"}, "strings of characters, not empty"),
        (LINE | {"stratum": 3}, "strings of characters, not empty"),
        (LINE | {"prompt": None}, "strings of characters, not empty"),
        (LINE | {"text": "half \ud83d of a pair"}, "strings of characters, not empty"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else type(value).__name__,
)
def test_a_bad_line_is_named_with_file_and_line(tmp_path, line, message):
    path = write(tmp_path / "own.jsonl", LINE, b"", line)
    with pytest.raises(UsageError, match=rf"own\.jsonl:3: .*{message}") as caught:
        load_file(path)
    assert "write one object a line" in caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_surrogate_pair_is_one_character(tmp_path):
    path = write(tmp_path / "own.jsonl", *[LINE | {"text": "a smile \U0001f600"}] * 4)
    assert load_file(path).samples[0].text == "a smile \U0001f600"


@pytest.mark.parametrize("lines", [[], [LINE] * (MIN_SAMPLES_PER_STRATUM - 1)], ids=["no", "few"])
def test_a_stratum_that_is_too_small_for_a_number_is_refused(tmp_path, lines):
    with pytest.raises(UsageError, match="every stratum needs at least 4 samples; got"):
        load_file(write(tmp_path / "own.jsonl", *lines))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read the probe set '.*none': No such file"):
        load_file(tmp_path / "none")


def test_a_folder_is_not_a_probe_set(tmp_path):
    with pytest.raises(UsageError, match="cannot read the probe set"):
        load_file(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(50_000_001)
    with pytest.raises(UsageError, match="at most 50,000,000 bytes; got more"):
        load_file(path)


@given(st.binary(max_size=60))
def test_bytes_give_samples_or_a_usage_error(content):
    try:
        samples = parse(content, "x")
    except UsageError:
        return
    assert ProbeSet(name="x", samples=tuple(samples)).digest.startswith("sha256:")


# A part of a set.

COUNTS = st.dictionaries(st.sampled_from(STRATA), st.integers(1, 200), min_size=1)


def probe_of(counts):
    places = ((name, i) for name, count in counts.items() for i in range(count))
    samples = (ProbeSample(stratum=name, text=f"{name} {i}") for name, i in places)
    return ProbeSet(name="made up", samples=tuple(samples))


@given(COUNTS, st.integers(0, 16))
def test_a_reduced_set_keeps_every_stratum_and_eight_of_each_or_all_it_has(counts, part):
    sizes = reduced_sizes(counts, part, 16)
    kept = probe_of(counts).chosen(reduced_indices(probe_of(counts), part, 16))
    assert kept.strata == sizes
    assert sizes.keys() == counts.keys()
    for name, count in counts.items():
        assert min(MIN_KEPT, count) <= sizes[name] <= count
        assert sizes[name] >= count * part / 16


@given(COUNTS, st.integers(0, 16), st.integers(0, 16))
def test_a_larger_part_keeps_no_fewer_of_any_stratum(counts, one, other):
    small, large = (reduced_sizes(counts, part, 16) for part in sorted((one, other)))
    assert all(small[name] <= large[name] for name in counts)


@given(COUNTS, st.integers(0, 16))
def test_the_samples_of_a_part_are_spread_over_each_stratum_and_named_once(counts, part):
    probe = probe_of(counts)
    indices = reduced_indices(probe, part, 16)
    assert list(indices) == sorted(set(indices))
    places = defaultdict(list)
    for index in indices:
        name, _, place = probe.samples[index].text.rpartition(" ")
        places[name].append(int(place))
    for name, found in places.items():
        widest = -(-counts[name] // len(found))
        assert found[0] == 0
        assert all(b - a <= widest for a, b in itertools.pairwise([*found, counts[name]]))


def test_the_whole_of_a_set_is_the_set_itself():
    probe = load_default()
    assert reduced_indices(probe, 16, 16) == tuple(range(1000))
    assert probe.chosen(range(1000)) is probe


def test_a_part_of_a_set_has_another_name_and_another_digest():
    probe = load_default()
    half = probe.chosen(reduced_indices(probe, 8, 16))
    assert half.name == "sdi-probe-1 (504 of 1000)"
    assert half.digest != probe.digest
    assert half.strata.keys() == probe.strata.keys()
