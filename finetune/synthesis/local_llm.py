"""A vision-language model of transformers, on this machine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from embedder.checkpoint import read_config, resolve_folder
from embedder.errors import EmbedderError
from embedder.families.sentence_transformer.processors import ImageOnlyAutoProcessor
from embedder.types import Settings
from embedder.vlm.loading import check_memory, select_device, silence_transformers, wrap_load_errors
from finetune.synthesis.llm import (
    LanguageModelError,
    LLMOptions,
    Reply,
    Request,
    RequestFailedError,
)


class LocalLLM:
    """One model, which answers one request at a time."""

    def __init__(self, options: LLMOptions) -> None:
        """Load the model; raises `LanguageModelError`."""
        self.name = options.llm
        self._options: dict[str, Any] = {"max_new_tokens": options.max_tokens, "do_sample": False}
        if options.temperature:
            self._options |= {"do_sample": True, "temperature": options.temperature}
        self._lock = threading.Lock()
        try:
            folder = resolve_folder(self.name)
            self._processor = _load_processor(folder)
            settings = Settings(device=options.device, dtype=options.dtype)
            self._model = _load_model(folder, settings)
            if getattr(self._processor, "patch_size", 0) is None:  # LLaVA's older processors
                config = self._model.config
                self._processor.patch_size = config.vision_config.patch_size
                self._processor.vision_feature_select_strategy = (
                    config.vision_feature_select_strategy
                )
                self._processor.num_additional_image_tokens = 1
        except EmbedderError as error:
            raise LanguageModelError(str(error)) from error

    def generate(self, request: Request) -> Reply:
        """Raises `RequestFailedError`, for example if memory runs out."""
        import torch

        with self._lock, torch.inference_mode():
            torch.manual_seed(request.seed)
            try:
                return self._generate(request)
            except torch.OutOfMemoryError:
                raise RequestFailedError(
                    f"{self.name} ran out of memory; try a smaller --picture-side"
                ) from None
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                raise RequestFailedError(
                    f"{self.name} failed on a request: {str(error)[:200]}"
                ) from error

    def close(self) -> None:
        """Free the memory, which the embedder may need."""
        import torch

        self._model = None
        torch.cuda.empty_cache()

    def _generate(self, request: Request) -> Reply:
        prompt = self._processor.apply_chat_template(
            _build_messages(request), tokenize=False, add_generation_prompt=True
        )
        inputs = self._processor(
            text=[prompt], images=[list(request.images)], return_tensors="pt"
        ).to(self._model.device, self._model.dtype)
        prompt_tokens = inputs["input_ids"].shape[1]
        generated = self._model.generate(**inputs, **self._options)[0, prompt_tokens:]  # (tokens,)
        text = self._processor.tokenizer.decode(generated, skip_special_tokens=True)
        return Reply(
            text,
            prompt_tokens,
            len(generated),
            truncated=len(generated) >= self._options["max_new_tokens"],
        )


def _build_messages(request: Request) -> list[dict[str, Any]]:
    """Build a conversation as chat templates take it."""
    content: list[dict[str, Any]] = []
    for number, _ in enumerate(request.images, 1):
        content += [{"type": "text", "text": f"Picture {number}:"}, {"type": "image"}]
    content.append({"type": "text", "text": request.text})
    system = [{"type": "text", "text": request.system}]
    return [{"role": "system", "content": system}, {"role": "user", "content": content}]


def _load_processor(folder: Path) -> Any:
    """Load the processor without its video part, which needs torchvision."""
    with silence_transformers(), wrap_load_errors(folder):
        processor = ImageOnlyAutoProcessor.from_pretrained(str(folder))
    if not hasattr(processor, "image_processor"):
        raise LanguageModelError(f"{folder} does not take images; choose a vision-language model")
    if not getattr(processor, "chat_template", None):
        raise LanguageModelError(
            f"{folder} has no chat template, so it does not follow instructions; choose a "
            "vision-language model with Instruct or Chat in its name"
        )
    return processor


def _load_model(folder: Path, settings: Settings) -> Any:
    from transformers import AutoModelForImageTextToText

    device, dtype = select_device(settings)
    check_memory(folder, device, dtype)
    load: Any = AutoModelForImageTextToText.from_pretrained
    with silence_transformers(), wrap_load_errors(folder):
        model = load(folder, dtype=dtype, attn_implementation="sdpa", device_map={"": device})
    if read_config(folder).get("model_type") == "mllama":  # see embedder/vlm/mllama.py
        vision = model.model.vision_model
        vision.intermediate_layers_indices = [i - 1 for i in vision.intermediate_layers_indices]
    return model.eval()
