"""Parts of tiny random models in folders laid out for sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen3VLConfig

from embedder import Settings
from embedder.families import sentence_transformer as family

WORDS = [
    "a red square on a blue beach at sunset, with two dogs",
    "the capital of france is paris; represent the user's input.",
    "retrieve images or text relevant to the user's query. https://example.org/picture.png",
    "system user assistant make it greener and find the same house",
]


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_modalities(folder: Path, *kinds: str, **more: object) -> None:
    """Write what sentence-transformers' `Transformer` reads of a model that takes such inputs."""
    state = {"method": "forward", "method_output_name": "last_hidden_state"}
    write(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "feature-extraction",
            "modality_config": {
                **dict.fromkeys(kinds, state),
                "message": {**state, "format": "structured"},
            },
            "module_output_name": "token_embeddings",
            **more,
        },
    )


def randomize(model: torch.nn.Module, seed: int = 0, std: float = 0.08) -> torch.nn.Module:
    """Weights so large that every token changes the vector, or the score."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name.lower():
                weight.normal_(std=std)
    return model.eval()


def make_qwen3_vl_config(ids: Mapping[str, int], *, tied: bool) -> Qwen3VLConfig:
    """Of a tiny Qwen3-VL whose tokenizer has the special tokens `ids`."""
    return Qwen3VLConfig(
        text_config={
            "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "head_dim": 16,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
            "pad_token_id": 0,
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 16, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "deepstack_visual_indexes": [0, 1],
            "num_position_embeddings": 64,
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=tied,
    )  # fmt: skip


def modules(folder: Path, *named: str) -> Path:
    kinds = [("", "Transformer"), *(tuple(name.split(":")) for name in named)]
    kinds = [(path, f"sentence_transformers.models.{kind}") for path, kind in kinds]
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(kinds)
    ]
    for path, _ in kinds[1:]:
        (folder / path).mkdir(exist_ok=True)
    write(folder / "modules.json", entries)
    return folder


def collated(backbone, ready):
    """A batch, as the engine makes it."""
    return backbone.collate(ready, [backbone.process(one) for one in ready])


def loaded(folder: Path, **settings):
    return family.load(str(folder), Settings(device="cpu", **settings))


def close(actual, expected) -> None:
    np.testing.assert_allclose(actual, expected, atol=1e-5)
