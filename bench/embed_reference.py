"""The authors' recipes on the very model object that ours stands on.

As their READMEs have it: a processor takes prompts and pictures as they come, eight at a time; they
are padded; the whole model runs, with its language head and every layer's states kept; the last
token's state is taken. Where today's transformers departs from what a model was trained with, the
same repairs are made as in ours, so that only the ways of computing differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from PIL.Image import Image
from torch.nn.functional import normalize

from bench.embed_models import Built
from embedder.families import mme5, vlm2vec
from embedder.families.sentence_transformer.processors import ImageOnlyAutoProcessor
from embedder.types import Input, Role, Vectors

BATCH = 8
SQUARE = vlm2vec.LLAVA.square


class ReferenceRecipe(Protocol):
    """(n, dim) states for a batch of one kind of input."""

    def __call__(self, items: Sequence[Input], role: Role) -> torch.Tensor: ...


class Reference:
    """Batches in the order of the corpus."""

    def __init__(self, built: Built) -> None:
        self._recipe: ReferenceRecipe = RECIPES[built.family](built)

    def embed(self, items: Sequence[Input], role: Role) -> Vectors:
        starts = range(0, len(items), BATCH)
        with torch.no_grad():
            states = [self._recipe(items[start : start + BATCH], role) for start in starts]
            return normalize(torch.cat(states).float(), dim=-1).cpu().numpy()


class ProcessorRecipe:
    """A language model with eyes: processor, forward, last token."""

    def __init__(self, built: Built, processor: Any) -> None:
        self.model, self.processor = built.model, processor
        backbone: Any = built.engine.backbone
        self._render = backbone.render_prompt  # the family's prompts, as strings

    def __call__(self, items: Sequence[Input], role: Role) -> torch.Tensor:
        strings = ["".join(map(_piece_text, self._render(item, role, None))) for item in items]
        pictures = [self.resize_image(image) for item in items for image in item.images]
        inputs = self.process(strings, pictures).to(self.model.device, self.model.dtype)
        out = self.model(**inputs, output_hidden_states=True, return_dict=True)
        return _last_token_state(out.hidden_states[-1], inputs["attention_mask"])

    def resize_image(self, image: Image) -> Image:
        return image

    def process(self, strings: list[str], pictures: list[Image]) -> Any:
        images = pictures or None
        return self.processor(text=strings, images=images, padding=True, return_tensors="pt")


class Llava(ProcessorRecipe):
    """E5-V and VLM2Vec on LLaVA-NeXT."""

    def __init__(self, built: Built) -> None:
        from transformers import AutoTokenizer, LlavaNextProcessor

        architecture: Any = built.engine.backbone.architecture
        processor = LlavaNextProcessor(
            architecture._processor,  # for E5-V with the margins of transformers 4.41
            AutoTokenizer.from_pretrained(built.folder, padding_side="left"),
            patch_size=14,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        )
        # For E5-V, tiles as in 4.41. One more, for the class token, which is taken off again.
        processor._get_number_of_features = lambda h, w, *_: (
            architecture.count_image_tokens((w, h)) + 1
        )
        self._square = built.family != "e5v"
        super().__init__(built, processor)

    def resize_image(self, image: Image) -> Image:
        return image.resize((SQUARE, SQUARE)) if self._square else image

    def process(self, strings: list[str], pictures: list[Image]) -> Any:
        inputs = super().process(strings, pictures)
        if pictures:  # on the host, where ours reads them
            inputs["image_sizes"] = inputs["image_sizes"].tolist()
        return inputs


class Qwen(ProcessorRecipe):
    """VLM2Vec V2 on Qwen2-VL and Qwen2.5-VL, with the one-dimensional positions it was made with;
    its processor without the part for video."""

    def __init__(self, built: Built) -> None:
        super().__init__(
            built, ImageOnlyAutoProcessor.from_pretrained(str(built.folder), padding_side="left")
        )

    def process(self, strings: list[str], pictures: list[Image]) -> Any:
        inputs = super().process(strings, pictures)
        inputs.pop("mm_token_type_ids", None)
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        inputs["position_ids"] = positions.expand(3, *positions.shape)
        return inputs


class Mllama(ProcessorRecipe):
    """mmE5, padded on the right, cut at 256 tokens."""

    def __init__(self, built: Built) -> None:
        from transformers import AutoTokenizer, MllamaImageProcessorPil, MllamaProcessor

        images = MllamaImageProcessorPil.from_pretrained(built.folder)
        tokenizer = AutoTokenizer.from_pretrained(built.folder, padding_side="right")
        super().__init__(built, MllamaProcessor(images, tokenizer))

    def process(self, strings: list[str], pictures: list[Image]) -> Any:
        return self.processor(
            text=strings,
            images=[[picture] for picture in pictures] or None,
            padding=True,
            truncation=True,
            max_length=mme5.MAX_PROMPT_TOKENS,
            return_tensors="pt",
        )


class Qwen3:
    """Qwen3-VL-Embedding: a chat's turns, padded on the right; its authors run no language head.

    https://github.com/QwenLM/Qwen3-VL-Embedding, `src/models/qwen3_vl_embedding.py`.
    """

    def __init__(self, built: Built) -> None:
        self.model = built.model
        self.processor = ImageOnlyAutoProcessor.from_pretrained(
            str(built.folder), padding_side="right"
        )
        self._prompt: Callable[[Role, None], str] = built.engine.backbone.select_prompt

    def __call__(self, items: Sequence[Input], role: Role) -> torch.Tensor:
        strings = [self._chat(item, self._prompt(role, None)) for item in items]
        pictures = [image for item in items for image in item.images] or None
        inputs = self.processor(text=strings, images=pictures, padding=True, return_tensors="pt")
        inputs = inputs.to(self.model.device, self.model.dtype)
        return _last_token_state(self.model(**inputs).last_hidden_state, inputs["attention_mask"])

    def _chat(self, item: Input, instruction: str) -> str:
        seen = "<|vision_start|><|image_pad|><|vision_end|>" * len(item.images)
        return (
            f"<|im_start|>system\n{instruction}<|im_end|>\n"
            f"<|im_start|>user\n{seen}{item.text or ''}<|im_end|>\n<|im_start|>assistant\n"
        )


class Siglip:
    """SigLIP 2: small letters, 64 tokens; a text and a picture together by adding unit vectors."""

    def __init__(self, built: Built) -> None:
        self.model = built.model
        self._processor: Any = built.engine.backbone.sentence_transformer[0].processor

    def __call__(self, items: Sequence[Input], role: Role) -> torch.Tensor:
        texts = [item.text.lower() for item in items if item.text]
        images = [image for item in items for image in item.images]
        parts = [self._texts(texts)] if texts else []
        parts += [self._images(images)] if images else []
        return torch.stack([normalize(part, dim=-1) for part in parts]).sum(0)

    def _texts(self, texts: list[str]) -> torch.Tensor:
        length = {"padding": "max_length", "max_length": 64, "truncation": True}
        tokens = self._processor.tokenizer(
            texts, padding_side="right", return_tensors="pt", **length
        )
        ids = tokens["input_ids"].to(self.model.device)
        return self.model.get_text_features(input_ids=ids).pooler_output

    def _images(self, images: list[Image]) -> torch.Tensor:
        pixels = self._processor.image_processor(images=images, return_tensors="pt")
        pixels = pixels.to(self.model.device, self.model.dtype)
        return self.model.get_image_features(**pixels).pooler_output


RECIPES: dict[str, Callable[[Built], ReferenceRecipe]] = {
    "e5v": Llava,
    "vlm2vec-qwen2vl": Qwen,
    "vlm2vec-qwen25vl": Qwen,
    "vlm2vec-llava": Llava,
    "mme5": Mllama,
    "qwen3-vl-embedding": Qwen3,
    "siglip2": Siglip,
}


def _piece_text(piece: Any) -> str:
    return piece if isinstance(piece, str) else piece.text


def _last_token_state(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(n, length, dim), (n, length) -> (n, dim): the state of the last token that is no padding."""
    if mask[:, -1].all():
        return states[:, -1]
    return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
