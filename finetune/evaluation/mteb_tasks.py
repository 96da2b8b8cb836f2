"""Runs mteb's tasks and benchmarks on a model, from data sets that are on this machine.

mteb (https://github.com/embeddings-benchmark/mteb) computes the scores. A task's data set is the
repository on the Hugging Face Hub that the task names, downloaded as it is; nothing is downloaded
here.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from embedder.encoding import EmbeddingModel
from embedder.extras import require_extra
from embedder.files import make_private_dir, write_file
from embedder.mteb import MtebEncoder
from finetune.errors import DataError, FinetuneError
from finetune.evaluation.benchmarks import MTEB_PREFIX
from finetune.evaluation.render import write_report_files
from finetune.evaluation.report import (
    BenchmarkInfo,
    EvaluationReport,
    MetricEstimate,
    MetricGroup,
    ModelInfo,
)

if TYPE_CHECKING:
    from mteb import TaskResult
    from mteb.abstasks import AbsTask

MAIN_SCORE = "main_score"  # of each task, where there are several
SHOWN_SCORES = (
    *("hit_rate_at_1", "recall_at_1", "recall_at_5", "recall_at_10", "ndcg_at_5", "ndcg_at_10"),
    *("map_at_5", "mrr_at_10", "accuracy", "f1", "lrap", "nmi", "v_measure", "ap"),
    *("cosine_spearman", "cosine_pearson", "text_acc", "image_acc"),
)
"""Those in the report beside a task's main score; mteb's own file has all."""

Scores = Mapping[str, float]


def evaluate_tasks(
    model: EmbeddingModel,
    name: str,
    folder: Path,
    out: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
    *,
    without_instructions: bool = False,
) -> EvaluationReport:
    """Evaluate a model on a task of mteb, or on all tasks of one of its benchmarks.

    Args:
        model: The model; texts, images, and both together.
        name: Of the task or benchmark, such as "CIRRIT2IRetrieval" or "MIEB(lite)".
        folder: Has the repository of each task in a folder of its name, such as
            mteb/mbeir_cirr_task7; for a single task also the repository itself.
        out: Where the report is written, and mteb's results as mteb/TASK.json, if given.
        progress: Called with a line of text now and then.
        without_instructions: Leave out the instructions of the tasks.

    Returns:
        The scores without intervals, since mteb gives none for single queries. Those over all are
        means over the subsets, such as languages, or over the tasks.

    Raises:
        FinetuneError: mteb has no such task, or its data set is missing or cannot be read.
        EmbedderError: The model fails, or mteb is not installed.
        OSError: `out` cannot be written.
    """
    require_extra("mteb")
    import mteb

    tasks = find_tasks(name)
    parts = [part for task in tasks for part in _list_parts(task)]
    repositories = {part.metadata.name: _find_repository(part, parts, folder) for part in parts}
    if out is not None:
        make_private_dir(out / "mteb")  # fails before the work, not after it
    encoder = MtebEncoder(model, with_instructions=not without_instructions, progress=progress)
    groups: list[MetricGroup[MetricEstimate]] = []
    task_scores: list[Scores] = []
    documents = 0
    for task in tasks:
        with _without_progress_bars(), _local_data_alone(out):
            for part in _list_parts(task):
                _load_data(part, repositories[part.metadata.name])
            (result,) = mteb.evaluate(
                encoder, task, cache=None, co2_tracker=False, show_progress_bar=False
            ).task_results
            counts = _count_rows(task)
            for part in _list_parts(task):
                part.unload_data()
        documents += sum(count for _, count in counts.values())
        if out is not None:
            write_file(out / "mteb" / f"{result.task_name}.json", result.model_dump_json(indent=1))
        task_groups = list(_list_groups(task, result, counts, single=len(tasks) == 1))
        groups += task_groups
        means = [{key: one.mean for key, one in group.metrics.items()} for group in task_groups]
        task_scores.append(_average(means))
    card, main = model.card, tasks[0].metadata.main_score if len(tasks) == 1 else MAIN_SCORE
    report = EvaluationReport(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model=ModelInfo(card.name, card.fingerprint, card.dim),
        benchmark=BenchmarkInfo(
            name=f"{MTEB_PREFIX}{name}",
            source=str(folder.absolute()),
            queries=sum(group.queries for group in groups),
            documents=documents,
            digest=_compute_digest(tasks),
            macro=len(groups) > 1,
            means={},
        ),
        main=main,
        metrics=_to_estimates(_average(task_scores)),
        means={},
        groups=tuple(groups),
    )
    if out is not None:
        write_report_files(report, out)
    return report


def find_tasks(name: str) -> list[AbsTask]:
    """The task of that name, or the tasks of a benchmark; raises `FinetuneError`."""
    import mteb

    names = {benchmark.name for benchmark in mteb.get_benchmarks()}
    try:
        found = list(mteb.get_benchmark(name).tasks) if name in names else [mteb.get_task(name)]
    except KeyError as error:
        reason = str(error.args[0]).removeprefix("KeyError: ")
        raise FinetuneError(
            f"mteb {mteb.__version__} has neither a task nor a benchmark {name!r}: {reason}"
        ) from None
    for task in found:
        if others := set(task.metadata.modalities) - {"text", "image"}:
            raise FinetuneError(
                f"mteb's task {task.metadata.name} has {' and '.join(sorted(others))}, and only "
                "texts and images can be evaluated yet"
            )
    return found


def _list_parts(task: AbsTask) -> Sequence[AbsTask]:
    """The tasks that a task is the mean of, or the task itself."""
    from mteb.abstasks.aggregated_task import AbsTaskAggregate

    return task.tasks if isinstance(task, AbsTaskAggregate) else [task]


def _find_repository(task: AbsTask, tasks: Sequence[AbsTask], folder: Path) -> Path:
    """The folder of a task's data set; raises `DataError`, which says how to get it."""
    dataset = task.metadata.dataset
    repository = dataset["path"]
    for path in (folder / repository, folder / repository.rpartition("/")[2]):
        if path.is_dir():
            return path
    is_only_one = len({one.metadata.dataset["path"] for one in tasks}) == 1
    if is_only_one and (folder / "README.md").is_file():
        return folder
    raise DataError(
        f"{folder} has no folder {repository}, the data set of mteb's task {task.metadata.name}; "
        f"download it: hf download {repository} --repo-type dataset "
        f"--revision {dataset['revision']} --local-dir {folder / repository}"
    )


