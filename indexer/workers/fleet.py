"""The far half of an ingest: shards of what is to be done go out, and come back done."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from embedder import Input, ModelCard, Role, Vectors
from indexer.catalogue import Catalogue
from indexer.config import Config
from indexer.errors import IndexerError
from indexer.places import Index
from indexer.prepare import Prepared
from indexer.sources.addresses import scheme
from indexer.thumbnails import put_thumbnail, thumbnail_path
from indexer.timing import Stages
from indexer.types import Skip
from indexer.workers.cluster import (
    LOCAL,
    actor,
    check_workers,
    connected,
    is_one_machine,
    require_ray,
    share,
)
from indexer.workers.job import Done, Job, Shard, Task
from indexer.workers.pool import Pool

if TYPE_CHECKING:
    from indexer.ingest import IngestOptions

CPU_ALONE = {"starter", "remote"}  # families that have no use for a GPU where the worker is


class Fleet:
    """The workers of one ingest. Nothing is started, or connected to, before there is work.

    It is an embedder as well, for the few texts that this machine has to have embedded: those of
    copies whose captions are merged. Use as a context manager.
    """

    def __init__(
        self,
        address: str,
        config: Config,
        index: Index,
        roots: Sequence[str | Path],
        options: IngestOptions,
    ) -> None:
        require_ray()
        if address.startswith("ray://") and not config.is_remote:
            raise _unreachable(config)
        self._address, self._options = address, options
        named = tuple(_absolute(root) for root in roots)
        self._job = Job(config, index, named, options.reading, options.limits, options.frames)
        self._stack = ExitStack()
        self._pool: Pool | None = None

    @property
    def card(self) -> ModelCard:
        return self._job.index.card

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        with _heard(self._address):
            return self._started().embed(inputs, role, instruction)

    def gather(self) -> None:
        """Start what `batches` would start, and wait for all workers; raises `IndexerError`."""
        self._started().gather()

    def batches(
        self,
        catalogue: Catalogue,
        thumbs: Path,
        stages: Stages,
        skipped: Sequence[Skip],
        stop: threading.Event,
    ) -> Iterator[list[Prepared | Skip]]:
        """What is to be done, done: the points are in the store, the catalogue knows nothing yet.

        `stop` ends it after what the workers have in hand. Raises `IndexerError`.
        """
        if not catalogue.count_todo():
            return
        told = set(skipped)  # every worker reads a table of captions, and finds it bad
        with _heard(self._address):
            for done in self._started().run(self._shards(catalogue), stop):
                for stage, seconds in (done.seconds or {}).items():
                    stages.add(stage, seconds)
                with stages("thumbnail"):
                    _keep_thumbnails(done, thumbs)
                new = [skip for skip in done.skips if skip not in told]
                told.update(new)
                yield [*new, *(outcome.item for outcome in done.outcomes)]

    def _shards(self, catalogue: Catalogue) -> Iterator[Shard]:
        """In the order of paths, so that what lies together is read together."""
        todo = catalogue.todo()
        while page := list(islice(todo, self._options.batch)):
            known = (catalogue.file(item.path) for item in page)
            yield Shard(
                tuple(
                    Task(item, file.content if file else None)
                    for item, file in zip(page, known, strict=True)
                )
            )

    def _started(self) -> Pool:
        if self._pool is None:
            self._stack.enter_context(connected(self._address))
            self._require_reach()
            part = share(self._address, gpu=_wants_gpu(self._job.config, self.card))
            device = "cuda" if part.gpus else self._job.config.device
            config = replace(self._job.config, device=device)
            job = replace(self._job, config=config, threads=part.threads)
            self._pool = Pool(actor(job, part), part.workers)
            self._stack.callback(self._pool.close)
        return self._pool

    def _require_reach(self) -> None:
        if self._address.startswith(LOCAL):
            return
        if not self._job.config.is_remote and not is_one_machine():
            raise _unreachable(self._job.config)
        check_workers([str(root) for root in self._job.roots if Path(root).exists()])

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def hired(
    config: Config, index: Index, roots: Sequence[str | Path], options: IngestOptions
) -> AbstractContextManager[Fleet | None]:
    """The workers that the settings name, if they do; a dry run is this machine's alone."""
    if config.fleet is None or options.dry_run:
        return nullcontext()
    return Fleet(config.fleet, config, index, roots, options)


def _absolute(root: str | Path) -> str | Path:
    """`root` for a process that works elsewhere; a string stays one, for it may be a pattern."""
    if scheme(str(root)):
        return root
    path = Path(root).expanduser().absolute()
    return path if isinstance(root, Path) else str(path)


@contextmanager
def _heard(address: str) -> Iterator[None]:
    """Say in words where the cluster is not heard of any more."""
    try:
        yield
    except ConnectionError as error:
        raise IndexerError(
            f"the connection to {address} is lost ({error}); type the command again: it goes on "
            "where it was"
        ) from error


def _unreachable(config: Config) -> IndexerError:
    return IndexerError(
        f"the collection is in a folder of this machine ({config.store}), which workers on others "
        f"cannot write to; put it on a Qdrant server (--store URL), or use --workers {LOCAL}N"
    )


def _wants_gpu(config: Config, card: ModelCard) -> bool:
    return card.family not in CPU_ALONE and (config.device or "cuda").startswith("cuda")


def _keep_thumbnails(done: Done, thumbs: Path) -> None:
    for outcome in done.outcomes:
        if outcome.thumbnail and isinstance(outcome.item, Prepared):
            id = outcome.item.ids[0]
            if not thumbnail_path(thumbs, id).exists():
                put_thumbnail(thumbs, id, outcome.thumbnail)
