"""Write the JSON Schema of a format, for editors and for whoever checks files elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import core_schema


def schema_text(model: type[BaseModel], schema_id: str) -> str:
    """Return the JSON Schema of a file, as it is published.

    It says as much of a format as such a schema can. What it cannot say, such as that a warning
    comes before a failure or that a day is in the calendar, sdi-gate alone refuses.

    Args:
        model: Model of the whole file.
        schema_id: The schema's ``$id``.

    Returns:
        The text of the file, draft 2020-12.
    """
    head = {"$schema": GenerateJsonSchema.schema_dialect, "$id": schema_id}
    body = model.model_json_schema(by_alias=True, schema_generator=_PublishedSchema)
    for definition in body["$defs"].values():
        if "enum" in definition:
            del definition["description"]  # a docstring, which is written for programmers
    return json.dumps({**head, **body}, indent=2, ensure_ascii=False) + "\n"


class _PublishedSchema(GenerateJsonSchema):
    """Write optional keys as keys that may be left out; their value is never null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        published = super().default_schema(schema)
        if published.get("default", ...) is None:
            del published["default"]
        return published

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        # A name that breaks the rules is refused; pydantic's own schema lets it name anything.
        published: JsonSchemaValue = {
            "type": "object",
            "propertyNames": self.generate_inner(schema["keys_schema"]),
            "additionalProperties": self.generate_inner(schema["values_schema"]),
        }
        self.update_with_validations(published, schema, self.ValidationsMapping.object)
        return published

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's
        # A title would say no more than the key.
        return False
