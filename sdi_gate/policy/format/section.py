"""Define what every mapping of a policy has in common."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


def kebab(name: str) -> str:
    """Return the key under which a field stands in a file.

    Args:
        name: Name of the field.

    Returns:
        The name with hyphens.
    """
    return name.replace("_", "-")


class Section(BaseModel):
    """One mapping of a policy.

    A model of a whole file says in ``called`` what messages call the file.
    """

    called: ClassVar[str] = "policy"

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        alias_generator=kebab,
        # No section may be empty. Null is not in the published schema: the loader refuses it.
        json_schema_extra={"minProperties": 1},
    )

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        # A key that has a default is not given by having it.
        if all(getattr(self, name) is None for name in self.model_fields_set):
            keys = ", ".join(keys_of(type(self)))
            raise PydanticCustomError(
                "empty", "sets nothing; give at least one of {k}", {"k": keys}
            )
        return self


def keys_of(section: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of a section as they are written in a policy.

    Args:
        section: A model of a policy.

    Returns:
        The keys in the order of the schema.
    """
    return tuple(field.alias or kebab(name) for name, field in section.model_fields.items())
