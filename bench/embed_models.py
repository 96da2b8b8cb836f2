"""Models with random weights, built where they run, as their families load them.

A folder gets what lies beside a checkpoint's weights: the tests' small tokenizers and the real
preprocessors. Each family then loads that folder itself, and where it would read weights it is
given the model that is here already.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import embedder
from bench import embed_configs
from bench.embed_configs import PINPOINTS, SMALL_PIXELS, Json, make_module_files
from bench.embed_corpus import SCRIPTS
from bench.embed_gemma import TOKENS, make_vocabulary, write_gemma_files
from embedder.engine import Engine
from embedder.types import Settings
from embedder.vlm.loading import select_device

PARITY = Path(__file__).parent.parent / "tests" / "embedder" / "parity"


@dataclass(frozen=True, slots=True)
class Plan:
    """`config` by size, whose tokenizer it borrows, and the tokens that its configuration names."""

    config: Callable[[str], Json]
    tokenizer: str
    tokens: dict[str, str]
    larger: bool = False  # whether there is a larger one


LLAVA = {"image_token_id": "<image>"}
QWEN = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
QWEN |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
PLANS = {
    "e5v": Plan(embed_configs.e5v, "e5v", LLAVA),
    "vlm2vec-qwen2vl": Plan(embed_configs.qwen2, "vlm2vec-qwen2vl", QWEN, larger=True),
    "vlm2vec-qwen25vl": Plan(embed_configs.qwen25, "vlm2vec-qwen25vl", QWEN, larger=True),
    "vlm2vec-llava": Plan(embed_configs.llava, "vlm2vec-llava", LLAVA),
    "mme5": Plan(embed_configs.mllama, "mme5", {"image_token_id": "<|image|>"}),
    "qwen3-vl-embedding": Plan(embed_configs.qwen3, "vlm2vec-qwen2vl", QWEN, larger=True),
    "siglip2": Plan(embed_configs.siglip2, "", {}),
    "embeddinggemma2": Plan(embed_configs.gemma2, "", {}),
}
SMALL_QWEN3_PIXELS = SMALL_PIXELS * 32**2 // 28**2
BY_SENTENCE_TRANSFORMERS = ("qwen3-vl-embedding", "siglip2", "embeddinggemma2")
HEADLESS = ("qwen3_vl", "siglip", "embedding_gemma2")  # whose authors run no language head


@dataclass(frozen=True, slots=True)
class Built:
    """Ours, and the model that it stands on, which has its language head where it has one."""

    family: str
    engine: Engine
    model: Any
    folder: Path


def build(family: str, size: str, settings: Settings, folder: Path) -> Built:
    """The model of a family with random weights, its small files in `folder`."""
    plan = PLANS[family]
    config = make_config(plan, size)
    _write(plan, size, config, folder)
    device, dtype = select_device(settings)
    model = make_random_model(config, device, dtype)
    if config.model_type == "qwen3_vl" and size == "small":  # whose limit is not its files'
        settings = replace(settings, pixel_budget=SMALL_QWEN3_PIXELS)
    with _patch_weights(family, model):
        engine = embedder.load(str(folder), settings)
    return Built(family, engine, model, folder)


def make_random_model(config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A model whose weights are drawn on `device`, each matrix keeping the size of what goes
    through it, so that every token counts in every embedding. Mllama's gates stand half open."""
    from transformers import AutoModel, AutoModelForImageTextToText

    torch.manual_seed(0)
    headed = config.model_type not in HEADLESS
    kind = AutoModelForImageTextToText if headed else AutoModel
    with torch.device(device):
        model = kind.from_config(config, dtype=dtype, attn_implementation="sdpa")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.numel() == 1:
                weight.fill_(0.5)
            elif weight.dim() > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
    return model.eval().requires_grad_(False)


def _patch_weights(family: str, model: Any) -> AbstractContextManager[Any]:
    """While this holds, a family that would read weights is given `model`."""
    if family not in BY_SENTENCE_TRANSFORMERS:
        return patch("embedder.vlm.loading.load_model", lambda *_: model.model)
    from sentence_transformers.base.modules import Transformer

    return patch.object(Transformer, "_load_model", lambda *_, **__: model)


