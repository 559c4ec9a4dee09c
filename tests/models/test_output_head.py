"""Models taken apart into decoder and head, against their own whole forward passes."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from tiny_models import (
    FAMILIES,
    MORE_FAMILIES,
    UNLISTED_FAMILIES,
    batch_of,
    loaded_of,
    model_of,
)
from torch import nn

from sdi_gate.models.activations import logits, output_head, predicting
from sdi_gate.models.causal_lm import LoadedModel
from sdi_gate.models.output_head import OutputHead, find_split, same_bits

# Families that do something to the logits behind the head, or to the states before it.
PARTICULAR = (
    ("gemma2", {"final_logit_softcapping": 2.0}),
    ("cohere", {"logit_scale": 0.0625}),
    ("granite", {"logits_scaling": 8.0}),
    ("opt", {"word_embed_proj_dim": 8}),
)
EVERY = tuple((name, {}) for name in (*FAMILIES, *MORE_FAMILIES, *UNLISTED_FAMILIES)) + PARTICULAR
IDS = [f"{name}-{'-'.join(changes)}" if changes else name for name, changes in EVERY]


def rows_of(loaded, split, batch):
    """Return rows and logits at the predicting positions, made in two steps."""
    with torch.inference_mode(), OutputHead.opened(loaded, split) as head:
        rows = predicting(head.run(batch), batch)
        return rows, head.logits(rows)


def whole(loaded, batch):
    with torch.inference_mode():
        return predicting(logits(loaded, batch), batch)


def part(loaded):
    return find_split(loaded, batch_of(7, 4))


@pytest.mark.parametrize(("family", "changes"), EVERY, ids=IDS)
def test_a_model_comes_apart_and_makes_the_logits_of_its_whole_pass(family, changes):
    loaded = loaded_of(model_of(family, **changes))
    split = part(loaded)
    assert split is not None
    batch = batch_of(9, 3, 12)
    rows, made = rows_of(loaded, split, batch)
    expected = whole(loaded, batch)
    assert rows.shape[1] <= 16
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("family", "changes"), PARTICULAR[:3], ids=IDS[-4:-1])
def test_what_is_done_behind_the_head_is_not_left_out(family, changes):
    loaded = loaded_of(model_of(family, **changes))
    rows, made = rows_of(loaded, part(loaded), batch_of(9))
    with torch.inference_mode():
        bare = output_head(loaded)(rows)
    assert float((bare - made).abs().max()) > 0.1


def test_blocks_of_rows_give_the_logits_of_all_rows():
    loaded = loaded_of(model_of("llama"))
    with torch.inference_mode(), OutputHead.opened(loaded, part(loaded)) as head:
        rows = predicting(head.run(batch_of(30, 20)), batch_of(30, 20))
        blocks = torch.cat([head.logits(rows[i : i + 7]) for i in range(0, len(rows), 7)])
        torch.testing.assert_close(blocks, head.logits(rows))


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_equal_rows_give_equal_bits_wherever_they_lie(offset):
    loaded = loaded_of(model_of("llama"))
    with torch.inference_mode(), OutputHead.opened(loaded, part(loaded)) as head:
        rows = predicting(head.run(batch_of(20)), batch_of(20))
        room = torch.empty(rows.numel() + offset)
        moved = room[offset:].view_as(rows).copy_(rows)
        assert torch.equal(head.logits(moved), head.logits(rows))


def test_the_model_is_whole_again_afterwards():
    loaded, batch = loaded_of(model_of("llama")), batch_of(6)
    before, names = whole(loaded, batch), [name for name, _ in loaded.model.named_modules()]
    rows_of(loaded, part(loaded), batch)
    assert [name for name, _ in loaded.model.named_modules()] == names
    assert torch.equal(whole(loaded, batch), before)
    assert not any(module._forward_pre_hooks for module in loaded.model.modules())


def fail_within(loaded, split):
    with OutputHead.opened(loaded, split):
        msg = "broken"
        raise RuntimeError(msg)


def test_the_model_is_whole_again_after_a_failure():
    loaded, batch = loaded_of(model_of("llama")), batch_of(6)
    with pytest.raises(RuntimeError, match="broken"):
        fail_within(loaded, part(loaded))
    whole(loaded, batch)


# What does not come apart.


class _Wrapped(nn.Module):
    """A causal model around a whole one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def base_model(self) -> nn.Module:
        return self.model.model

    def get_output_embeddings(self) -> nn.Module:
        return self.model.lm_head

    def forward(self, **arguments: object) -> object:
        return self.model(**arguments)


