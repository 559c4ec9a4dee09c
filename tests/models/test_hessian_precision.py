"""Curvature products in the types that scans use, against those in float64."""

from __future__ import annotations

import pytest
import torch
from tiny_models import batch_of, loaded_of, model_of

from sdi_gate.models.hessian import curvature_products, parameters_of, token_loss
from sdi_gate.signals.signs import rademacher

TINY = {"vocab_size": 12, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}


def tokens_of(*lengths):
    return batch_of(*lengths, vocabulary=12)


def products(loaded, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    named = parameters_of(loaded)
    signs = {name: rademacher(p.shape, generator) for name, p in named.items()}
    uniforms = torch.rand(64, generator=generator, dtype=torch.float64)
    return curvature_products(loaded, batch, lambda name, p: signs[name].to(p), uniforms, None)


def test_probabilities_of_a_half_precision_model_are_in_float32():
    model = model_of("llama", **TINY).bfloat16()
    loss, log_p = token_loss(loaded_of(model), tokens_of(5))
    assert loss.dtype is log_p.dtype is torch.float32
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(4))


def test_products_in_float32_are_those_in_float64():
    batch = tokens_of(6, 6)
    exact = products(loaded_of(model_of("llama", **TINY).double()), batch, 4)
    single = products(loaded_of(model_of("llama", **TINY)), batch, 4)
    assert single.trace == pytest.approx(exact.trace, rel=1e-3, abs=1e-3)
    assert single.fisher_trace == pytest.approx(exact.fisher_trace, rel=1e-3)


def test_grouped_experts_have_the_second_derivative_of_experts_one_by_one():
    found = []
    for implementation in ("grouped_mm", "eager"):
        loaded = loaded_of(model_of("mixtral", **TINY))
        loaded.model.set_experts_implementation(implementation)
        found.append(products(loaded, tokens_of(6, 6), 1))
    assert found[0].trace == pytest.approx(found[1].trace, rel=1e-4, abs=1e-4)
    assert found[0].fisher_trace == pytest.approx(found[1].fisher_trace, rel=1e-4)
