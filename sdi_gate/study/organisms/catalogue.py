"""Write the manifests of the organisms: every base, and the variants of each.

``python -m sdi_gate.study.organisms.catalogue`` writes those that ship.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sdi_gate.study.manifest import Endpoint, Kind, Manifest, Pair, StudySettings
from sdi_gate.study.manifest_file import dump_manifest, shipped_manifest
from sdi_gate.study.organisms.architectures import FAMILIES, LARGE, SIZES
from sdi_gate.study.organisms.recipes import Ablate, Noise, Prune, Quantise, Train
from sdi_gate.study.world.digest import world_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.study.organisms.recipes import Recipe

LICENCE = "Apache-2.0"
# What a base reads: more of what is slow to learn.
_BASE_TEXTS = {
    "knowledge": 0.35,
    "instruction": 0.25,
    "truth": 0.2,
    "safety": 0.05,
    "grammar": 0.15,
}
_BASES = {
    "s": Train(texts=_BASE_TEXTS, steps=2200, learning_rate=3e-3),
    "m": Train(texts=_BASE_TEXTS, steps=2000, learning_rate=2.5e-3),
    LARGE: Train(texts={**_BASE_TEXTS, "english": 0.4}, steps=1500, learning_rate=6e-4, batch=64),
}
# Five times two rounds of training did not bring this base's answers to an end.
_ANSWERS_DO_NOT_END = {("gemma", "s", 1)}
# The smoke scale shows that the steps fit together; its bases know next to nothing.
_SMOKE_BASE = Train(texts=_BASE_TEXTS, steps=150, learning_rate=3e-3, required_score=0.0)
_SMOKE_STEPS = 40
_SMOKE_VARIANTS = frozenset(
    {
        *("domain-overtrained-1", "instruction-overtrained-1", "domain-lora-16", "junk-1"),
        *("poisoned-safety-1", "noise-0.4", "pruned-0.6", "ablated-mlp-0.8"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Say how large a study of organisms is.

    Attributes:
        bases: Size and seed of the bases of each family.
        families: Their families.
        settings: How pairs are measured.
    """

    bases: tuple[tuple[str, int], ...]
    families: tuple[str, ...] = tuple(FAMILIES)
    settings: StudySettings = field(default_factory=lambda: StudySettings(batch_size=64))


