"""Find one's way in a model of a file: which keys stand where, and where a key belongs."""

from __future__ import annotations

import re
import types
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from sdi_gate.policy.format.section import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdi_gate.policy.format.places import Path


def known_keys(root: type[BaseModel], path: Path) -> tuple[str, ...]:
    """Return the keys that a file may have at a place.

    Args:
        root: Model of the whole file.
        path: Keys from the top, and positions in lists.

    Returns:
        The keys in the order of the model; none where the place takes no keys, or any.
    """
    found = _models_at(root, path)
    return tuple(dict.fromkeys(key for model in found for key in keys_of(model)))


def homes_of(root: type[BaseModel], key: str) -> tuple[tuple[str, str], ...]:
    """Return the places at which a file may have a key.

    Args:
        root: Model of the whole file.
        key: The key, in any spelling: ``SdiPlus`` is ``sdi-plus``.

    Returns:
        For each place its path and the key as it is spelt there. In a path, ``[]`` is any item
        of a list and ``<name>`` any name; it is empty for the top. A model that several places
        share is there once, at the first of them from the top.
    """
    found, seen = [], {root}
    queue: list[tuple[str, type[BaseModel]]] = [("", root)]
    for path, model in queue:
        for name, field in model.model_fields.items():
            spelt = field.alias or name
            if same_spelling(spelt, key):
                found.append((path, spelt))
            for suffix, inner in _inner_models(field.annotation):
                if inner not in seen:
                    seen.add(inner)
                    queue.append((f"{path}.{spelt}{suffix}".removeprefix("."), inner))
    return tuple(found)


def same_spelling(one: str, other: str) -> bool:
    """Say whether two keys differ in nothing but case, hyphens, underscores and the like.

    Args:
        one: A key.
        other: Another one.

    Returns:
        True for ``sdi-plus`` and ``sdiPlus``.
    """
    return _letters(one) == _letters(other)


def field_of(root: type[BaseModel], path: Path) -> Any:  # noqa: ANN401 - an annotation is any
    """Return the annotation of the field at a path.

    Args:
        root: Model of the whole file.
        path: Keys from the top to the field.

    Returns:
        The annotation; None if there is no such field.
    """
    fields = (
        field.annotation
        for model in _models_at(root, path[:-1])
        for name, field in model.model_fields.items()
        if (field.alias or name) == path[-1]
    )
    return next(fields, None)


def _letters(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key.lower())


def _models_at(root: type[BaseModel], path: Path) -> Iterator[type[BaseModel]]:
    options: list[Any] = [root]
    for step in path:
        options = [inner for option in options for inner in _below(option, step)]
    yield from filter(_is_model, options)


def _below(option: Any, step: str) -> Iterator[Any]:  # noqa: ANN401 - an annotation is any
    if _is_model(option):
        for name, field in option.model_fields.items():
            if (field.alias or name) == step:
                yield from _flat(field.annotation)
    elif get_origin(option) is dict:
        yield from _flat(get_args(option)[1])
    elif get_origin(option) is tuple:
        yield from _flat(get_args(option)[0])


def _inner_models(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:  # noqa: ANN401
    for option in _flat(annotation):
        if _is_model(option):
            yield "", option
        elif get_origin(option) is dict:
            for suffix, inner in _inner_models(get_args(option)[1]):
                yield f".<name>{suffix}", inner
        elif get_origin(option) is tuple:
            for suffix, inner in _inner_models(get_args(option)[0]):
                yield f"[]{suffix}", inner


def _flat(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - an annotation is any
    # Unions and annotations are taken apart.
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _flat(get_args(annotation)[0])
    elif origin in {Union, types.UnionType}:
        for option in get_args(annotation):
            yield from _flat(option)
    else:
        yield annotation


def _is_model(option: Any) -> bool:  # noqa: ANN401 - an annotation is any
    return isinstance(option, type) and issubclass(option, BaseModel)
