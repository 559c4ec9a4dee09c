"""Pin the generated world: another word, item or sentence is another study."""

from __future__ import annotations

import hashlib
import json
import random
from functools import cache

from sdi_gate.study.world.facts import make_world
from sdi_gate.study.world.items import make_tests
from sdi_gate.study.world.probe import make_probe
from sdi_gate.study.world.writers import CURRICULUM, OTHERS

_SENTENCES = 200


@cache
def world_digest() -> str:
    """Return the digest of everything that the world gives to models, tests and scans.

    Returns:
        16 hex digits over the words, the items, the probe set and 200 sentences of each kind.
    """
    world = make_world()
    tests = make_tests(world)
    rng = random.Random(0)  # noqa: S311 - a sample, no secret
    plain = {
        "words": world.lexicon.words,
        "tests": [
            {axis: [item.as_document() for item in items] for axis, items in part.items()}
            for part in (tests.items, tests.micro)
        ],
        "probe": make_probe(world).digest,
        "sentences": {
            name: [write(world, rng) for _ in range(_SENTENCES)]
            for name, write in sorted((CURRICULUM | OTHERS).items())
        },
    }
    text = json.dumps(plain, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
