"""A base's readings as a part of a profile: made again whole, or refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.gate.readings import BaseReadings, num_predictions, tokens_digest
from sdi_gate.models.tokens import TokenizedProbe, TokenSample
from sdi_gate.profiles.parts import Part


def probe_of(*lengths, stratum="s"):
    samples = tuple(TokenSample(stratum=stratum, ids=tuple(range(n))) for n in lengths)
    return TokenizedProbe(samples=samples, chat_template=False, max_tokens=16)


PROBE = probe_of(3, 5, 4)


def readings_of(probe=PROBE, layers=2, *, output=True, states=True):
    counts = num_predictions(probe)
    generator = torch.Generator().manual_seed(0)

    def matrix(rows):
        return torch.randn(rows, 6, generator=generator)

    return BaseReadings(
        layers=tuple(matrix(len(counts)) for _ in range(layers)),
        output=matrix(len(counts)) if output else None,
        states=matrix(sum(counts)) if states else None,
        counts=counts,
        deterministic=True,
    )


@given(
    lengths=st.lists(st.integers(3, 9), min_size=1, max_size=5),
    layers=st.integers(0, 12),
    output=st.booleans(),
    states=st.booleans(),
)
def test_readings_come_back_from_a_part_as_they_were(lengths, layers, output, states):
    probe = probe_of(*lengths)
    readings = readings_of(probe, layers, output=output, states=states)
    again = BaseReadings.from_part(readings.to_part(), probe)
    assert again.counts == readings.counts
    assert len(again.layers) == layers
    pairs = [
        *zip(again.layers, readings.layers, strict=True),
        (again.output, readings.output),
        (again.states, readings.states),
    ]
    for ours, theirs in pairs:
        assert ours is theirs is None or torch.equal(ours, theirs)


def test_no_part_is_no_readings():
    assert BaseReadings.from_part(None, PROBE) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("layers.0"),
        lambda t: t.update({"layers.7": t["layers.0"]}),
        lambda t: t.update({"layers.": t["layers.0"]}),
        lambda t: t.update({"other": t["layers.0"]}),
        lambda t: t.update({"layers.0": t["layers.0"][:2]}),
        lambda t: t.update({"layers.0": t["layers.0"].double()}),
        lambda t: t.update({"layers.0": t["layers.0"][0]}),
        lambda t: t.update({"output": t["output"][:1]}),
        lambda t: t.update({"output": t["output"].to(torch.int64)}),
        lambda t: t.update({"states": t["states"][:-1]}),
        lambda t: t.update({"states": t["states"][None]}),
    ],
    ids=[
        "a layer is missing",
        "a layer is left out",
        "a layer has no number",
        "something else",
        "too few rows",
        "another type",
        "no matrix",
        "output of fewer samples",
        "output of another type",
        "states of fewer tokens",
        "states of more axes",
    ],
)
def test_a_part_that_does_not_fit_the_probe_is_no_readings(change):
    tensors = dict(readings_of().to_part().tensors)
    change(tensors)
    assert BaseReadings.from_part(Part(tensors=tensors), PROBE) is None


def test_a_part_of_another_probe_is_no_readings():
    assert BaseReadings.from_part(readings_of().to_part(), probe_of(3, 5)) is None
    assert BaseReadings.from_part(readings_of().to_part(), probe_of(3, 5, 5)) is None


def test_states_are_given_sample_after_sample_in_any_order():
    readings = readings_of()
    found = readings.states_of((2, 0))
    assert torch.equal(found, torch.cat([readings.states[6:9], readings.states[0:2]]))


def test_readings_that_are_not_finite_are_not_worth_keeping():
    readings = readings_of()
    assert readings.is_worth_keeping
    readings.states[0, 0] = torch.nan
    assert not readings.is_worth_keeping


def test_every_token_its_order_and_its_stratum_are_in_the_digest():
    probes = [PROBE, probe_of(5, 3, 4), probe_of(3, 5), probe_of(3, 5, 4, stratum="t")]
    assert len({tokens_digest(probe) for probe in probes}) == len(probes)
    assert tokens_digest(PROBE) == tokens_digest(probe_of(3, 5, 4))
    assert tokens_digest(PROBE).startswith("sha256:")
