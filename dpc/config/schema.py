"""The JSON schema of `config.yaml`, for editors: `python -m dpc.config.schema > workflow/schemas/config.schema.json`.

Made from `settings.Config`, whose docstrings become the descriptions. The workflow itself checks with the model,
which also knows the combinations that a schema cannot express.
"""

from __future__ import annotations

import json

from dpc.config.settings import Config


def text() -> str:
    """Return the schema as indented JSON with a final newline."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    for catalogue in ("models", "datasets", "recipes"):
        # the model refuses names that do not match, a schema must be told to
        schema["properties"][catalogue]["additionalProperties"] = False
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")
