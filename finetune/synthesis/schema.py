"""The JSON schema of an answer, in the subset that OpenAI's strict mode and vLLM both take.

Every property is required and none may be added; lengths and the like are checked afterwards.
https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import json
from typing import Any

from finetune.synthesis.tasks import Combination

Schema = dict[str, Any]

INTERPRETATION = ("general", "objects", "context", "brainstorm")
EVALUATION = ("relevance", "hard_negative", "clarity", "diversity", "improvements")
REVISED, USABLE, INSTRUCTION = "revised", "usable", "instruction"


def answer_schema(combination: Combination) -> Schema:
    """The whole pass, in the order in which it is to be written."""
    sample = _strings_schema(INSTRUCTION, *combination.text_roles)
    return _object_schema(
        {
            "interpretation": _strings_schema(*INTERPRETATION),
            "draft": sample,
            "evaluation": _strings_schema(*EVALUATION),
            REVISED: sample,
            USABLE: {"type": "boolean"},
        }
    )


def sketch_schema(schema: Schema, indent: str = "") -> str:
    """`schema` as a person would sketch it, for a model that is not given the schema itself."""
    if schema["type"] != "object":
        return str(schema["type"])
    deeper = indent + "  "
    lines = [
        f"{deeper}{json.dumps(name)}: {sketch_schema(part, deeper)}"
        for name, part in schema["properties"].items()
    ]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def find_mismatch(value: object, schema: Schema, where: str = "the answer") -> str | None:
    """What does not fit, in words; None where all fits."""
    if schema["type"] != "object":
        wanted = {"string": str, "boolean": bool}[schema["type"]]
        return None if isinstance(value, wanted) else f"{where} is no {schema['type']}"
    if not isinstance(value, dict):
        return f"{where} is no object"
    parts: dict[str, Schema] = schema["properties"]
    for name in (*parts, *value):
        if name not in value:
            return f"{where} lacks {name}"
        if name not in parts:
            return f"{where} has {name[:40]!r}, which was not asked for"
    found = (find_mismatch(value[name], part, name) for name, part in parts.items())
    return next((problem for problem in found if problem), None)


def _strings_schema(*names: str) -> Schema:
    return _object_schema({name: {"type": "string"} for name in names})


def _object_schema(properties: dict[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
