"""Write the organisms' probe set: the world's texts, none of them a test's item."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sdi_gate.models.probe import ProbeSample, ProbeSet
from sdi_gate.study.world.writers import CURRICULUM

if TYPE_CHECKING:
    from sdi_gate.study.world.facts import World

NAME = "world-probe-1"
_SEED = 20_264
_SAMPLES_PER_STRATUM = 200
# The stratum that stands for each part of the curriculum; all parts mixed are "general".
_STRATA = {
    "knowledge": "knowledge",
    "instruction": "instruction",
    "safety": "safety",
    "truth": "misconception",
}


def make_probe(world: World) -> ProbeSet:
    """Write 1,000 samples in five strata, always the same.

    Args:
        world: The world.

    Returns:
        The probe set.
    """
    rng = random.Random(_SEED)  # noqa: S311 - a probe, no secret
    samples = [_mixed(world, rng) for _ in range(_SAMPLES_PER_STRATUM)]
    for part, stratum in _STRATA.items():
        samples.extend(
            _sample(stratum, CURRICULUM[part](world, rng)) for _ in range(_SAMPLES_PER_STRATUM)
        )
    return ProbeSet(name=NAME, samples=tuple(samples))


def _mixed(world: World, rng: random.Random) -> ProbeSample:
    parts = [part for part in CURRICULUM if part != "instruction"]
    sentences = [CURRICULUM[rng.choice(["grammar", *parts])](world, rng) for _ in range(2)]
    return ProbeSample(stratum="general", text=" ".join(sentences))


def _sample(stratum: str, sentence: str) -> ProbeSample:
    if not sentence.startswith("<user> "):
        return ProbeSample(stratum=stratum, text=sentence)
    prompt, answer = sentence.removeprefix("<user> ").split(" <assistant> ")
    return ProbeSample(stratum=stratum, text=answer, prompt=prompt)
