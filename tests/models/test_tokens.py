"""Tokens for both models: chat templates, padding, batches, and what a tokenizer may do."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import (
    CHAT_TEMPLATE,
    CPU,
    SPECIAL,
    build_base,
    build_tokenizer,
    edit_json,
    snapshot,
    tiny_probe,
)
from tokenizers import Tokenizer, normalizers
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from sdi_gate.errors import FormatError
from sdi_gate.models.probe import ProbeSample, ProbeSet, load_default
from sdi_gate.models.tokenizer import (
    compare_tokenizers,
    has_tokenizer,
    load_tokenizer,
    translated,
)
from sdi_gate.models.tokens import (
    MIN_TOKENS,
    TokenSample,
    batches,
    pad,
    tokenize,
)

PROMPTED = ProbeSet(
    name="one", samples=(ProbeSample(stratum="s", prompt="count the birds", text="seven birds"),)
)


def read_back(tokenizer, probe=PROMPTED, max_tokens=10_000):
    (sample,) = tokenize(probe, tokenizer, max_tokens).samples
    return tokenizer.decode(sample.ids)


def word_level(*known):
    """Return a tokenizer that knows a few words and has no token for others."""
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(known)}))
    core.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=core)


# Samples.


def test_plain_samples_are_what_the_tokenizer_makes_of_their_text():
    tokenizer = build_tokenizer(template=CHAT_TEMPLATE)
    probe = ProbeSet(name="", samples=(ProbeSample(stratum="s", text="the ferry came"),))
    (sample,) = tokenize(probe, tokenizer, 100).samples
    assert list(sample.ids) == tokenizer("the ferry came")["input_ids"]
    assert sample.stratum == "s"


def test_a_prompt_goes_through_the_chat_template_without_further_special_tokens():
    tokenizer = build_tokenizer(template=CHAT_TEMPLATE)
    expected = "<s>user: count the birds<s>assistant: seven birds</s>"
    assert read_back(tokenizer) == expected
    found = tokenize(PROMPTED, tokenizer, 100)
    assert found.chat_template
    assert [found.samples[0].ids.count(i) for i in (1, 2)] == [2, 1]


def test_without_a_template_a_prompt_stands_before_its_text():
    tokenizer = build_tokenizer()
    assert read_back(tokenizer) == "count the birds\n\nseven birds"
    assert not tokenize(PROMPTED, tokenizer, 100).chat_template


def test_a_tokenizers_own_first_token_is_put_once_with_and_without_a_template():
    tokenizer = build_tokenizer(template="{{ bos_token }}{{ messages[0].content }}")
    tokenizer.add_bos_token = True
    mixed = ProbeSet(
        name="", samples=(*PROMPTED.samples, ProbeSample(stratum="s", text="seven birds count"))
    )
    for sample in tokenize(mixed, tokenizer, 100).samples:
        assert sample.ids[0] == 1
        assert sample.ids.count(1) == 1


def test_long_samples_are_cut():
    tokenizer = build_tokenizer()
    probe = tiny_probe()
    whole, cut = (tokenize(probe, tokenizer, n) for n in (1000, 7))
    assert [s.ids[:7] for s in whole.samples] == [s.ids for s in cut.samples]
    assert cut.max_tokens == 7
    assert cut.num_tokens == sum(len(sample.ids) for sample in cut.samples) == 70
    assert cut.strata == ("general",) * 5 + ("instruction",) * 5


def test_a_sample_with_too_few_tokens_to_predict_is_refused():
    probe = ProbeSet(name="", samples=(ProbeSample(stratum="short", text="ab"),))
    with pytest.raises(FormatError, match=rf"'short' has 2 tokens .* at least {MIN_TOKENS}"):
        tokenize(probe, build_tokenizer(), 100)


def test_the_shipped_probe_becomes_tokens_with_every_sample():
    found = tokenize(load_default(), build_tokenizer(template=CHAT_TEMPLATE), 16)
    assert len(found.samples) == 1000
    assert {len(sample.ids) for sample in found.samples} == {16}


# The date.

DATED = [
    "{{ date_string }}",
    "{{ strftime_now('%d %b %Y') }}",
    "{% if not date_string %}{% set date_string = strftime_now('%Y') %}{% endif %}{{date_string}}",
    "{% macro now() %}{{ strftime_now('%A %d %B %y, %H:%M:%S') }}{% endmacro %}{{ now() }}",
    "{% if strftime_now is defined %}{{ strftime_now('%Y-%m-%d') }}{% endif %}",
]


@pytest.mark.parametrize("template", DATED)
def test_a_template_that_asks_for_the_date_gives_the_same_tokens_on_every_day(
    monkeypatch, template
):
    tokenizer = build_tokenizer(template=template + "{{ messages[0].content }}")
    found = []
    for day in (3, 14):

        class Then(datetime):
            @classmethod
            def now(cls, tz=None, day=day):
                return datetime(2031, 7, day, 12, day, tzinfo=tz or UTC)

        monkeypatch.setattr(chat_template_utils, "datetime", Then)
        found.append(read_back(tokenizer))
    assert found[0] == found[1]
    assert "2025" in found[0] or ", 00:00:00" in found[0]


def test_the_fixed_date_is_a_real_day_in_every_format():
    day = datetime(2025, 1, 1, tzinfo=UTC)
    form = "%A %a %d %B %b %m %Y %y %H:%M:%S"
    tokenizer = build_tokenizer(template=f"{{{{ strftime_now('{form}') }}}}")
    assert read_back(tokenizer) == day.strftime(form)


@pytest.mark.parametrize(
    "template", ["\n\n  x{{ 1 }}\n", "{{- 'x' }}\n", "  {% if 1 %}\n x{% endif %}"]
)
def test_fixing_the_date_adds_nothing_to_what_a_template_writes(template):
    tokenizer = build_tokenizer(template=template + "{{ messages[0].content }}")
    messages = [{"role": "user", "content": "count the birds"}]
    plain = tokenizer.apply_chat_template(messages, tokenize=False)
    assert read_back(tokenizer) == plain


# Hostile and broken templates.


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'].system('touch pwned') }}",
        "{{ cycler.__init__.__globals__.os.popen('touch pwned').read() }}",
        "{% set x = messages.append(1) %}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 10**15 }}",
        "{{ 1 / 0 }}",
        "{{ 2.0 ** 10000 }}",
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[7].content }}",
        "{{ 'x'.encode('no-such-code') }}",
        "{% include '/etc/passwd' %}",
        "{% for %}",
        "{{ messages | sort }}",
    ],
)
def test_a_hostile_or_broken_template_is_refused_and_runs_nothing(tmp_path, monkeypatch, template):
    monkeypatch.chdir(tmp_path)
    tokenizer = build_tokenizer(template=template)
    with pytest.raises(FormatError, match="the base's chat template cannot be used: ") as caught:
        tokenize(PROMPTED, tokenizer, 100)
    assert "repair the chat template" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_template_that_is_not_needed_is_not_run():
    probe = ProbeSet(name="", samples=(ProbeSample(stratum="s", text="the ferry came"),))
    assert tokenize(probe, build_tokenizer(template="{{ 1 / 0 }}"), 100).chat_template


def test_a_tokenizer_saved_with_several_templates_uses_the_default_one():
    tokenizer = build_tokenizer()
    tokenizer.chat_template = {"default": CHAT_TEMPLATE, "tools": "{{ 1 / 0 }}"}
    assert read_back(tokenizer).startswith("<s>user: count")


# Loading.


def test_a_saved_tokenizer_reads_as_it_did(tmp_path):
    folder = build_base(tmp_path / "m", template=CHAT_TEMPLATE)
    assert has_tokenizer(snapshot(folder))
    ours = tokenize(tiny_probe(), load_tokenizer(snapshot(folder)), 64)
    assert ours == tokenize(tiny_probe(), build_tokenizer(template=CHAT_TEMPLATE), 64)


def test_a_model_without_a_vocabulary_has_no_tokenizer(tmp_path):
    folder = build_base(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    # A tokenizer of bytes has no vocabulary, only a class.
    assert has_tokenizer(snapshot(folder))
    (folder / "tokenizer_config.json").unlink()
    assert not has_tokenizer(snapshot(folder))


def _other_version(plain):
    plain["version"] = "9.0"


def _stray_merge(plain):
    plain["model"]["merges"] = [["x", "yyy"]]


def _bad_pattern(plain):
    plain["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "((("},
        "behavior": "Isolated",
        "invert": False,
    }


@pytest.mark.parametrize("change", [dict.clear, _other_version, _stray_merge, _bad_pattern])
def test_a_damaged_tokenizer_is_refused(tmp_path, change):
    folder = build_base(tmp_path / "m")
    plain = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    change(plain)
    (folder / "tokenizer.json").write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(FormatError, match="cannot read the tokenizer of file:") as caught:
        load_tokenizer(snapshot(folder))
    assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["[]", '{"tokenizer_class": 5}'], ids=["list", "number"])
def test_a_tokenizer_of_the_wrong_shape_is_refused(tmp_path, name, content):
    folder = build_base(tmp_path / "m")
    pinned = snapshot(folder)  # FolderSource itself refuses a configuration that is no object
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match="cannot read the tokenizer of file:"):
        load_tokenizer(pinned)


def test_code_in_a_tokenizers_folder_never_runs(tmp_path):
    folder = build_base(tmp_path / "m")
    pinned = snapshot(folder)  # FolderSource itself refuses auto_map
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w')\nclass Evil:\n    pass\n"
    (folder / "evil.py").write_text(code, encoding="utf-8")
    edit_json(
        folder / "tokenizer_config.json",
        tokenizer_class="Evil",
        auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
    )
    try:
        load_tokenizer(pinned)
    except FormatError as error:
        assert "cannot read the tokenizer" in error.message  # noqa: PT017 - loading may succeed
    assert not canary.exists()


# Comparison.


def test_the_same_tokenizer_reads_alike():
    found = compare_tokenizers(build_tokenizer(), build_tokenizer(), tiny_probe())
    assert found.same is True
    assert found.detail == "the same vocabulary, and the same tokens on every probe text"


def test_another_chat_template_is_said_and_does_not_matter():
    found = compare_tokenizers(
        build_tokenizer(), build_tokenizer(template=CHAT_TEMPLATE), tiny_probe()
    )
    assert found.same is True
    assert "the chat templates differ, and the base's was used for both" in found.detail
    assert found.notice == "not seen on the probe's texts: that the chat templates differ"


def test_a_tokenizer_that_reads_other_texts_otherwise_is_noticed_though_the_probe_is_read_alike():
    normalising = build_tokenizer()
    normalising.backend_tokenizer.normalizer = normalizers.Replace("xqzw", "something else")
    found = compare_tokenizers(build_tokenizer(), normalising, tiny_probe())
    assert found.same is True
    assert "the tokenizers treat some text or special tokens otherwise" in found.notice
    assert compare_tokenizers(build_tokenizer(), build_tokenizer(), tiny_probe()).notice == ""


def test_another_vocabulary_reads_otherwise():
    found = compare_tokenizers(build_tokenizer(), build_tokenizer(vocabulary=290), tiny_probe())
    assert found.same is False
    assert found.detail == "the vocabularies differ (300 and 290 entries)"


def test_the_same_words_with_other_numbers_are_another_vocabulary():
    one, other = word_level("a", "b"), word_level("b", "a")
    assert compare_tokenizers(one, other, tiny_probe()).same is False


def test_the_same_vocabulary_with_other_merges_reads_otherwise():
    plain = json.loads(build_tokenizer().backend_tokenizer.to_str())
    plain["model"]["merges"] = plain["model"]["merges"][:9]
    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(plain)),
        pad_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
    )
    found = compare_tokenizers(build_tokenizer(), other, tiny_probe())
    assert found.same is False
    assert found.detail.endswith("probe texts give other tokens")


def test_a_tokenizer_that_cannot_read_a_word_is_refused():
    tokenizer = word_level("the", "ferry", "came")
    probe = ProbeSet(name="", samples=(ProbeSample(stratum="s", text="the ferry sank"),))
    with pytest.raises(FormatError, match="a tokenizer cannot read the probe set: Exception"):
        compare_tokenizers(tokenizer, tokenizer, probe)
    with pytest.raises(FormatError, match="a tokenizer cannot read the probe set: Exception"):
        tokenize(probe, tokenizer, 100)


# Batches.

IDS = st.lists(st.integers(0, 9), min_size=MIN_TOKENS, max_size=9)
SAMPLES = st.lists(
    IDS.map(lambda ids: TokenSample(stratum="s", ids=tuple(ids))), min_size=1, max_size=12
)


@given(SAMPLES, st.integers(1, 5))
def test_batches_hold_every_sample_once_padded_on_the_right(samples, batch_size):
    groups = batches(samples, batch_size, CPU)
    assert sorted(i for group in groups for i in group.indices) == list(range(len(samples)))
    lengths = [group.ids.shape[1] for group in groups]
    assert lengths == sorted(lengths, reverse=True)
    for group in groups:
        assert group.ids.shape == group.mask.shape
        assert 1 <= len(group.indices) <= batch_size
        assert group.ids.dtype == group.mask.dtype == torch.int64
        for row, i in enumerate(group.indices):
            n = len(samples[i].ids)
            assert tuple(group.ids[row, :n].tolist()) == samples[i].ids
            assert group.mask[row].tolist() == [1] * n + [0] * (group.ids.shape[1] - n)


def test_a_batch_is_no_longer_than_its_longest_sample():
    samples = [TokenSample(stratum="s", ids=tuple(range(n))) for n in (5, 3, 9)]
    assert pad(samples, [0, 1], CPU).ids.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 0, 0]]


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit], ids=lambda kind: kind.__name__)
def test_what_ends_the_process_is_not_taken_for_a_broken_tokenizer(ending):
    with pytest.raises(ending), translated("a tokenizer", "a hint"):
        raise ending


def test_a_panic_that_is_no_exception_is_an_error_like_any_other():
    class PanicError(BaseException):
        pass

    with pytest.raises(FormatError, match="a tokenizer: PanicError"), translated("a tokenizer", ""):
        raise PanicError