class _ChangesStates(_Wrapped):
    """Read something else than what its decoder gives."""

    def forward(self, **arguments):
        hook = self.model.lm_head.register_forward_pre_hook(
            lambda _m, args: (args[0] + 1e-6,), prepend=True
        )
        try:
            return self.model(**arguments)
        finally:
            hook.remove()


class _CountsTokens(_Wrapped):
    """Shift logits by what the tokens are, which states do not say."""

    def forward(self, input_ids, **arguments):
        output = self.model(input_ids=input_ids, **arguments)
        output.logits = output.logits + 0.01 * input_ids[..., None]
        return output


class _CountsSamples(_Wrapped):
    """Give as many columns as there are samples, and a hundred."""

    def forward(self, input_ids, **arguments):
        output = self.model(input_ids=input_ids, **arguments)
        output.logits = output.logits[..., : 100 + len(input_ids)]
        return output


class _AsksItsDecoder(_Wrapped):
    """Use more of its decoder than what it returns."""

    def forward(self, **arguments):
        assert self.model.model.layers is not None
        return self.model(**arguments)


class _Headless(_Wrapped):
    def get_output_embeddings(self):
        return None


@pytest.mark.parametrize(
    "wrapper", [_ChangesStates, _CountsTokens, _CountsSamples, _AsksItsDecoder, _Headless]
)
def test_a_model_that_would_give_other_numbers_apart_does_not_come_apart(wrapper):
    model = model_of("llama")
    loaded = LoadedModel(model=wrapper(model), layers=tuple(model.model.layers))
    assert find_split(loaded, batch_of(7, 4)) is None
    with torch.inference_mode():
        expected = whole(loaded, batch_of(6))
        with OutputHead.opened(loaded, None) as head:
            assert not head.is_apart
            rows = predicting(head.run(batch_of(6)), batch_of(6))
            assert torch.equal(rows, expected)
            assert head.logits(rows) is rows


def test_a_plain_wrapper_comes_apart_where_its_inner_model_does():
    model = model_of("llama")
    loaded = LoadedModel(model=_Wrapped(model), layers=tuple(model.model.layers))
    assert find_split(loaded, batch_of(7, 4)).path == "model.model"


def test_a_family_that_names_no_decoder_comes_apart_around_its_layers():
    model = model_of("llama4_text", intermediate_size_mlp=24, num_local_experts=2)
    assert model.base_model is model is model.get_decoder()
    assert find_split(loaded_of(model), batch_of(7, 4)).path == "model"


