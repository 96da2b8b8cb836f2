"""Makes any model of this package a model of mteb (https://github.com/embeddings-benchmark/mteb).

import mteb
import embedder
from embedder.mteb import MtebEncoder

mteb.evaluate(MtebEncoder(embedder.load("siglip2")), mteb.get_task("CIRRIT2IRetrieval"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from embedder.encoding import EmbeddingModel, to_input
from embedder.errors import EmbedderError
from embedder.extras import require_extra
from embedder.types import Input, Role, Vectors

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.model_meta import ModelMeta
    from mteb.types import Array, BatchedInput, PromptType

CHUNK_SIZE = 256  # items embedded at once
MAX_CHUNK_PIXELS = 1 << 28  # 800 MB
WITHOUT_INSTRUCTIONS = frozenset({"e5v"})  # families that refuse all but their own

Progress = Callable[[str], None]


class MtebEncoder:
    """A model as mteb 2.26 takes it: texts, images, and both together.

    mteb's prompt types are the roles. Where a task asks nothing of an input but its class or its
    similarity to another one, mteb has no prompt type, and the input is a document.

    The instruction of a task, such as "Find a caption for the news in the given photo.", goes to
    models that follow instructions. Where the task has none, a model's own default is used.

    mteb does not load the model by its `mteb_model_meta`: for models of images it would ask for
    torchvision, which neither mteb's tasks nor the models here need.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        *,
        with_instructions: bool = True,
        progress: Progress = lambda _: None,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: What `embedder.load` returns.
            with_instructions: Pass the tasks' instructions to the model.
            progress: Called with a line of text after each chunk.

        Raises:
            MissingExtraError: mteb is not installed.
        """
        require_extra("mteb")
        self.model = model
        follows = model.card.family not in WITHOUT_INSTRUCTIONS
        self._with_instructions = with_instructions and follows
        self._progress = progress
        # what changes a vector, so that mteb's cache never mixes two models
        revision = model.card.fingerprint
        revision += "-without-instructions" if follows and not with_instructions else ""
        self.mteb_model_meta = self._describe(revision)

    def encode(
        self,
        inputs: Iterable[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Array:
        """Embed batches of the columns "text" and "image".

        Args:
            inputs: mteb's loader, whose batches may have any size.
            task_metadata: Of the task; its prompt is the instruction.
            hf_split: Unused.
            hf_subset: Unused.
            prompt_type: Whether these are queries or documents.
            kwargs: Unused: `batch_size`, `show_progress_bar`, `precision`.

        Returns:
            (n, dim) float32 unit rows. An item with neither a text nor an image, which some tasks
            have, is a row of zeros.

        Raises:
            EmbedderError: The model cannot take an item.
        """
        role: Role = "query" if prompt_type == "query" else "document"
        instruction = self._find_instruction(task_metadata, prompt_type)
        side = self.model.card.image_side
        size = max(1, min(CHUNK_SIZE, MAX_CHUNK_PIXELS // (2 * side**2)))
        items = _iterate_items(inputs, side)
        chunks: list[Vectors] = []
        while chunk := list(islice(items, size)):
            chunks.append(self._embed(chunk, role, instruction))
            done = f"{sum(map(len, chunks))} {'queries' if role == 'query' else 'documents'}"
            self._progress(f"{self.model.card.name}, {task_metadata.name}: {done}")
        return np.concatenate(chunks) if chunks else np.zeros((0, self.model.card.dim), np.float32)

    def similarity(self, embeddings1: Array, embeddings2: Array) -> Array:
        """Compute the cosines (n, m) of all rows of one with all rows of the other."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Array, embeddings2: Array) -> Array:
        """Compute the cosines (n,) of the rows of one with those of the other."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)

    def _embed(self, items: list[Input], role: Role, instruction: str | None) -> Vectors:
        rows = np.zeros((len(items), self.model.card.dim), np.float32)
        full = [index for index, item in enumerate(items) if item.has_text or item.images]
        if full:
            rows[full] = self.model.embed([items[index] for index in full], role, instruction)
        return rows

    def _find_instruction(self, task: TaskMetadata, prompt_type: PromptType | None) -> str | None:
        """The task's own prompt: one without a prompt type is for queries."""
        prompt: Any = task.prompt
        if not self._with_instructions or not prompt:
            return None
        if isinstance(prompt, Mapping):
            return prompt.get(str(prompt_type.value)) if prompt_type else None
        return None if prompt_type == "document" else str(prompt)

    def _describe(self, revision: str) -> ModelMeta:
        from mteb.models.model_meta import ModelMeta, ScoringFunction
        from mteb.types import Licenses

        card = self.model.card
        is_hub_id = card.name.count("/") == 1 and not card.name.startswith((".", "/"))
        license_name = card.license.lower()
        return ModelMeta.create_empty(
            {
                "name": card.name if is_hub_id else f"polylens/{Path(card.name).name}",
                "revision": revision,
                "embed_dim": card.dim,
                "n_parameters": card.parameters or None,
                "license": license_name if license_name in get_args(Licenses) else None,
                "similarity_fn_name": ScoringFunction.COSINE,
                "use_instructions": self._with_instructions,
                "modalities": list(card.modalities),
            }
        )


def _iterate_items(batches: Iterable[BatchedInput], side: int) -> Iterator[Input]:
    """The items of all batches; raises `EmbedderError` for other columns than texts and images."""
    for batch in batches:
        columns: dict[str, Any] = {**batch}
        texts, images = columns.get("text"), columns.get("image")
        if texts is None and images is None:
            names = ", ".join(columns)
            raise EmbedderError(f"models take texts and images; this task has {names}")
        count = len(texts if texts is not None else images or ())
        for text, image in zip(texts or [None] * count, images or [None] * count, strict=True):
            several = list(image) if isinstance(image, list | tuple) else [image]
            given = [one for one in several if one is not None]
            yield to_input({"text": text or None, "images": given}, side)
