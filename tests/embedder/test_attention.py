"""Which kernel computes attention. FlashAttention itself needs a GPU; here is when it is chosen."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel, AutoModelForImageTextToText

import embedder
from embedder.types import Settings
from embedder.vlm.attention import choose_attention, select_attention

ALL = {"supports_flash": True, "is_installed": True, "capability": (8, 0), "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("change", "chosen"),
    [
        ({}, "flash_attention_2"),
        ({"dtype": "float16", "capability": (9, 0)}, "flash_attention_2"),
        ({"dtype": "float32"}, "sdpa"),
        ({"capability": (7, 5)}, "sdpa"),
        ({"capability": None}, "sdpa"),
        ({"is_installed": False}, "sdpa"),
        ({"supports_flash": False}, "sdpa"),
    ],
)
def test_flash_attention_is_taken_where_it_can_run(change, chosen):
    assert select_attention(**{**ALL, **change}) == chosen


@pytest.mark.parametrize("model_type", ["llava_next", "mllama", "qwen2_vl", "of remote code"])
def test_a_cpu_has_sdpa(model_type):
    cpu = torch.device("cpu")
    for auto in (AutoModel, AutoModelForImageTextToText):
        assert choose_attention(auto, model_type, cpu, torch.bfloat16) == "sdpa"


def test_a_loaded_model_says_how_it_computes(checkpoint, model):
    folder = str(checkpoint("vlm2vec-qwen2vl", "V2"))
    assert model("e5v").describe_computation() == "cpu, float32, sdpa"
    half = embedder.load(folder, Settings(device="cpu", dtype="bfloat16", quantize="int8"))
    assert half.describe_computation() == "cpu, bfloat16, sdpa, int8"
    assert embedder.load("starter").describe_computation() == ""
