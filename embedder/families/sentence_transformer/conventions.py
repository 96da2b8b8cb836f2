"""What the authors of a model do with an input that its files do not say.

EmbeddingGemma 2 (https://huggingface.co/google/embeddinggemma-2, October 2026): its folder has the
prompts of queries and documents, and a chat template that writes the parts of an input one after
another. That the text comes before the images, that an image alone has no prompt, and how a task is
worded is what its authors submitted to mteb (`EmbeddingGemma2Wrapper`, the recipe of MIEB for
XM3600, WIT and NIGHTS). Its model card advises against float16, which gives NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embedder.errors import EmbedderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """How inputs of a model with a chat template are put together.

    Attributes:
        text_first: The text is before the images; otherwise behind them.
        prompts_images: Images without a text have the prompt of their role, too.
        query_template: The prompt of a query with an instruction, which replaces {}; "" for a
            system turn that is the instruction as a sentence.
        unused_parts: Parts of the configuration for what is never embedded here; without them
            their weights are not loaded.
        has_float16: It can be computed in float16.
    """

    text_first: bool = False
    prompts_images: bool = True
    query_template: str = ""
    unused_parts: tuple[str, ...] = ()
    has_float16: bool = True

    @property
    def config_overrides(self) -> dict[str, Any]:
        """What to set in the configuration before the weights are loaded."""
        return dict.fromkeys(self.unused_parts)

    def check_dtype(self, name: str, dtype: object) -> None:
        """Raise `EmbedderError` for a dtype that the model called `name` cannot be computed in."""
        if not self.has_float16 and str(dtype).endswith("float16") and "bfloat" not in str(dtype):
            raise EmbedderError(
                f"{name} gives no numbers in float16; use --dtype bfloat16 or float32"
            )


_DEFAULT = Conventions()
_BY_MODEL_TYPE = {
    "embedding_gemma2": Conventions(
        text_first=True,
        prompts_images=False,
        query_template="task: {} | query: ",
        unused_parts=("audio_config",),
        has_float16=False,
    ),
}


def find_conventions(model_type: object) -> Conventions:
    """Return the conventions for the `model_type` of a configuration."""
    return _BY_MODEL_TYPE.get(str(model_type), _DEFAULT)
