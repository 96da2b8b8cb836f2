"""The prompts: files of our own wording, which can be copied, edited and named with --prompts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from finetune.errors import FinetuneError
from finetune.synthesis.plan import SampleJob
from finetune.synthesis.schema import answer_schema, sketch_schema
from finetune.synthesis.tasks import COMBINATIONS, NEGATIVE, POSITIVE, QUERY

DEFAULT_PROMPTS = Path(__file__).parent / "prompts"
FILES = ("system.md", "request.md", "pictures.md", "angles.md", *(f"{t}.md" for t in COMBINATIONS))
PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
HEADING = re.compile(r"^## +(.+?) *$\n?", re.MULTILINE)
KIND_NAMES = {"i": "a picture", "t": "a text", "it": "a picture with a text"}


@dataclass(frozen=True, slots=True)
class PromptTemplates:
    """The files' texts by name."""

    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        return blake3("\0".join(self.files[name] for name in FILES).encode()).hexdigest(16)

    @property
    def system(self) -> str:
        return _fill_template("system.md", self.files["system.md"], {})

    def build_request(self, job: SampleJob) -> str:
        """What is asked for a job, its pictures apart; raises `FinetuneError` for a blank that
        nothing is known for, or a part that a file lacks."""
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
        """Raises `FinetuneError` where a job could not be put into words."""
        from finetune.synthesis.languages import LANGUAGES

        for kind in (kind for kinds in COMBINATIONS.values() for kind in kinds):
            self.build_request(SampleJob(0, kind, LANGUAGES["en"], "", 0))
        _ = self.system, [self._get_section("pictures.md", r) for r in (QUERY, POSITIVE, NEGATIVE)]

    def _get_section(self, file: str, heading: str, *, section_only: bool = False) -> str:
        """What stands before the first heading, and under the one that is asked for."""
        preamble, *sections = HEADING.split(self.files[file])
        found = dict(zip(sections[::2], sections[1::2], strict=True))
        if heading not in found:
            raise FinetuneError(f"the prompt {file} lacks a part with the heading '## {heading}'")
        part = found[heading].strip()
        return part if section_only else f"{preamble.strip()}\n\n{part}"


def load_prompts(folder: Path | None = None) -> PromptTemplates:
    """Ours, or those in `folder`, where a file that is missing there is ours; raises
    `FinetuneError`."""
    custom = {} if folder is None else _find_custom_prompts(folder)
    prompts = PromptTemplates(
        {name: (custom.get(name) or DEFAULT_PROMPTS / name).read_text("utf-8") for name in FILES}
    )
    prompts.validate()
    return prompts


def copy_default_prompts(folder: Path) -> list[Path]:
    """Copy ours to `folder`, to be edited; raises `FinetuneError` rather than write over one."""
    targets = [folder / name for name in FILES]
    for path in targets:
        if path.exists():
            raise FinetuneError(f"{path} is there already; name another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    for path in targets:
        path.write_text((DEFAULT_PROMPTS / path.name).read_text("utf-8"), "utf-8")
    return targets


def _find_custom_prompts(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FinetuneError(
            f"{folder} is no folder of prompts; type: finetune synthesize --write-prompts {folder}"
        )
    found = {path.name: path for path in folder.glob("*.md")}
    unknown = sorted(found.keys() - set(FILES))
    if unknown or not found:
        what = f"has {unknown[0]}, which is no prompt" if unknown else "has no prompts"
        raise FinetuneError(f"{folder} {what}; prompts are {', '.join(FILES)}")
    return found


def _fill_template(file: str, text: str, values: Mapping[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        if match[1] not in values:
            known = ", ".join(values) or "none"
            raise FinetuneError(
                f"the prompt {file} has a blank {match[0]}, for which nothing is known; blanks of "
                f"this file: {known}"
            )
        return values[match[1]]

    return PLACEHOLDER.sub(fill, text).strip()
