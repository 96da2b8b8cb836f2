"""What the language model is asked: the prompt templates and the JSON schema of its answer.

The templates in `prompts/` can be copied, edited and passed with --prompts. The schema stays in the
subset that OpenAI's strict mode and vLLM accept: every property is required, no others are allowed,
and lengths are checked afterwards
(https://platform.openai.com/docs/guides/structured-outputs#supported-schemas).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from blake3 import blake3

from finetune.errors import FinetuneError
from finetune.synthesis.plan import COMBINATIONS, LANGUAGES, Combination, SampleJob

DEFAULT_PROMPTS = Path(__file__).parent / "prompts"
FILES = ("system.md", "request.md", "pictures.md", "angles.md", *(f"{t}.md" for t in COMBINATIONS))
PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
HEADING = re.compile(r"^## +(.+?) *$\n?", re.MULTILINE)
KIND_NAMES = {"i": "a picture", "t": "a text", "it": "a picture with a text"}
Schema = dict[str, Any]

INTERPRETATION = ("general", "objects", "context", "brainstorm")
EVALUATION = ("relevance", "hard_negative", "clarity", "diversity", "improvements")
REVISED, USABLE, INSTRUCTION = "revised", "usable", "instruction"


@dataclass(frozen=True, slots=True)
class PromptTemplates:
    """Texts of the prompt files by name."""

    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        return blake3("\0".join(self.files[name] for name in FILES).encode()).hexdigest(16)

    @property
    def system(self) -> str:
        return _fill_template("system.md", self.files["system.md"], {})

    def build_request(self, job: SampleJob) -> str:
        """Fill in the templates for a job; raises `FinetuneError` for a placeholder without a value
        or a missing section."""
        combination = job.combination
        angles = [line.strip() for line in self.files["angles.md"].splitlines() if line.strip()]
        values = {
            "pictures": "\n".join(
                f"- picture {place}: {self._get_section('pictures.md', role, section_only=True)}"
                for place, role in enumerate(combination.image_roles, 1)
            ),
            "query": KIND_NAMES[combination.query],
            "document": KIND_NAMES[combination.document],
            "language": job.language.name,
            "angle": angles[job.seed % len(angles)] if angles else "",
            "shape": sketch_schema(answer_schema(combination)),
        }
        file = f"{combination.task}.md"
        task = _fill_template(file, self._get_section(file, combination.name), values)
        return _fill_template("request.md", self.files["request.md"], {"task": task, **values})

    def validate(self) -> None:
        """Fill in the templates for every kind of job; raises `FinetuneError`."""
        _ = self.system
        for kind in chain.from_iterable(COMBINATIONS.values()):
            self.build_request(
                SampleJob(
                    number=0, combination=kind, language=LANGUAGES["en"], anchor_id="", seed=0
                )
            )

    def _get_section(self, file: str, heading: str, *, section_only: bool = False) -> str:
        """Return the text before the first heading, and the text under `heading`."""
        preamble, *sections = HEADING.split(self.files[file])
        found = dict(zip(sections[::2], sections[1::2], strict=True))
        if heading not in found:
            raise FinetuneError(f"the prompt {file} has no section '## {heading}'")
        part = found[heading].strip()
        return part if section_only else f"{preamble.strip()}\n\n{part}"


def load_prompts(folder: Path | None = None) -> PromptTemplates:
    """Read the templates in `folder`, with the default for each missing file; raises
    `FinetuneError`."""
    if folder is not None:
        _check_custom_prompts(folder)
    folders = [DEFAULT_PROMPTS] if folder is None else [folder, DEFAULT_PROMPTS]
    paths = {name: next(f / name for f in folders if (f / name).exists()) for name in FILES}
    prompts = PromptTemplates({name: path.read_text("utf-8") for name, path in paths.items()})
    prompts.validate()
    return prompts


def copy_default_prompts(folder: Path) -> list[Path]:
    """Copy the default templates to `folder` for editing; raises `FinetuneError` if one exists."""
    targets = [folder / name for name in FILES]
    for path in targets:
        if path.exists():
            raise FinetuneError(f"{path} already exists; choose another folder or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    for path in targets:
        path.write_text((DEFAULT_PROMPTS / path.name).read_text("utf-8"), "utf-8")
    return targets


def _check_custom_prompts(folder: Path) -> None:
    if not folder.is_dir():
        raise FinetuneError(
            f"{folder} is not a folder of prompts; create one with: finetune synthesize "
            f"--write-prompts {folder}"
        )
    names = sorted(path.name for path in folder.glob("*.md"))
    unknown = [name for name in names if name not in FILES]
    if unknown or not names:
        what = f"has an unknown file {unknown[0]}" if unknown else "has no prompts"
        raise FinetuneError(f"{folder} {what}; the prompt files are {', '.join(FILES)}")


def _fill_template(file: str, text: str, values: Mapping[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        if match[1] not in values:
            known = ", ".join(values) or "none"
            raise FinetuneError(
                f"the prompt {file} has an unknown placeholder {match[0]}; it can use: {known}"
            )
        return values[match[1]]

    return PLACEHOLDER.sub(fill, text).strip()


def answer_schema(combination: Combination) -> Schema:
    """Build the schema of an answer; the properties are in the order they are to be written."""
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
    """Sketch `schema` in the prompt, for servers that do not take a schema."""
    if schema["type"] != "object":
        return str(schema["type"])
    deeper = indent + "  "
    lines = [
        f"{deeper}{json.dumps(name)}: {sketch_schema(part, deeper)}"
        for name, part in schema["properties"].items()
    ]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def find_mismatch(value: object, schema: Schema, where: str = "the answer") -> str | None:
    """Describe the first difference between `value` and `schema`; None if it conforms."""
    if schema["type"] != "object":
        wanted = {"string": str, "boolean": bool}[schema["type"]]
        return None if isinstance(value, wanted) else f"{where} is not a {schema['type']}"
    if not isinstance(value, dict):
        return f"{where} is not an object"
    parts: dict[str, Schema] = schema["properties"]
    for name in (*parts, *value):
        if name not in value:
            return f"{where} lacks {name}"
        if name not in parts:
            return f"{where} has {name[:40]!r}, which is not in the schema"
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