def _load_data(task: AbsTask, repository: Path) -> None:
    """Load a task's data from a folder; raises `DataError`."""
    from datasets.exceptions import DatasetsError

    metadata = task.metadata
    dataset = {**metadata.dataset, "path": str(repository.absolute())}
    task.metadata = metadata.model_copy(update={"dataset": dataset})
    try:
        task.load_data()
    except (OSError, ValueError, KeyError, DatasetsError) as error:
        raise DataError(
            f"{repository} is not the data set {metadata.dataset['path']} that mteb's task "
            f"{metadata.name} reads ({type(error).__name__}: {error}); download the whole "
            "repository, with its README.md"
        ) from error


def _count_rows(task: AbsTask) -> dict[tuple[str, str], tuple[int, int]]:
    """(split, subset) -> queries and documents; a task that ranks nothing has samples alone."""
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    parts = _list_parts(task)
    if task not in parts:  # its scores are of no subset
        of_parts = [sizes for part in parts for sizes in _count_rows(part).values()]
        queries, documents = (sum(column) for column in zip(*of_parts, strict=True))
        total = (queries, documents)
        return {(split, "default"): total for split in task.eval_splits}
    dataset: Any = task.dataset
    for split in task.eval_splits:
        for subset in task.hf_subsets:
            part = dataset.get(subset, dataset)[split]
            is_ranking = isinstance(part, dict)
            sizes = (len(part["queries"]), len(part["corpus"])) if is_ranking else (len(part), 0)
            counts[split, subset] = sizes
    return counts


def _list_groups(
    task: AbsTask,
    result: TaskResult,
    counts: Mapping[tuple[str, str], tuple[int, int]],
    *,
    single: bool,
) -> Iterator[MetricGroup[MetricEstimate]]:
    """The scores of each split and subset of a task."""
    main = task.metadata.main_score
    for split, subsets in result.scores.items():
        for scores in subsets:
            subset = scores["hf_subset"]
            finite = {
                key: float(value)
                for key, value in scores.items()
                if isinstance(value, int | float) and math.isfinite(value)
            }
            if main not in finite:
                raise FinetuneError(f"mteb gives no {main} for {result.task_name}, {subset}")
            names = [main, *(key for key in SHOWN_SCORES if key in finite and key != main)]
            shown = {key: finite[key] for key in names} if single else {MAIN_SCORE: finite[main]}
            parts = [result.task_name, *([split] if len(result.scores) > 1 else [])]
            yield MetricGroup(
                direction=task.metadata.category or task.metadata.type,
                language=None if subset == "default" else subset,
                dataset=" ".join(parts),
                queries=counts[split, subset][0],
                metrics=_to_estimates(shown),
            )


def _average(scores: Sequence[Scores]) -> Scores:
    """The means of the scores that all have."""
    return {
        name: fmean(one[name] for one in scores)
        for name in scores[0]
        if all(name in one for one in scores)
    }


def _to_estimates(scores: Scores) -> dict[str, MetricEstimate]:
    return {name: MetricEstimate(value) for name, value in scores.items()}


def _compute_digest(tasks: Sequence[AbsTask]) -> str:
    hasher = blake3()
    for task in tasks:
        hasher.update(repr((task.metadata.name, task.metadata.revision)).encode())
    return hasher.hexdigest(length=16)


@contextmanager
def _local_data_alone(out: Path | None) -> Iterator[None]:
    """Have no requests sent to the Hub: some tasks name their data set in their code, not in their
    metadata. And let `datasets` keep what it makes of a folder in `out`, or a temporary folder.

    In its usual cache it finds a folder again by its path, and would give what was in it before it
    was downloaded again (datasets 5.0).
    """
    import datasets
    import huggingface_hub

    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory(prefix="datasets-", dir=out))
        changes: tuple[tuple[Any, str, object], ...] = (
            (datasets.config, "HF_DATASETS_CACHE", Path(cache)),
            (datasets.config, "HF_HUB_OFFLINE", True),
            (huggingface_hub.constants, "HF_HUB_OFFLINE", True),
        )
        for module, name, value in changes:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """`datasets` draws its own, over ours."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar
    from datasets.utils.tqdm import are_progress_bars_disabled

    was_disabled = are_progress_bars_disabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if not was_disabled:
            enable_progress_bar()
