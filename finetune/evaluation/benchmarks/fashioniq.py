"""FashionIQ (https://arxiv.org/abs/1905.12794): a garment and two captions of a change -> another.

captions/cap.dress.val.json: [{"candidate", "target", "captions": [a, b]}] for dress, shirt and
toptee; image_splits/split.dress.val.json: [name]; images images/NAME.jpg (or .png). Ranked within
the category; the metrics are unweighted means of the three. E5-V's authors call tops shirts too,
and add the states of the captions in both orders (retrieval.py of kongds/E5-V).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from embedder.families.e5v import FASHIONIQ_PREFIX, join_fashioniq_captions
from finetune.data.pairs import Side
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks.files import E5V, BenchmarkFiles, read_json, require_field
from finetune.evaluation.metrics import RANK_METRICS

URL = "https://github.com/XiaoxiaoGuo/fashion-iq"
CATEGORIES = ("dress", "shirt", "toptee")
INSTRUCTION = "Find an image to match the fashion image and style note:"  # MMEB's
METRICS = ("recall@1", "recall@10", "recall@50", *RANK_METRICS)


def load(files: BenchmarkFiles) -> Benchmark:
    """Raises `DataError`."""
    documents = DocumentSet()
    queries = [q for name in CATEGORIES for q in _category_queries(name, files, documents)]
    return files.build("FashionIQ", "recall@10", METRICS, queries, documents, macro=True)


def _category_queries(
    category: str, files: BenchmarkFiles, documents: DocumentSet
) -> Iterator[BenchmarkQuery]:
    captions = files.find_file(f"cap.{category}.val.json", "the changes", URL)
    split = files.find_file(f"split.{category}.val.json", "the names of the images", URL)
    e5v = files.family == E5V
    instruction = FASHIONIQ_PREFIX + ("shirt" if category == "toptee" else category)
    indices = {}
    for name in map(str, read_json(split)):
        side = Side(image=_image_path(files, name), instruction=instruction if e5v else None)
        indices[name] = documents.add(side)
    pool = tuple(indices.values())
    for number, entry in enumerate(read_json(captions), 1):
        candidate, target = (
            str(require_field(entry, key, captions)) for key in ("candidate", "target")
        )
        if target not in indices:
            raise DataError(f"{captions} names {target}, which {split} does not have")
        texts = join_fashioniq_captions(*map(str, require_field(entry, "captions", captions)[:2]))
        image = _image_path(files, candidate)
        yield BenchmarkQuery(
            id=f"{category} {number}",
            sides=tuple(
                Side(text, image, instruction if e5v else INSTRUCTION)
                for text in (texts if e5v else texts[:1])
            ),
            relevant={indices[target]: 1},
            direction="it2i",
            language="en",
            dataset=category,
            cluster=candidate,
            candidates=pool,
        )


def _image_path(files: BenchmarkFiles, name: str) -> str:
    paths = [files.image_path(f"{name}.{end}", "images", "image_data") for end in ("jpg", "png")]
    return next((path for path in paths if Path(path).is_file()), paths[0])
