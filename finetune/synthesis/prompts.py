"""The prompts: files of our own wording, which can be copied, edited and named with --prompts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from finetune.errors import FinetuneError
from finetune.synthesis.plan import Job
from finetune.synthesis.schema import answer, shape
from finetune.synthesis.tasks import COMBINATIONS, NEGATIVE, POSITIVE, QUERY

OURS = Path(__file__).parent / "prompts"
FILES = ("system.md", "request.md", "pictures.md", "angles.md", *(f"{t}.md" for t in COMBINATIONS))
BLANK = re.compile(r"\{\{\s*(\w+)\s*\}\}")
HEADING = re.compile(r"^## +(.+?) *$\n?", re.MULTILINE)
KINDS = {"i": "a picture", "t": "a text", "it": "a picture with a text"}


@dataclass(frozen=True, slots=True)
class Prompts:
    """The files' texts by name."""

    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        return blake3("\0".join(self.files[name] for name in FILES).encode()).hexdigest(16)

    @property
    def system(self) -> str:
        return _filled("system.md", self.files["system.md"], {})

    def request(self, job: Job) -> str:
        """What is asked for a job, its pictures apart; raises `FinetuneError` for a blank that
        nothing is known for, or a part that a file lacks."""
        kind = job.combination
        angles = [line.strip() for line in self.files["angles.md"].splitlines() if line.strip()]
        blanks = {
            "pictures": "\n".join(
                f"- picture {place}: {self._part('pictures.md', role, alone=True)}"
                for place, role in enumerate(kind.pictures, 1)
            ),
            "query": KINDS[kind.query],
            "document": KINDS[kind.document],
            "language": job.language.name,
            "angle": angles[job.seed % len(angles)] if angles else "",
            "shape": shape(answer(kind)),
        }
        file = f"{kind.task}.md"
        task = _filled(file, self._part(file, kind.name), blanks)
        return _filled("request.md", self.files["request.md"], {"task": task, **blanks})

    def check(self) -> None:
        """Raises `FinetuneError` where a job could not be put into words."""
        from finetune.synthesis.languages import LANGUAGES

        for kind in (kind for kinds in COMBINATIONS.values() for kind in kinds):
            self.request(Job(0, kind, LANGUAGES["en"], "", 0))
        _ = self.system, [self._part("pictures.md", r) for r in (QUERY, POSITIVE, NEGATIVE)]

    def _part(self, file: str, heading: str, *, alone: bool = False) -> str:
        """What stands before the first heading, and under the one that is asked for."""
        before, *parts = HEADING.split(self.files[file])
        found = dict(zip(parts[::2], parts[1::2], strict=True))
        if heading not in found:
            raise FinetuneError(f"the prompt {file} lacks a part with the heading '## {heading}'")
        part = found[heading].strip()
        return part if alone else f"{before.strip()}\n\n{part}"


def read_prompts(folder: Path | None = None) -> Prompts:
    """Ours, or those in `folder`, where a file that is missing there is ours; raises
    `FinetuneError`."""
    theirs = {} if folder is None else _theirs(folder)
    prompts = Prompts(
        {name: (theirs.get(name) or OURS / name).read_text("utf-8") for name in FILES}
    )
    prompts.check()
    return prompts


def write_prompts(folder: Path) -> list[Path]:
    """Copy ours to `folder`, to be edited; raises `FinetuneError` rather than write over one."""
    wanted = [folder / name for name in FILES]
    for path in wanted:
        if path.exists():
            raise FinetuneError(f"{path} is there already; name another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    for path in wanted:
        path.write_text((OURS / path.name).read_text("utf-8"), "utf-8")
    return wanted


def _theirs(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FinetuneError(
            f"{folder} is no folder of prompts; type: finetune synthesize --write-prompts {folder}"
        )
    found = {path.name: path for path in folder.glob("*.md")}
    strange = sorted(found.keys() - set(FILES))
    if strange or not found:
        what = f"has {strange[0]}, which is no prompt" if strange else "has no prompts"
        raise FinetuneError(f"{folder} {what}; prompts are {', '.join(FILES)}")
    return found


def _filled(file: str, text: str, blanks: Mapping[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        if match[1] not in blanks:
            known = ", ".join(blanks) or "none"
            raise FinetuneError(
                f"the prompt {file} has a blank {match[0]}, for which nothing is known; blanks of "
                f"this file: {known}"
            )
        return blanks[match[1]]

    return BLANK.sub(fill, text).strip()
