"""The visual documents of MMEB-V2 (https://arxiv.org/abs/2507.04590): pages that are images, and
questions; nDCG@5 with linear gains, and its unweighted mean over the data sets.

24 sets are scored: ViDoRe V1 (10) and V2 (4, in all their languages), VisRAG (6), ViDoSeek and
MMLongBench, each by page and by document. ViDoSeek and MMLongBench by page are the corrected sets,
whose names end in -page-fixed. Each is a repository of the Hugging Face Hub, downloaded to a folder
of its name (`DATASETS`), with the tables corpus (corpus-id, image), queries (query-id, query,
perhaps language) and qrels (query-id, corpus-id, score). Every page of a set is ranked.

Prompts as in vidore_dataset.py and visrag_dataset.py in src/data/eval_dataset of
https://github.com/TIGER-AI-Lab/VLM2Vec. The video part of MMEB-V2 is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from embedder.vlm.prompts import ROW_IMAGE_TOKEN
from finetune.data.cells import Row
from finetune.data.pairs import Side
from finetune.data.tables import read_rows
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks import BenchmarkFiles, require_field
from finetune.evaluation.benchmarks.image_tables import ImageStore, parse_text

QUERY_INSTRUCTION = "Find a document image that matches the given query:"
DOCUMENT_INSTRUCTION = "Understand the content of the provided document image."
METRICS = ("ndcg@5", "ndcg@10", "recall@1", "recall@5", "mrr")
DATASETS = {
    **{
        f"ViDoRe_{name}": (f"vidore/{name}_{end}", "test")
        for end, names in {
            "test_subsampled_beir": ("arxivqa", "docvqa", "infovqa", "tabfquad"),
            "test_beir": ("tatdqa", "shiftproject", "syntheticDocQA_artificial_intelligence",
                          "syntheticDocQA_energy", "syntheticDocQA_government_reports",
                          "syntheticDocQA_healthcare_industry"),
        }.items()
        for name in names
    },
    "ViDoRe_esg_reports_human_labeled_v2": ("vidore/esg_reports_human_labeled_v2", "test"),
    **{
        f"ViDoRe_{name}_multilingual": (f"vidore/{name}", "test")
        for name in ("biomedical_lectures_v2", "economics_reports_v2", "esg_reports_v2")
    },
    **{
        f"VisRAG_{name}": (f"openbmb/VisRAG-Ret-Test-{name}", "train")
        for name in ("ArxivQA", "ChartQA", "MP-DocVQA", "SlideVQA", "InfoVQA", "PlotQA")
    },
    "ViDoSeek-page-fixed": ("VLM2Vec/ViDoSeek-page-fixed", "test"),
    "ViDoSeek-doc": ("VLM2Vec/ViDoSeek", "test"),
    "MMLongBench-page-fixed": ("VLM2Vec/MMLongBench-page-fixed", "test"),
    "MMLongBench-doc": ("VLM2Vec/MMLongBench-doc", "test"),
}  # fmt: skip
"""MMEB-V2's name -> repository, and its split."""
MEANS = {
    "ViDoRe V1": tuple(DATASETS)[:10],
    "ViDoRe V2": tuple(DATASETS)[10:14],
    "VisRAG": tuple(DATASETS)[14:20],
    "ViDoSeek and MMLongBench": tuple(DATASETS)[20:],
}
LANGUAGES = {"english": "en", "french": "fr", "german": "de", "spanish": "es"}  # of ViDoRe V2


def load(files: BenchmarkFiles) -> Benchmark:
    """Read the data sets that are present; raises `DataError`."""
    documents, queries = DocumentSet(), list[BenchmarkQuery]()
    for name, (repository, split) in DATASETS.items():
        if folder := _find_folder(files, repository):
            queries += _read_queries(name, folder, split, files, documents)
    if not queries:
        first, _ = DATASETS["ViDoRe_arxivqa"]
        raise DataError(
            f"{files.folder} has no folder of a data set, such as {first.partition('/')[2]}, which "
            f"is published at https://huggingface.co/datasets/{first}"
        )
    name = "MMEB-V2 visual documents"
    return files.build(name, METRICS[0], METRICS, queries, documents, macro=True, means=MEANS)


def _find_folder(files: BenchmarkFiles, repository: str) -> Path | None:
    owner, _, name = repository.partition("/")
    if files.folder.name == name:
        return files.folder
    parents = (files.folder, files.folder / owner, files.folder / "visdoc-tasks")
    return next((parent / name for parent in parents if (parent / name).is_dir()), None)


def _read_queries(
    dataset: str, folder: Path, split: str, files: BenchmarkFiles, documents: DocumentSet
) -> Iterator[BenchmarkQuery]:
    """The questions that have a relevant page; raises `DataError`."""
    store = ImageStore(files, dataset)
    instruction = files.instruction_for(DOCUMENT_INSTRUCTION)
    prompt = f"{ROW_IMAGE_TOKEN} {DOCUMENT_INSTRUCTION}"
    pages: dict[str, int] = {}
    for path, row in _read_tables(folder, "corpus", split):
        page = str(require_field(row, "corpus-id", path))
        image = store.add(row, "image", page, path)
        pages[page] = documents.add(Side(None, image, instruction, prompt))
    relevant: dict[str, dict[int, int]] = {}
    for path, row in _read_tables(folder, "qrels", split):
        query, page = (str(require_field(row, key, path)) for key in ("query-id", "corpus-id"))
        grade = int(require_field(row, "score", path))
        if page not in pages:
            raise DataError(f"{path} names page {page}, which the corpus does not have")
        if grade > 0:  # as the authors: of a page that is judged twice, the higher grade
            grades = relevant.setdefault(query, {})
            grades[pages[page]] = max(grade, grades.get(pages[page], 0))
    candidates = tuple(pages.values())
    for path, row in _read_tables(folder, "queries", split):
        query, text = str(require_field(row, "query-id", path)), parse_text(row, "query", path)
        if query in relevant:
            asked = files.instruction_for(QUERY_INSTRUCTION)
            yield BenchmarkQuery(
                id=f"{dataset} {query}",
                sides=(Side(text, None, asked, f"{QUERY_INSTRUCTION} {text}"),),
                relevant=relevant[query],
                direction="t2i",
                language=LANGUAGES.get(str(row.get("language"))),
                dataset=dataset,
                candidates=candidates,
            )


def _read_tables(folder: Path, name: str, split: str) -> Iterator[tuple[Path, Row]]:
    """The rows of `name`, whose files are in a folder of that name or begin with it."""
    tables = [
        path
        for path in sorted(folder.rglob("*.parquet"))
        if any(part.startswith(name) for part in path.relative_to(folder).parts)
    ]
    of_split = [path for path in tables if path.stem.startswith(f"{split}-")]
    if not tables:
        raise DataError(
            f"{folder} has no table {name}, such as {name}/{split}-00000-of-00001.parquet"
        )
    for path in of_split or tables:
        for _, row in read_rows(path):
            yield path, row
