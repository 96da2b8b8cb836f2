"""Images with captions: Flickr30K, COCO, Crossmodal-3600 and XTD-10.

Flickr30K and COCO in Karpathy's splits (https://cs.stanford.edu/people/karpathy/deepimagesent):
dataset_flickr30k.json and dataset_coco.json: {"images": [{"split", "filename", "filepath" (COCO),
"sentences": [{"raw"}]}]}; or the tables of E5-V's authors (image_tables.py). A hit is at least one
of an image's captions. A few COCO images have more than five captions, of which the first five
count.

Crossmodal-3600 (https://arxiv.org/abs/2205.12522), captions in 36 languages: captions.jsonl, one
line for each image: {"image/key", "image/locale", "en": {"caption": [..], ...}, "de": ..}; the
images are images/KEY.jpg. Both directions in each language; the captions of a language are ranked
among themselves.

XTD-10 (https://arxiv.org/abs/2012.05107), 1,000 COCO images with captions in 11 languages: the
authors' files test_image_names.txt and test_1kcaptions_LL.txt, one line for each image, in folders
XTD10, MIC (de, fr) and STAIR (jp). Or rows as in MMEB-eval, a file or folder for each language, as
in https://huggingface.co/datasets/Haon-Chen/XTD-10. Text to image, recall@10.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from finetune.data.pairs import Side
from finetune.data.tables import read_rows
from finetune.errors import DataError
from finetune.evaluation.benchmark import (
    HIT_METRICS,
    RANK_METRICS,
    RECALL_METRICS,
    Benchmark,
    BenchmarkQuery,
    DocumentSet,
)
from finetune.evaluation.benchmarks import (
    BenchmarkFiles,
    mmeb,
    read_json,
    read_lines,
    require_field,
)
from finetune.evaluation.benchmarks.image_tables import ImageStore, parse_texts, read_table_rows

KARPATHY_URL = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
KARPATHY_FOLDERS = ("flickr30k-images", "flickr30k_images", "images", "Images")
KARPATHY_SPLIT = "test"
MAX_CAPTIONS = 5
XM3600_URL = "https://google.github.io/crossmodal-3600"
XTD_URL = "https://github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10"
XTD_FOLDERS = ("images", "train2014", "val2014")  # its images are from COCO's training split
XTD_CAPTIONS = re.compile(r"test_1kcaptions_(\w+)\.txt")
XTD_LANGUAGES = {"jp": "ja"}  # as in the names of files -> BCP 47

IMAGE_TO_TEXT_INSTRUCTION = "Find an image caption describing the given everyday image."
"""MMEB's instruction for captions (https://arxiv.org/abs/2410.05160). For images, the default
instructions of the families are MMEB's."""


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image and its captions in one language."""

    image: str
    captions: Sequence[str]
    language: str


def flickr30k(files: BenchmarkFiles) -> Benchmark:
    """1,000 images and 5,000 captions, in both directions; raises `DataError`."""
    images = _read_table(files, "flickr30k_test") or _read_karpathy(files, "dataset_flickr30k.json")
    return _both_directions("Flickr30K", files, [images])


def coco(files: BenchmarkFiles) -> Benchmark:
    """5,000 images and 25,000 captions, in both directions; raises `DataError`."""
    images = _read_table(files, "coco_test") or _read_karpathy(files, "dataset_coco.json")
    return _both_directions("COCO", files, [images])


def xm3600(files: BenchmarkFiles) -> Benchmark:
    """Both directions in each language; raises `DataError`."""
    path = files.find_file("captions.jsonl", "one line for each image", XM3600_URL)
    by_language: dict[str, list[CaptionedImage]] = {}
    for _, row in read_rows(path):
        image = files.image_path(f"{require_field(row, 'image/key', path)}.jpg", "images")
        for language, value in row.items():
            if isinstance(value, dict) and "caption" in value:
                captions = [str(text).strip() for text in value["caption"]]
                one = CaptionedImage(image, captions, language)
                by_language.setdefault(language, []).append(one)
    if not by_language:
        raise DataError(f"{path} has no line with captions, such as {{'en': {{'caption': [..]}}}}")
    groups = [images for _, images in sorted(by_language.items())]
    return _both_directions("Crossmodal-3600", files, groups)


def xtd(files: BenchmarkFiles) -> Benchmark:
    """Text to image in each language; raises `DataError`."""
    documents = DocumentSet()
    has_original = any(files.folder.rglob("test_image_names.txt"))
    queries = (_read_original_xtd if has_original else _read_xtd_rows)(files, documents)
    metrics = (*RECALL_METRICS, *RANK_METRICS)
    return files.build("XTD-10", "recall@10", metrics, queries, documents)


def _read_table(files: BenchmarkFiles, name: str) -> list[CaptionedImage]:
    """The images of the set `name` of E5-V's authors; none where it is not there."""
    store = ImageStore(files, name)
    return [
        CaptionedImage(
            store.add(row, "image", f"{number:05}", path),
            parse_texts(row, "text", path)[:MAX_CAPTIONS],
            "en",
        )
        for number, (path, row) in enumerate(read_table_rows(files, name, KARPATHY_SPLIT))
    ]


