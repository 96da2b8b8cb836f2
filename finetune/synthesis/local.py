"""A vision-language model of transformers, on this machine: nothing leaves it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from embedder.checkpoint import read_config, resolve
from embedder.errors import EmbedderError
from embedder.families.st_processors import Stills
from embedder.types import Settings
from embedder.vlm.loading import check_room, place, quiet, readable
from finetune.synthesis.writers import LostError, Reply, Request, WriterError


class LocalModel:
    """One model, one request at a time."""

    def __init__(
        self, name: str, settings: Settings, *, max_tokens: int = 3000, temperature: float = 1.0
    ) -> None:
        """`name`: a checkpoint's folder or its Hugging Face id. Raises `WriterError`."""
        self.name = name
        self._options = _sampling(max_tokens, temperature)
        self._lock = threading.Lock()
        try:
            folder = resolve(name)
            self._processor = _processor(folder)
            self._model = _model(folder, settings)
            _complete(self._processor, self._model.config)
        except EmbedderError as error:
            raise WriterError(str(error)) from error

    def write(self, request: Request) -> Reply:
        """Raises `LostError` where the model fails on this one, for want of memory for instance."""
        import torch

        with self._lock, torch.inference_mode():
            torch.manual_seed(request.seed)
            try:
                return self._written(request)
            except torch.OutOfMemoryError:
                raise LostError(
                    f"{self.name} ran out of memory; try a smaller --picture-side"
                ) from None
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                raise LostError(f"{self.name} failed on a request: {str(error)[:200]}") from error

    def close(self) -> None:
        """Give its memory back: the embedder may need it."""
        import torch

        self._model = None
        torch.cuda.empty_cache()

    def _written(self, request: Request) -> Reply:
        prompt = self._processor.apply_chat_template(
            _messages(request), tokenize=False, add_generation_prompt=True
        )
        inputs = self._processor(
            text=[prompt], images=[list(request.pictures)], return_tensors="pt"
        ).to(self._model.device, self._model.dtype)
        length = inputs["input_ids"].shape[1]
        new = self._model.generate(**inputs, **self._options)[0, length:]  # (tokens written,)
        text = self._processor.tokenizer.decode(new, skip_special_tokens=True)
        return Reply(text, length, len(new), cut=len(new) >= self._options["max_new_tokens"])


def _messages(request: Request) -> list[dict[str, Any]]:
    """A conversation in the form that chat templates take."""
    content: list[dict[str, Any]] = []
    for place_, _ in enumerate(request.pictures, 1):
        content += [{"type": "text", "text": f"Picture {place_}:"}, {"type": "image"}]
    content.append({"type": "text", "text": request.text})
    system = [{"type": "text", "text": request.system}]
    return [{"role": "system", "content": system}, {"role": "user", "content": content}]


def _sampling(max_tokens: int, temperature: float) -> dict[str, Any]:
    drawn = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    return {"max_new_tokens": max_tokens, **drawn}


def _processor(folder: Path) -> Any:
    """The checkpoint's processor, less its part for video, which needs torchvision."""
    with quiet(), readable(folder):
        processor = Stills.from_pretrained(str(folder))
    if not hasattr(processor, "image_processor"):
        raise WriterError(f"{folder} does not see pictures; name a vision-language model")
    if not getattr(processor, "chat_template", None):
        raise WriterError(
            f"{folder} has no chat template, so it was not taught to follow instructions; name a "
            "vision-language model whose name has Instruct or Chat in it"
        )
    return processor


def _complete(processor: Any, config: Any) -> None:
    """LLaVA's older processors do not say how many tokens a picture has; its model knows."""
    if getattr(processor, "patch_size", 0) is None:
        processor.patch_size = config.vision_config.patch_size
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
        processor.num_additional_image_tokens = 1


def _model(folder: Path, settings: Settings) -> Any:
    from transformers import AutoModelForImageTextToText

    device, dtype = place(settings)
    check_room(folder, device, dtype)
    load: Any = AutoModelForImageTextToText.from_pretrained
    with quiet(), readable(folder):
        model = load(folder, dtype=dtype, attn_implementation="sdpa", device_map={"": device})
    if read_config(folder).get("model_type") == "mllama":  # see embedder/vlm/mllama.py
        vision = model.model.vision_model
        vision.intermediate_layers_indices = [i - 1 for i in vision.intermediate_layers_indices]
    return model.eval()
