"""Build the models of the study's pairs, in a folder that is not committed."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AutoModelForCausalLM

from sdi_gate.errors import FormatError, UsageError
from sdi_gate.study.evaluation.evaluate import evaluate_loaded
from sdi_gate.study.organisms.architectures import LARGE, new_model
from sdi_gate.study.organisms.recipes import Train, read_recipe
from sdi_gate.study.organisms.tests import axis_tasks
from sdi_gate.study.organisms.training import Training, train
from sdi_gate.study.organisms.variants import apply_recipe
from sdi_gate.study.rows import write_whole
from sdi_gate.study.world.digest import world_digest
from sdi_gate.study.world.english import english_words
from sdi_gate.study.world.facts import make_world
from sdi_gate.study.world.probe import make_probe
from sdi_gate.study.world.tokenizer import make_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from sdi_gate.models.probe import ProbeSet
    from sdi_gate.study.manifest import Pair

REQUIRED_SCORE = 0.9
# A base that is not there yet is trained on, more gently; one that got stuck begins anew from other
# weights.
_MAX_CYCLES = 2
_MAX_ATTEMPTS = 5
_SEED_STRIDE = 1000
_RECIPE_FILE = "recipe.json"
_GIVEN_UP = "base-given-up.json"
_MORE_STEPS = "give its recipe more steps"


def model_folder(name: str, work: Path) -> Path:
    """Return where the model of a name is, or will be.

    Args:
        name: Such as ``llama-s-0`` or ``llama-s-0/noise-2``.
        work: Folder of the work.

    Returns:
        The folder.
    """
    return work / "models" / (name if "/" in name else f"{name}/base")


def world_probe() -> ProbeSet:
    """Return the probe set in the words of the generated world.

    Returns:
        1,000 samples in five strata.
    """
    return make_probe(make_world())


def tokenizer_of(size: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a size: that of large organisms knows English words, too.

    Args:
        size: Size of the base.

    Returns:
        The tokenizer.
    """
    return make_tokenizer(make_world(), english_words() if size == LARGE else ())


def build_pair(pair: Pair, work: Path, device: torch.device) -> Mapping[str, Any]:
    """Build the candidate of a pair, and its base unless it is there.

    Args:
        pair: The pair, whose endpoints hold or refer to recipes.
        work: Folder of the work.
        device: Where to train.

    Returns:
        Seconds for each of the two (None where it was there), parameters, scores of the base.

    Raises:
        UsageError: If a recipe cannot be used, or the base does not reach the score.
    """  # noqa: DOC502 - raised by the functions called
    began = time.monotonic()
    built = build_base(pair, work, device)
    base_s = time.monotonic() - began if built else None
    began = time.monotonic()
    base = _load(model_folder(pair.base.name, work), device)
    num_parameters = sum(parameter.numel() for parameter in base.parameters())
    world = make_world()
    recipe = read_recipe(dict(pair.recipe), pair.pair)
    tokenizer = tokenizer_of(pair.size)
    apply_recipe(base, tokenizer, world, recipe)
    _save(base, tokenizer, model_folder(pair.candidate.name, work), dict(pair.recipe))
    return {
        "base_seconds": base_s,
        "candidate_seconds": time.monotonic() - began,
        "num_parameters": num_parameters,
    }


def build_base(pair: Pair, work: Path, device: torch.device) -> bool:
    """Train the base of a pair until it scores 0.9 on each axis, unless it is there.

    Args:
        pair: The pair.
        work: Folder of the work.
        device: Where to train.

    Returns:
        Whether it was trained now.

    Raises:
        UsageError: If its recipe cannot be used, or it does not reach the score.
    """
    folder = model_folder(pair.base.name, work)
    if _is_there(folder, dict(pair.base.recipe)):
        return False
    _check_not_given_up(folder, pair)
    recipe = read_recipe(dict(pair.base.recipe), pair.base.name)
    if not isinstance(recipe, Train) or recipe.lora_rank:
        msg = f"{pair.base.name}: a base is trained from nothing; got method {recipe.method!r}"
        raise UsageError(msg)
    scores: dict[str, float] = {}
    for attempt in range(_MAX_ATTEMPTS):
        model, scores = _attempt(pair, recipe, attempt, device)
        if _reaches(scores, recipe):
            _save(model, tokenizer_of(pair.size), folder, dict(pair.base.recipe))
            return True
    _give_up(folder, pair, scores)
    raise UsageError(_too_little(pair, recipe, scores), hint=_MORE_STEPS)


