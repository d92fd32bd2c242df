"""The JSON schema of `config.yaml`, for editors: `python -m dpc.config.schema > workflow/schemas/config.schema.json`.

Made from `settings.Config`, whose docstrings become the descriptions. The workflow itself checks with the model,
which also knows the combinations that a schema cannot express.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from dpc.config.settings import Config


def meanings(group: type[BaseModel]) -> dict[str, str]:
    """Return the docstring beneath each key of `group`, read from its text and that of what it is made from.

    pydantic can read them while it makes a class; every stage would then read them at its start, and use none.
    """
    found = dict[str, str]()
    for kind in reversed(group.__mro__):
        if issubclass(kind, BaseModel) and kind.__annotations__ and kind is not BaseModel:
            (text,) = ast.parse(dedent(inspect.getsource(kind))).body
            assert isinstance(text, ast.ClassDef)
            found |= dict(_docstrings(text))
    return found


def _docstrings(text: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for key, below in pairwise(text.body):
        match key, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                yield name, inspect.cleandoc(meaning)


class _Described(GenerateJsonSchema):
    """JSON schema whose keys bear the docstrings beneath them."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().model_schema(schema)
        for key, meaning in meanings(schema["cls"]).items():
            made["properties"][key].setdefault("description", meaning)
        return made


def text() -> str:
    """Return the schema as indented JSON with a final newline."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(schema_generator=_Described),
    }
    for catalogue in ("models", "datasets", "recipes"):
        # the model refuses names that do not match, a schema must be told to
        schema["properties"][catalogue]["additionalProperties"] = False
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")
