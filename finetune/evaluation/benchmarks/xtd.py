"""XTD-10 (https://arxiv.org/abs/2012.05107): 1,000 pictures of COCO with captions in 11 languages.

The authors' files: test_image_names.txt and test_1kcaptions_LL.txt, a line a picture, in folders
XTD10, MIC (de, fr) and STAIR (jp). Or rows as in MMEB-eval, a file or folder a language, as
https://huggingface.co/datasets/Haon-Chen/XTD-10 has them. Text to picture, recall@10.
"""

from __future__ import annotations

import re
from pathlib import Path

from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks import mmeb
from finetune.evaluation.benchmarks.captions import CaptionedImage, text_to_image_queries
from finetune.evaluation.benchmarks.files import BenchmarkFiles, read_lines
from finetune.evaluation.metrics import RANK_METRICS, RECALL_METRICS

URL = "https://github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10"
FOLDERS = ("images", "train2014", "val2014")  # XTD's pictures are of COCO's training half
CAPTIONS_FILE = re.compile(r"test_1kcaptions_(\w+)\.txt")
LANGUAGE_TAGS = {"jp": "ja"}


def load(files: BenchmarkFiles) -> Benchmark:
    """Raises `DataError`."""
    documents = DocumentSet()
    if sorted(files.folder.rglob("test_image_names.txt")):
        questions = _read_original(files, documents)
    else:
        questions = _read_rows(files, documents)
    return Benchmark(
        "XTD-10",
        str(files.path),
        "recall@10",
        (*RECALL_METRICS, *RANK_METRICS),
        tuple(questions),
        tuple(documents.sides),
    )


def _read_original(place: BenchmarkFiles, documents: DocumentSet) -> list[BenchmarkQuery]:
    names = read_lines(place.find_file("test_image_names.txt", "the pictures' names", URL))
    images = [place.image_path(name.strip(), *FOLDERS) for name in names]
    questions: list[BenchmarkQuery] = []
    files = {
        tag: path
        for path in sorted(place.folder.rglob("test_1kcaptions_*.txt"))
        if (tag := _language_tag(path))
    }
    if not files:
        raise DataError(
            f"{place.folder} has no test_1kcaptions_LL.txt; the set is published at {URL}"
        )
    for tag, path in sorted(files.items()):
        captions = read_lines(path)
        if len(captions) != len(images):
            raise DataError(f"{path} has {len(captions)} captions for {len(images)} pictures")
        captioned = [
            CaptionedImage(image, [text.strip()], tag)
            for image, text in zip(images, captions, strict=True)
        ]
        questions += text_to_image_queries(captioned, documents)
    return questions


def _language_tag(path: Path) -> str | None:
    match = CAPTIONS_FILE.fullmatch(path.name)
    return LANGUAGE_TAGS.get(match[1], match[1]) if match else None


def _read_rows(files: BenchmarkFiles, documents: DocumentSet) -> list[BenchmarkQuery]:
    tables = mmeb.find_tables(files.folder)
    if not tables:
        raise DataError(
            f"{files.folder} has neither test_image_names.txt nor rows a language "
            f"(LL/test-*.parquet or LL.jsonl); the set is published at {URL}"
        )
    questions: list[BenchmarkQuery] = []
    for name, paths in tables.items():
        questions += mmeb.read_queries(
            name, paths, files, documents, language=LANGUAGE_TAGS.get(name, name)
        )
    return questions