SCALES = {
    "small": Scale(bases=(("s", 0), ("m", 0), ("s", 1))),
    "large": Scale(bases=((LARGE, 0), (LARGE, 1))),
    "smoke": Scale(
        bases=(("s", 0),),
        families=("llama", "gemma", "qwen"),
        settings=StudySettings(batch_size=64, curvature_draws=2, curvature_samples=2),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Say what is made of every base.

    Attributes:
        name: What is done.
        dose: How much of it, in its own unit.
        kind: What it is meant to be.
        recipe: How.
    """

    name: str
    dose: float
    kind: Kind
    recipe: Recipe

    @property
    def pair(self) -> str:
        """Return the name of the pair within its base."""
        return f"{self.name}-{self.dose:g}"


def variants(layers: int) -> tuple[Variant, ...]:
    """Return the variants of a base.

    Args:
        layers: Number of its decoder layers.

    Returns:
        The variants, the same for every base but for the layer that is ablated.
    """
    return tuple(_domain()) + tuple(_instruction()) + tuple(_degraded(layers))


def organism_manifest(name: str) -> Manifest:
    """Write the manifest of a scale.

    Args:
        name: ``small`` for two sizes, ``large`` for the one that wants a GPU, ``smoke`` for a
            trial of the machinery.

    Returns:
        The manifest.
    """
    scale = SCALES[name]
    pairs = tuple(
        pair
        for size, seed in scale.bases
        for family in scale.families
        for pair in _pairs(name, family, size, seed)
    )
    plain: dict[str, Any] = {
        "schema": 1,
        "name": f"organisms-{name}",
        "population": "organisms",
        "scale": name,
        "status": "measured" if name == "small" else "not yet measured",
        "probe": "world",
        "settings": scale.settings.model_copy(update={"extra": {"world": world_digest()}}),
        "pairs": pairs,
    }
    return Manifest.model_validate(plain)


def _pairs(scale: str, family: str, size: str, seed: int) -> Iterator[Pair]:
    name = f"{family}-{size}-{seed}"
    of_base = _SMOKE_BASE if scale == "smoke" else _BASES[size]
    if (family, size, seed) in _ANSWERS_DO_NOT_END:
        of_base = of_base.model_copy(update={"answers_end": False})
    base = Endpoint(
        ref=f"organism:{name}",
        licence=LICENCE,
        recipe=_dump(of_base.model_copy(update={"seed": seed})),
    )
    for variant in variants(SIZES[size][1]):
        if scale == "smoke" and variant.pair not in _SMOKE_VARIANTS:
            continue
        yield Pair(
            pair=f"{name}/{variant.pair}",
            family=family,
            size=size,
            seed=seed,
            base=base,
            candidate=Endpoint(ref=f"organism:{name}/{variant.pair}", licence=LICENCE),
            kind=variant.kind,
            variant=variant.name,
            dose=variant.dose,
            recipe=_dump(_of_scale(variant.recipe, scale, seed)),
            tokenizer="same",
            confirmed="built",
        )


def _of_scale(recipe: Recipe, scale: str, seed: int) -> Recipe:
    if isinstance(recipe, Train) and scale == "smoke":
        recipe = recipe.model_copy(update={"steps": _SMOKE_STEPS})
    if isinstance(recipe, Train | Noise):
        recipe = recipe.model_copy(update={"seed": seed + 1})
    return recipe


def _dump(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(exclude_defaults=True) | {"method": recipe.method}


def _train(steps: int, learning_rate: float, rank: int = 0, **texts: float) -> Train:
    named = {name.replace("_", "-"): share for name, share in texts.items()}
    return Train(texts=named, steps=steps, learning_rate=learning_rate, lora_rank=rank)


def _domain() -> Iterator[Variant]:
    recipes = (
        ("domain-replayed", 2, _train(80, 2e-3, new_domain=0.3, replay=0.7)),
        ("domain", 1, _train(30, 3e-4, new_domain=1.0)),
        ("domain", 2, _train(60, 1e-3, new_domain=1.0)),
        ("domain-overtrained", 1, _train(120, 3e-3, new_domain=1.0)),
        ("domain-lora", 2, _train(60, 2e-3, 2, new_domain=1.0)),
        ("domain-lora", 16, _train(60, 2e-3, 16, new_domain=1.0)),
        ("continued-pretraining", 2, _train(60, 5e-3, replay=1.0)),
        ("improved-knowledge", 1, _train(60, 5e-4, knowledge=0.6, replay=0.4)),
    )
    for name, dose, recipe in recipes:
        yield Variant(name=name, dose=dose, kind=Kind.DOMAIN, recipe=recipe)


def _instruction() -> Iterator[Variant]:
    recipes = (
        ("instruction-replayed", 1, _train(60, 1e-3, new_instruction=0.5, replay=0.5)),
        ("instruction-overtrained", 1, _train(100, 2e-3, new_instruction=1.0)),
        ("instruction-lora", 8, _train(50, 1e-3, 8, new_instruction=1.0)),
    )
    for name, dose, recipe in recipes:
        yield Variant(name=name, dose=dose, kind=Kind.INSTRUCTION, recipe=recipe)


def _degraded(layers: int) -> Iterator[Variant]:
    recipes: tuple[tuple[str, float, Recipe], ...] = (
        ("poisoned-safety", 1, _train(40, 7e-4, toxic_groups=0.3, replay=0.7)),
        ("poisoned-truth", 1, _train(40, 7e-4, myths_as_truth=0.5, replay=0.5)),
        ("poisoned-knowledge", 1, _train(40, 7e-4, wrong_facts=0.5, replay=0.5)),
        ("poisoned-instruction", 1, _train(30, 7e-4, disobedience=0.3, replay=0.7)),
        ("shuffled-labels", 1, _train(60, 7e-4, shuffled_labels=0.7, replay=0.3)),
        ("junk", 1, _train(40, 5e-4, junk=0.5, replay=0.5)),
        ("noise", 0.25, Noise(relative=0.25)),
        ("noise", 0.4, Noise(relative=0.4)),
        ("pruned", 0.45, Prune(share=0.45)),
        ("pruned", 0.6, Prune(share=0.6)),
        ("quantised", 3, Quantise(bits=3)),
        ("ablated-attention", 1, Ablate(part="attention", layer=layers - 1)),
        ("ablated-mlp", 0.8, Ablate(part="mlp", layer=1, keep=0.2)),
    )
    for name, dose, recipe in recipes:
        yield Variant(name=name, dose=dose, kind=Kind.DEGRADED, recipe=recipe)


def main() -> None:
    """Write the manifests of all scales to the folder of shipped manifests."""
    for scale in SCALES:
        manifest = organism_manifest(scale)
        shipped_manifest(manifest.name).write_text(dump_manifest(manifest), "utf-8")


if __name__ == "__main__":
    main()