class _Forgetful(nn.Module):
    """A decoder by which one learns nothing: it gives a tuple."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **arguments):
        return (self.inner(**arguments).last_hidden_state,)


def test_a_decoder_that_gives_no_named_states_does_not_come_apart():
    model = model_of("gpt2")
    model.transformer = _Forgetful(model.transformer)
    model.get_decoder = lambda: model.transformer
    loaded = LoadedModel(model=model, layers=())
    assert find_split(loaded, batch_of(5)) is None


def test_logits_that_are_infinite_show_nothing_about_where_a_model_comes_apart():
    model = model_of("llama")
    inner = model.forward

    def forward(**arguments):
        output = inner(**arguments)
        # Seen in the whole pass alone: a head by itself is given no tokens.
        output.logits = output.logits.masked_fill(arguments["input_ids"][..., None] > 0, torch.inf)
        return output

    assert find_split(loaded_of(model), batch_of(5)) is not None
    model.forward = forward
    assert find_split(loaded_of(model), batch_of(5)) is None


def test_states_that_are_not_finite_are_no_sign_of_a_model_that_does_not_come_apart():
    model = model_of("llama")
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    loaded = loaded_of(model)
    # Its logits are no numbers, so that nothing shows where it could be taken apart.
    assert find_split(loaded, batch_of(5)) is None
    assert same_bits(whole(loaded, batch_of(5)), whole(loaded, batch_of(5)))


def test_a_lack_of_memory_is_told_and_not_taken_for_a_family_of_its_own(monkeypatch):
    loaded = loaded_of(model_of("llama"))

    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(loaded.model.model, "forward", full)
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        find_split(loaded, batch_of(5))


# The head alone.


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_head_that_was_taken_gives_the_same_logits_and_holds_nothing_else(tied):
    loaded = loaded_of(model_of("llama", tie_word_embeddings=tied))
    split, batch = part(loaded), batch_of(8, 5)
    rows, expected = rows_of(loaded, split, batch)
    size = output_head(loaded).weight.numel()
    layer = loaded.layers[0].mlp.up_proj.weight
    head = OutputHead.take(loaded, split)
    with torch.inference_mode():
        assert torch.equal(head.logits(rows), expected)
    assert layer.numel() == 0  # whoever still holds the model
    parameters = [p for layer in loaded.layers for p in layer.parameters()]
    assert sum(p.untyped_storage().nbytes() for p in parameters) == 0
    assert sum(p.numel() for p in loaded.model.parameters()) == size


def test_the_decoder_of_a_head_that_was_taken_is_gone():
    loaded = loaded_of(model_of("llama"))
    split, decoder = part(loaded), weakref.ref(loaded.model.model)
    head = OutputHead.take(loaded, split)
    del loaded
    gc.collect()
    assert decoder() is None
    assert head.is_apart


def test_a_model_that_does_not_come_apart_is_kept_whole():
    loaded, batch = loaded_of(model_of("llama")), batch_of(6, 4)
    expected = whole(loaded, batch)
    head = OutputHead.take(loaded, None)
    with torch.inference_mode():
        assert torch.equal(head.logits(predicting(head.run(batch), batch)), expected)


# Chance.


class _Noisy(nn.Module):
    """Draw anew at every call."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.generator = inner, torch.Generator().manual_seed(0)

    def forward(self, hidden, *args, **kwargs):
        raw = self.inner(hidden, *args, **kwargs)
        return raw + 1e-6 * torch.rand(raw.shape, generator=self.generator)


def repeats(loaded, split, batch):
    with torch.inference_mode(), OutputHead.opened(loaded, split) as head:
        return head.repeats(batch, predicting(head.run(batch), batch))


@pytest.mark.parametrize("apart", [True, False], ids=["apart", "whole"])
@pytest.mark.parametrize("where", ["nowhere", "head", "layer"])
def test_chance_in_head_or_layers_is_found(apart, where):
    model = model_of("llama")
    split = part(loaded_of(model)) if apart else None
    if where == "head":
        model.lm_head = _Noisy(model.lm_head)
    if where == "layer":
        model.model.layers[0] = _Noisy(model.model.layers[0])
    assert repeats(loaded_of(model), split, batch_of(7, 5)) == (where == "nowhere")


def test_chance_that_is_only_drawn_while_training_is_found():
    loaded = loaded_of(model_of("llama", attention_dropout=0.5))
    split, batch = part(loaded), batch_of(9, 5)
    assert repeats(loaded, split, batch)
    loaded.model.train()
    with torch.random.fork_rng(devices=[]):
        assert not repeats(loaded, split, batch)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
def test_numbers_that_are_not_finite_are_no_sign_of_chance(value):
    model = model_of("llama")
    split = part(loaded_of(model))
    with torch.no_grad():
        model.lm_head.weight.fill_(value)
    assert repeats(loaded_of(model), split, batch_of(4))


def test_numbers_of_another_type_are_not_the_same():
    ones = torch.ones(2)
    assert same_bits(ones, ones.clone())
    assert not same_bits(ones, ones.to(torch.bfloat16))
    assert not same_bits(ones, torch.ones(3))
