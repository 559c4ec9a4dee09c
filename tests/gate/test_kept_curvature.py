"""The base's curvature from its profile: the same numbers, and no others."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from tiny_models import CPU, build_tokenizer, loaded_of, model_of, tiny_probe

from sdi_gate.gate import full_tier
from sdi_gate.gate.curvature_data import BaseCurvature
from sdi_gate.gate.full_tier import base_draws, quadratic_forms
from sdi_gate.gate.request import CurvatureMethod, Settings
from sdi_gate.gate.running import Running
from sdi_gate.models.tokens import tokenize
from sdi_gate.profiles.parts import Part
from sdi_gate.progress import NullProgress
from sdi_gate.signals.curvature import CurvatureKind

QUIET = NullProgress()
METHODS = list(CurvatureMethod)
HESSIAN = (CurvatureKind.HESSIAN_TRACE, "layers.0")
FISHER = (CurvatureKind.FISHER_TRACE, "layers.0")
REFUSED = "the kept curvature is not that of this base here"
UNREADABLE = "the kept curvature of the base cannot be used"


@pytest.fixture
def settings():
    return Settings(
        max_tokens=16,
        curvature_draws=2,
        curvature_samples=2,
        curvature_tokens=8,
        curvature_blocks=2,
    )


def running_of(**changes):
    return Running(
        loaded=loaded_of(model_of("llama", **({"seed": 1} | changes))),
        probe=tokenize(tiny_probe(), build_tokenizer(), 16),
        probe_digest="sha256:x",
        device=CPU,
    )


def update(_name, parameter):
    return parameter / 8


def through_json(found):
    """Return draws as they come back from a store."""
    return BaseCurvature.from_part(Part(facts=json.loads(json.dumps(found.to_part().facts))))


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_kept_draws_give_what_new_ones_give_to_the_bit(settings, method):
    settings = replace(settings, curvature_method=method)
    whole = base_draws(running_of(), update, settings, QUIET)
    kept = through_json(whole)
    assert kept == replace(whole, quadratic=None)
    assert quadratic_forms(running_of(), update, settings, QUIET, kept) == whole


def test_kept_draws_without_a_candidate_have_no_quadratic_form(settings):
    kept = through_json(base_draws(running_of(), update, settings, QUIET))
    found = quadratic_forms(running_of(), None, settings, QUIET, kept)
    assert found == kept
    assert found.quadratic is None


def test_only_one_of_kept_draws_is_made_again(settings, monkeypatch):
    kept = through_json(base_draws(running_of(), None, settings, QUIET))
    made = []

    def counted(*args):
        made.append(args)
        return products(*args)

    products = full_tier.curvature_products
    monkeypatch.setattr(full_tier, "curvature_products", counted)
    assert quadratic_forms(running_of(), update, settings, QUIET, kept) is not None
    assert len(made) == 1


def changed(kept, place, key, value):
    tables = [dict(table) for table in kept.tables]
    tables[place][key] = value
    return replace(kept, tables=tuple(tables))


FORGERIES = {
    "another number": lambda kept: changed(
        kept, 0, HESSIAN, math.nextafter(kept.tables[0][HESSIAN], math.inf)
    ),
    "not a number": lambda kept: changed(kept, 0, FISHER, math.nan),
    "a layer more": lambda kept: changed(kept, 1, (CurvatureKind.FISHER_TRACE, "layers.9"), 1.0),
    "a kind less": lambda kept: replace(
        kept,
        tables=tuple({k: v for k, v in t.items() if k[0] is not HESSIAN[0]} for t in kept.tables),
    ),
    "a draw less": lambda kept: replace(kept, strata=kept.strata[1:], tables=kept.tables[1:]),
    "no draw": lambda kept: replace(kept, strata=(), tables=()),
    "another stratum": lambda kept: replace(kept, strata=("code", *kept.strata[1:])),
    "another shape": lambda kept: replace(kept, shapes={**kept.shapes, "lm_head.weight": (1, 2)}),
    "another order": lambda kept: replace(kept, shapes=dict(reversed(kept.shapes.items()))),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_draws_are_refused(settings, caplog, monkeypatch, name):
    monkeypatch.setattr(full_tier.secrets, "randbelow", lambda _: 0)
    kept = through_json(base_draws(running_of(), None, settings, QUIET))
    forged = FORGERIES[name](kept)
    assert quadratic_forms(running_of(), update, settings, QUIET, forged) is None
    assert REFUSED in caplog.text


def test_whichever_draw_is_checked_the_numbers_are_the_same_and_a_forged_one_is_found(
    settings, monkeypatch
):
    whole = base_draws(running_of(), update, settings, QUIET)
    kept = through_json(whole)
    for place in range(len(kept.tables)):
        monkeypatch.setattr(full_tier.secrets, "randbelow", lambda _, place=place: place)
        assert quadratic_forms(running_of(), update, settings, QUIET, kept) == whole
        forged = changed(kept, place, HESSIAN, 2 * kept.tables[place][HESSIAN])
        assert quadratic_forms(running_of(), update, settings, QUIET, forged) is None


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_draws_of_another_base_are_refused_by_every_method(settings, caplog, method):
    settings = replace(settings, curvature_method=method)
    kept = through_json(base_draws(running_of(seed=2), None, settings, QUIET))
    assert quadratic_forms(running_of(), None, settings, QUIET, kept) is None
    assert REFUSED in caplog.text


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("asked", METHODS, ids=str)
def test_draws_of_one_method_are_no_draws_of_another(settings, method, asked):
    kept = base_draws(running_of(), None, replace(settings, curvature_method=method), QUIET)
    other = replace(settings, curvature_method=asked)
    found = quadratic_forms(running_of(), None, other, QUIET, through_json(kept))
    assert (found is None) == (method is not asked)


def test_draws_that_are_not_finite_say_so_and_are_not_read(settings, caplog):
    broken = running_of()
    with torch.no_grad():
        broken.loaded.model.lm_head.weight.mul_(1e38)
    found = base_draws(broken, None, settings, QUIET)
    assert not found.is_finite
    assert BaseCurvature.from_part(found.to_part()) is None
    assert UNREADABLE in caplog.text
    assert base_draws(running_of(), None, settings, QUIET).is_finite


def test_no_part_is_no_draws_and_nothing_to_warn_of(caplog):
    assert BaseCurvature.from_part(None) is None
    assert not caplog.text


GOOD = {
    "strata": ["general"],
    "tables": [[["fisher-trace", "layers.0", 1.5]]],
    "shapes": [["model.norm.weight", [16]]],
}
DAMAGED = {
    "nothing": {},
    "a list": [],
    "no strata": GOOD | {"strata": None},
    "a stratum that is no text": GOOD | {"strata": [1]},
    "more strata than draws": GOOD | {"strata": ["general", "code"]},
    "a table that is no list": GOOD | {"tables": [7]},
    "an entry too short": GOOD | {"tables": [[["fisher-trace", "layers.0"]]]},
    "a kind that nobody knows": GOOD | {"tables": [[["sharpness", "layers.0", 1.5]]]},
    "a kind that is no text": GOOD | {"tables": [[[["x"], "layers.0", 1.5]]]},
    "a layer that is no text": GOOD | {"tables": [[["fisher-trace", 0, 1.5]]]},
    "a whole number": GOOD | {"tables": [[["fisher-trace", "layers.0", 1]]]},
    "a text for a number": GOOD | {"tables": [[["fisher-trace", "layers.0", "1.5"]]]},
    "NaN": GOOD | {"tables": [[["fisher-trace", "layers.0", math.nan]]]},
    "infinity": GOOD | {"tables": [[["fisher-trace", "layers.0", math.inf]]]},
    "a shape that is no list": GOOD | {"shapes": [["model.norm.weight", 16]]},
    "a size below zero": GOOD | {"shapes": [["model.norm.weight", [-1]]]},
    "a size that is true": GOOD | {"shapes": [["model.norm.weight", [True]]]},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_part_is_made_anew_with_a_warning(caplog, name):
    assert BaseCurvature.from_part(Part(facts=GOOD)) is not None
    assert BaseCurvature.from_part(Part(facts=DAMAGED[name])) is None
    assert UNREADABLE in caplog.text


def test_progress_is_told_of_every_quadratic_form(settings):
    told = []

    class Steps:
        def advance(self, *step):
            told.append(step[:3])

    kept = through_json(base_draws(running_of(), None, settings, QUIET))
    quadratic_forms(running_of(), update, settings, Steps(), kept)
    assert told == [("curvature", done, 8) for done in range(5)]
