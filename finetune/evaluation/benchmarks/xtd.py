"""XTD-10 (https://arxiv.org/abs/2012.05107): 1,000 pictures of COCO with captions in 11 languages.

The authors' files: test_image_names.txt and test_1kcaptions_LL.txt, a line a picture, in folders
XTD10, MIC (de, fr) and STAIR (jp). Or rows as in MMEB-eval, a file or folder a language, as
https://huggingface.co/datasets/Haon-Chen/XTD-10 has them. Text to picture, recall@10.
"""

from __future__ import annotations

import re
from pathlib import Path

from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, Documents, Question
from finetune.evaluation.benchmarks import mmeb
from finetune.evaluation.benchmarks.captions import Captioned, text_to_image
from finetune.evaluation.benchmarks.place import Place, read_lines
from finetune.evaluation.metrics import RECALL, REST

HOME = "https://github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10"
FOLDERS = ("images", "train2014", "val2014")  # XTD's pictures are of COCO's training half
CAPTIONS = re.compile(r"test_1kcaptions_(\w+)\.txt")
TAGS = {"jp": "ja"}


def load(place: Place) -> Benchmark:
    """Raises `DataError`."""
    documents = Documents()
    if sorted(place.folder.rglob("test_image_names.txt")):
        questions = _original(place, documents)
    else:
        questions = _rows(place, documents)
    return Benchmark(
        "XTD-10",
        str(place.path),
        "recall@10",
        (*RECALL, *REST),
        tuple(questions),
        tuple(documents.sides),
    )


def _original(place: Place, documents: Documents) -> list[Question]:
    names = read_lines(place.find("test_image_names.txt", "the pictures' names", HOME))
    images = [place.picture(name.strip(), *FOLDERS) for name in names]
    questions: list[Question] = []
    files = {
        tag: path
        for path in sorted(place.folder.rglob("test_1kcaptions_*.txt"))
        if (tag := _tag(path))
    }
    if not files:
        raise DataError(
            f"{place.folder} has no test_1kcaptions_LL.txt; the set is published at {HOME}"
        )
    for tag, path in sorted(files.items()):
        captions = read_lines(path)
        if len(captions) != len(images):
            raise DataError(f"{path} has {len(captions)} captions for {len(images)} pictures")
        captioned = [
            Captioned(image, [text.strip()], tag)
            for image, text in zip(images, captions, strict=True)
        ]
        questions += text_to_image(captioned, documents)
    return questions


def _tag(path: Path) -> str | None:
    match = CAPTIONS.fullmatch(path.name)
    return TAGS.get(match[1], match[1]) if match else None


def _rows(place: Place, documents: Documents) -> list[Question]:
    tables = mmeb.tables(place.folder)
    if not tables:
        raise DataError(
            f"{place.folder} has neither test_image_names.txt nor rows a language "
            f"(LL/test-*.parquet or LL.jsonl); the set is published at {HOME}"
        )
    questions: list[Question] = []
    for name, paths in tables.items():
        questions += mmeb.questions(name, paths, place, documents, language=TAGS.get(name, name))
    return questions