def _read_karpathy(files: BenchmarkFiles, name: str) -> list[CaptionedImage]:
    """The test images with their first five captions."""
    path = files.find_file(name, "Karpathy's split", KARPATHY_URL)
    images = []
    for entry in require_field(read_json(path), "images", path):
        if require_field(entry, "split", path) != KARPATHY_SPLIT:
            continue
        sentences = require_field(entry, "sentences", path)[:MAX_CAPTIONS]
        captions = [str(require_field(sentence, "raw", path)).strip() for sentence in sentences]
        folder = str(entry.get("filepath") or "")
        folders = (*([folder] if folder else []), *KARPATHY_FOLDERS, f"images/{folder}")
        image = files.image_path(str(require_field(entry, "filename", path)), *folders)
        images.append(CaptionedImage(image, captions, "en"))
    if not images:
        raise DataError(f"{path} has no image whose split is {KARPATHY_SPLIT!r}")
    return images


def _read_original_xtd(files: BenchmarkFiles, documents: DocumentSet) -> Iterator[BenchmarkQuery]:
    names = read_lines(files.find_file("test_image_names.txt", "the names of the images", XTD_URL))
    images = [files.image_path(name.strip(), *XTD_FOLDERS) for name in names]
    paths = {
        XTD_LANGUAGES.get(match[1], match[1]): path
        for path in sorted(files.folder.rglob("test_1kcaptions_*.txt"))
        if (match := XTD_CAPTIONS.fullmatch(path.name))
    }
    if not paths:
        raise DataError(
            f"{files.folder} has no test_1kcaptions_LL.txt; the set is published at {XTD_URL}"
        )
    for language, path in sorted(paths.items()):
        captions = read_lines(path)
        if len(captions) != len(images):
            raise DataError(f"{path} has {len(captions)} captions for {len(images)} images")
        captioned = [
            CaptionedImage(image, [text.strip()], language)
            for image, text in zip(images, captions, strict=True)
        ]
        yield from _text_to_image_queries(captioned, documents)


def _read_xtd_rows(files: BenchmarkFiles, documents: DocumentSet) -> Iterator[BenchmarkQuery]:
    tables = mmeb.find_dataset_files(files.folder)
    if not tables:
        raise DataError(
            f"{files.folder} has neither test_image_names.txt nor rows for each language "
            f"(LL/test-*.parquet or LL.jsonl); the set is published at {XTD_URL}"
        )
    for name, paths in tables.items():
        language = XTD_LANGUAGES.get(name, name)
        yield from mmeb.read_queries(name, paths, files, documents, language=language)


def _both_directions(
    name: str, files: BenchmarkFiles, groups: Iterable[Sequence[CaptionedImage]]
) -> Benchmark:
    """Both directions for each group of images, of one language, which are ranked among
    themselves."""
    documents, queries = DocumentSet(), list[BenchmarkQuery]()
    instruction = files.instruction_for(IMAGE_TO_TEXT_INSTRUCTION)
    for images in groups:
        queries += _text_to_image_queries(images, documents)
        queries += _image_to_text_queries(images, documents, instruction)
    metrics = (*HIT_METRICS, *RECALL_METRICS, *RANK_METRICS)
    return files.build(name, "hit@1", metrics, queries, documents)


def _text_to_image_queries(
    images: Sequence[CaptionedImage], documents: DocumentSet
) -> Iterator[BenchmarkQuery]:
    """One query for each caption. As published, one image is relevant, also where another one has
    the same caption."""
    captions = [
        (caption, one.language, documents.add(Side(image=one.image)))
        for one in images
        for caption in one.captions
    ]
    pool = tuple(dict.fromkeys(index for _, _, index in captions))
    for number, (caption, language, index) in enumerate(captions, 1):
        yield BenchmarkQuery(
            id=f"t2i {language} {number}",
            sides=(Side(text=caption),),
            relevant={index: 1},
            direction="t2i",
            language=language,
            cluster=str(index),
            candidates=pool,
        )


def _image_to_text_queries(
    images: Sequence[CaptionedImage], documents: DocumentSet, instruction: str | None
) -> Iterator[BenchmarkQuery]:
    """One query for each image; all its captions are relevant."""
    relevant: dict[tuple[str, str], dict[int, int]] = {}
    for one in images:
        grades = relevant.setdefault((one.image, one.language), {})
        grades.update((documents.add(Side(text=caption)), 1) for caption in one.captions)
    pool = tuple(dict.fromkeys(index for grades in relevant.values() for index in grades))
    for number, ((image, language), grades) in enumerate(relevant.items(), 1):
        yield BenchmarkQuery(
            id=f"i2t {language} {number}",
            sides=(Side(image=image, instruction=instruction),),
            relevant=grades,
            direction="i2t",
            language=language,
            cluster=str(documents.add(Side(image=image))),
            candidates=pool,
        )