def make_config(plan: Plan, size: str) -> Any:
    """transformers' configuration, with the ids that the borrowed tokenizer has."""
    from transformers import AutoConfig

    ids = _special_tokens(plan.tokenizer)
    values = plan.config(size)
    named = {name: ids[token] for name, token in plan.tokens.items()}
    if values["model_type"] == "embedding_gemma2":
        named = _gemma_ids()
    if values["model_type"] in ("llava_next", "mllama"):  # which call it so when they are made
        named = {"image_token_index": named["image_token_id"]}
    return AutoConfig.for_model(**values, **named)


def _gemma_ids() -> dict[str, int]:
    ids, _ = make_vocabulary()
    parts = ("image", "video", "audio", "boi", "eoi", "boa")
    named = {f"{part}_token_id": ids[TOKENS[f"{part}_token"]] for part in parts}
    return {**named, "eoa_token_index": ids[TOKENS["eoa_token"]]}


def _special_tokens(tokenizer: str) -> dict[str, int]:
    if not tokenizer:
        return {}
    values = json.loads((PARITY / f"{tokenizer}.tokenizer.json").read_text("utf-8"))
    return {token["content"]: token["id"] for token in values["added_tokens"]}


def _write(plan: Plan, size: str, config: Any, folder: Path) -> None:
    """What lies beside the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    if plan.config is embed_configs.siglip2:
        files = _siglip_files(folder)
    elif plan.config is embed_configs.gemma2:
        files = write_gemma_files(folder, config.text_config.embedding_dim)
    else:
        files = json.loads((PARITY / f"{plan.tokenizer}.json").read_text("utf-8"))["files"]
        content = (PARITY / f"{plan.tokenizer}.tokenizer.json").read_bytes()
        (folder / "tokenizer.json").write_bytes(content)
        files["preprocessor_config.json"] |= _preprocessor_settings(config, size)
    if config.model_type == "qwen3_vl":
        files |= _sentence_transformers_files(config.text_config.hidden_size)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    config.save_pretrained(folder)


def _preprocessor_settings(config: Any, size: str) -> Json:
    """The preprocessor's settings that go with a model's size."""
    kind, side = config.model_type, getattr(config.vision_config, "image_size", 0)
    square = {"height": side, "width": side}
    if kind == "llava_next":
        whole = {"size": {"shortest_edge": side}, "crop_size": square}
        return whole | {"image_grid_pinpoints": PINPOINTS}
    if kind == "mllama":
        return {"size": square}
    small = size == "small"
    if kind == "qwen3_vl":
        most = SMALL_QWEN3_PIXELS if small else 1800 * 32 * 32
        own = {"patch_size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        own |= {"size": {"shortest_edge": 4096, "longest_edge": most}}
        own |= {"processor_class": "Qwen3VLProcessor", "min_pixels": None, "max_pixels": None}
        return own
    return {"min_pixels": 4 * 28 * 28, "max_pixels": SMALL_PIXELS if small else 1280 * 28 * 28}


TEMPLATE = (  # Qwen3-VL-Embedding's, in what it does for one user's turn
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{- '<|im_start|>system\\nRepresent the user\\'s input.<|im_end|>\\n' -}}{%- endif -%}"
    "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}"
    "{%- for content in message['content'] -%}{%- if content['type'] == 'image' -%}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}{%- else -%}"
    "{{- content['text'] -}}{%- endif -%}{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def _sentence_transformers_files(dim: int) -> Json:
    """What sentence-transformers reads in Qwen3-VL-Embedding's folder."""
    saved = {
        "prompts": {"default": "Represent the user's input."},
        "default_prompt_name": "default",
    }
    files = make_module_files(dim, "lasttoken", ("text", "image", "video"), saved)
    files["sentence_bert_config.json"] |= {
        "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
        "unpad_inputs": False,
    }
    return {"chat_template.jinja": TEMPLATE, **files}


def _siglip_files(folder: Path) -> Json:
    """A Gemma tokenizer of letters; how many matters little, as every text costs 64 tokens."""
    from transformers import GemmaTokenizer

    letters = sorted({letter for words, _, _ in SCRIPTS for letter in words} - {" "})
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *letters]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    GemmaTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    values = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    values |= {"tokenizer_class": "GemmaTokenizer", "processor_class": "SiglipProcessor"}
    pictures = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 2}
    pictures |= {"size": {"height": 256, "width": 256}, "rescale_factor": 1 / 255}
    pictures |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    pictures |= {"image_processor_type": "SiglipImageProcessor"}
    return {
        "tokenizer_config.json": values,
        "preprocessor_config.json": pictures | {"processor_class": "SiglipProcessor"},
    }
