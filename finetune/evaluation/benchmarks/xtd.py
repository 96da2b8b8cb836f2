"""XTD-10 (https://arxiv.org/abs/2012.05107): 1,000 COCO images with captions in 11 languages.

The authors' files: test_image_names.txt and test_1kcaptions_LL.txt, one line for each image, in
folders XTD10, MIC (de, fr) and STAIR (jp). Or rows as in MMEB-eval, a file or folder for each
language, as in https://huggingface.co/datasets/Haon-Chen/XTD-10. Text to image, recall@10.
"""

from __future__ import annotations

import re

from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks import mmeb
from finetune.evaluation.benchmarks.captions import CaptionedImage, text_to_image_queries
from finetune.evaluation.benchmarks.files import BenchmarkFiles, read_lines
from finetune.evaluation.metrics import RANK_METRICS, RECALL_METRICS

URL = "https://github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10"
FOLDERS = ("images", "train2014", "val2014")  # XTD's images are from COCO's training split
CAPTIONS_FILE = re.compile(r"test_1kcaptions_(\w+)\.txt")
LANGUAGE_TAGS = {"jp": "ja"}


def load(files: BenchmarkFiles) -> Benchmark:
    """Raises `DataError`."""
    documents = DocumentSet()
    has_original = any(files.folder.rglob("test_image_names.txt"))
    queries = (_read_original if has_original else _read_rows)(files, documents)
    metrics = (*RECALL_METRICS, *RANK_METRICS)
    return files.build("XTD-10", "recall@10", metrics, queries, documents)


def _read_original(files: BenchmarkFiles, documents: DocumentSet) -> list[BenchmarkQuery]:
    names = read_lines(files.find_file("test_image_names.txt", "the names of the images", URL))
    images = [files.image_path(name.strip(), *FOLDERS) for name in names]
    paths = {
        LANGUAGE_TAGS.get(match[1], match[1]): path
        for path in sorted(files.folder.rglob("test_1kcaptions_*.txt"))
        if (match := CAPTIONS_FILE.fullmatch(path.name))
    }
    if not paths:
        raise DataError(
            f"{files.folder} has no test_1kcaptions_LL.txt; the set is published at {URL}"
        )
    queries: list[BenchmarkQuery] = []
    for language, path in sorted(paths.items()):
        captions = read_lines(path)
        if len(captions) != len(images):
            raise DataError(f"{path} has {len(captions)} captions for {len(images)} images")
        captioned = [
            CaptionedImage(image, [text.strip()], language)
            for image, text in zip(images, captions, strict=True)
        ]
        queries += text_to_image_queries(captioned, documents)
    return queries


def _read_rows(files: BenchmarkFiles, documents: DocumentSet) -> list[BenchmarkQuery]:
    tables = mmeb.find_tables(files.folder)
    if not tables:
        raise DataError(
            f"{files.folder} has neither test_image_names.txt nor rows for each language "
            f"(LL/test-*.parquet or LL.jsonl); the set is published at {URL}"
        )
    queries: list[BenchmarkQuery] = []
    for name, paths in tables.items():
        language = LANGUAGE_TAGS.get(name, name)
        queries += mmeb.read_queries(name, paths, files, documents, language=language)
    return queries