def _attempt(
    pair: Pair, recipe: Train, attempt: int, device: torch.device
) -> tuple[PreTrainedModel, dict[str, float]]:
    world = make_world()
    tokenizer = tokenizer_of(pair.size)
    offset = attempt * _SEED_STRIDE
    model = new_model(pair.family, pair.size, len(tokenizer), (pair.seed or 0) + offset)
    torch.nn.Module.to(model, device)
    scores: dict[str, float] = {}
    for cycle in range(_MAX_CYCLES):
        first = cycle == 0
        training = Training(
            texts=recipe.texts,
            steps=recipe.steps if first else recipe.steps // 2,
            learning_rate=recipe.learning_rate if first else recipe.learning_rate / 2,
            batch=recipe.batch,
            seed=recipe.seed + offset + cycle,
        )
        train(model, tokenizer, world, training)
        found = evaluate_loaded(model, tokenizer, axis_tasks(strict=recipe.answers_end))
        scores = {axis: score.value for axis, score in found.items()}
        if _reaches(scores, recipe):
            break
    return model, scores


def _required(recipe: Train) -> float:
    return REQUIRED_SCORE if recipe.required_score is None else recipe.required_score


def _reaches(scores: Mapping[str, float], recipe: Train) -> bool:
    return all(score >= _required(recipe) for score in scores.values())


def check_built(pair: Pair, work: Path) -> None:
    """Refuse a pair whose models in the folder of the work were made by other recipes.

    Args:
        pair: The pair.
        work: Folder of the work.

    Raises:
        FormatError: If they were, or are not there.
    """
    made = ((pair.base.name, pair.base.recipe), (pair.candidate.name, pair.recipe))
    for name, recipe in made:
        if not _is_there(model_folder(name, work), dict(recipe)):
            msg = f"the organism {name} in {str(work)!r} is not there, or made by another recipe"
            raise FormatError(msg, hint="run sdi-gate study build, with --retry-failed if it is")


def _is_there(folder: Path, recipe: dict[str, Any]) -> bool:
    return bool(_read(folder / _RECIPE_FILE) == _plain(_made_by(recipe)))


def _read(path: Path) -> Any:  # noqa: ANN401 - whatever is there
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found


def _plain(value: object) -> Any:  # noqa: ANN401 - as above
    # As JSON reads it back: tuples are lists.
    return json.loads(json.dumps(value))


def _too_little(pair: Pair, recipe: Train, scores: Mapping[str, float]) -> str:
    return f"{pair.base.name}: a base must score {_required(recipe)} on each axis; got {scores}"


def _give_up(folder: Path, pair: Pair, scores: Mapping[str, float]) -> None:
    # All its variants would train the same base in vain.
    folder.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_made_by(dict(pair.base.recipe)) | {"scores": scores}, sort_keys=True)
    write_whole(folder.with_name(_GIVEN_UP), f"{text}\n".encode())


def _check_not_given_up(folder: Path, pair: Pair) -> None:
    found = _read(folder.with_name(_GIVEN_UP))
    if (
        isinstance(found, dict)
        and _plain(_made_by(dict(pair.base.recipe))).items() <= found.items()
    ):
        recipe = read_recipe(dict(pair.base.recipe), pair.base.name)
        msg = _too_little(pair, cast("Train", recipe), found["scores"])
        raise UsageError(msg, hint=_MORE_STEPS)


def _made_by(recipe: dict[str, Any]) -> dict[str, Any]:
    return {"recipe": recipe, "world": world_digest()}


def _load(folder: Path, device: torch.device) -> PreTrainedModel:
    if not (folder / _RECIPE_FILE).is_file():
        raise FormatError(f"no organism in {folder}", hint="run sdi-gate study build")
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, attn_implementation="eager"
    )
    torch.nn.Module.to(model, device)
    return model


def _save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    recipe: dict[str, Any],
) -> None:
    fresh = folder.with_name(f"{folder.name}.partial-{time.monotonic_ns()}")
    fresh.mkdir(parents=True)
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    made_by = _made_by(recipe)
    (fresh / _RECIPE_FILE).write_text(json.dumps(made_by, sort_keys=True) + "\n", "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
