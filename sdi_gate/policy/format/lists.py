"""Refuse lists that say a thing twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError, core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue


@dataclass(frozen=True, slots=True)
class Distinct:
    """Mark a list in which no item may be there twice."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Return a schema that checks the list after its items."""
        return core_schema.no_info_after_validator_function(_distinct, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the published schema, which says so, too."""
        return handler(schema) | {"uniqueItems": True}


def _distinct(items: tuple[Any, ...]) -> tuple[Any, ...]:
    first: dict[Any, int] = {}
    for number, item in enumerate(items):
        if item in first:
            raise PydanticCustomError(
                "duplicate",
                "item {item} is the same as item {first}",
                {"item": number, "first": first[item]},
            )
        first[item] = number
    return items
