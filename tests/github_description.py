"""Hold requests and answers to GitHub's own description of its API (npm @octokit/openapi).

The description has 13 MB; what is used of it here is cut out once per process. What it leaves
open (unknown query parameters, unknown fields of a body) is refused here as well: a field with
a typing error would do nothing, and nobody would see it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "https://api.github.com"
USED = (
    ("get", "/user"),
    ("get", "/repos/{owner}/{repo}"),
    ("get", "/repos/{owner}/{repo}/commits/{ref}"),
    ("get", "/repos/{owner}/{repo}/commits/{commit_sha}/pulls"),
    ("get", "/repos/{owner}/{repo}/compare/{basehead}"),
    ("get", "/repos/{owner}/{repo}/contents/{path}"),
    ("get", "/repos/{owner}/{repo}/pulls"),
    ("get", "/repos/{owner}/{repo}/pulls/{pull_number}"),
    ("get", "/repos/{owner}/{repo}/pulls/{pull_number}/files"),
    ("get", "/repos/{owner}/{repo}/issues/{issue_number}/comments"),
    ("post", "/repos/{owner}/{repo}/issues/{issue_number}/comments"),
    ("patch", "/repos/{owner}/{repo}/issues/comments/{comment_id}"),
    ("post", "/repos/{owner}/{repo}/check-runs"),
    ("patch", "/repos/{owner}/{repo}/check-runs/{check_run_id}"),
)
# Answers that are made whole from the schemas of these names.
MADE = ("content-file", "content-symlink", "content-submodule", "private-user", "simple-user")
_FILE = "@octokit/openapi/generated/api.github.com.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request: its operation, the values in its path, its query and its body."""

    method: str
    template: str
    values: dict[str, str]
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def request(self) -> MockRequest:
        # A path of a file has slashes, which the description marks and the library does not know.
        path = self.template.format(**{k: quote(v, safe="") for k, v in self.values.items()})
        kind = self.headers.get("content-type", "")
        return MockRequest(
            HOST, self.method, path, args=self.query, data=self.body, content_type=kind
        )


class Description:
    """Say what of a request or an answer GitHub does not describe."""

    def __init__(self, slice_: dict[str, Any]) -> None:
        self._slice = slice_
        self._api = OpenAPI.from_dict(slice_)
        self._made: dict[str, Any] = {}

    def problems_of_request(self, question: Question) -> list[str]:
        operation = self._operation(question)
        known = {self._resolved(p)["name"] for p in operation.get("parameters", [])}
        problems = [f"unknown query parameter {name}" for name in question.query.keys() - known]
        try:
            self._api.validate_request(question.request)
        except OpenAPIError as exc:
            problems.append(_told(exc))
        else:
            problems += self._unknown_fields(operation, question.body)
        return [f"{question.method} {question.template}: {problem}" for problem in problems]

    def problems_of_answer(self, question: Question, status: int, body: bytes) -> list[str]:
        answer = MockResponse(body, status_code=status, content_type="application/json")
        try:
            self._api.validate_response(question.request, answer)
        except OpenAPIError as exc:
            return [f"answer {status} of {question.method} {question.template}: {_told(exc)}"]
        return []

    def whole(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Return an instance of a schema: what it requires, and the fields given over that."""
        if name not in self._made:
            self._made[name] = self._least({"$ref": f"#/components/schemas/{name}"})
        return _merged(self._made[name], fields)

    def _operation(self, question: Question) -> dict[str, Any]:
        return self._slice["paths"][question.template][question.method]

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            target: Any = self._slice
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            node = target
        return node

    def _unknown_fields(self, operation: dict[str, Any], body: bytes) -> list[str]:
        if "requestBody" not in operation:
            return ["a body, where none belongs"] if body else []
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        return [f"unknown field {name}" for name in json.loads(body) if name not in _fields(schema)]

    def _least(self, schema: dict[str, Any]) -> Any:
        schema = self._resolved(schema)
        if "enum" in schema:
            return schema["enum"][0]
        if schema.get("nullable") and not {"allOf", "oneOf", "anyOf"} & schema.keys():
            return None  # the library holds enums and alternatives against it all the same
        if "allOf" in schema:
            parts = [self._least(part) for part in schema["allOf"]]
            return {k: v for part in parts for k, v in part.items()}
        for word in ("oneOf", "anyOf"):
            if word in schema and "properties" not in schema:
                return self._least(schema[word][0])
        return self._least_of_type(schema)

    def _least_of_type(self, schema: dict[str, Any]) -> Any:
        match schema.get("type", "object"):
            case "object":
                of = schema.get("properties", {})
                return {name: self._least(of[name]) for name in schema.get("required", [])}
            case "array":
                return []
            case "string":
                dates = {"date-time": "2026-01-02T03:04:05Z", "uri": "https://api.github.com/x"}
                return dates.get(schema.get("format", ""), "x" * schema.get("minLength", 1))
            case "boolean":
                return False
            case _:
                return schema.get("minimum", 1)


@cache
def description_in(folder: Path) -> Description:
    """Read the description from a folder with Node packages."""
    whole = json.loads((folder / _FILE).read_bytes())
    paths: dict[str, Any] = {}
    for method, path in USED:
        operation = {k: v for k, v in whole["paths"][path][method].items() if k != "x-github"}
        paths.setdefault(path, {})[method] = operation
    result: dict[str, Any] = {k: whole[k] for k in ("openapi", "info", "servers")}
    result |= {"paths": paths, "components": {}}
    todo = list(_references(paths)) + [f"#/components/schemas/{name}" for name in MADE]
    while todo:
        _, _, kind, name = todo.pop().split("/")
        group = result["components"].setdefault(kind, {})
        if name not in group:
            group[name] = whole["components"][kind][name]
            todo += _references(group[name])
    return Description(_without_slips(result))


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for key, value in node.items():
            if key not in {"example", "examples"}:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _without_slips(node: Any) -> Any:
    # Some of GitHub's own do not keep to its schemas, and they are half of the size. And what
    # tells kinds of content apart is a field, which the kind that is a list cannot have.
    if isinstance(node, dict):
        dropped = {k for k in ("examples", "discriminator") if isinstance(node.get(k), dict)}
        kept = {k: v for k, v in node.items() if k not in dropped}
        return {k: _without_slips(v) for k, v in kept.items()}
    return [_without_slips(item) for item in node] if isinstance(node, list) else node


def _fields(schema: dict[str, Any]) -> set[str]:
    parts = [part for word in ("oneOf", "anyOf", "allOf") for part in schema.get(word, [])]
    return set(schema.get("properties", {})).union(*(_fields(part) for part in parts))


def _merged(least: Any, fields: Any) -> Any:
    if isinstance(least, dict) and isinstance(fields, dict):
        return {k: _merged(least.get(k), fields[k]) if k in fields else least[k]
                for k in least.keys() | fields.keys()}  # fmt: skip
    return fields


def _told(exc: BaseException) -> str:
    errors = list(getattr(exc.__cause__, "schema_errors", ()))[:3]
    causes = [f"{list(one.absolute_path)} {one.message[:200]}" for one in errors]
    return f"{type(exc).__name__}: " + ("; ".join(causes) or str(exc)[:300])
