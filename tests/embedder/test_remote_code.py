"""VLM2Vec on Phi-3.5-V: code that comes with a model's weights, run only with permission.

The code here is a small stand-in of the same interface; Microsoft's own needs torchvision.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

import embedder
from embedder.errors import EmbedderError
from embedder.types import Input, Settings

MODEL = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class Config(PretrainedConfig):
    model_type = "phi3_v"

    def __init__(self, hidden_size=16, **rest):
        self.hidden_size = hidden_size
        super().__init__(**rest)


class Model(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.words = torch.nn.Embedding(600, config.hidden_size)
        self.eye = torch.nn.Linear(3, config.hidden_size)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, pixel_values=None, image_sizes=None,
                output_hidden_states=False, use_cache=False):
        states = self.words(input_ids) * attention_mask[..., None]
        if pixel_values is not None:
            states = states + self.eye(pixel_values.mean(dim=(2, 3)))[:, None]
        return CausalLMOutput(hidden_states=(states.cumsum(1),))
"""
PROCESSOR = """
import numpy as np
import torch
from transformers import AutoTokenizer


class Processor:
    def __init__(self, tokenizer, num_crops):
        self.tokenizer, self.num_crops = tokenizer, num_crops

    @classmethod
    def from_pretrained(cls, folder, num_crops=16, **rest):
        return cls(AutoTokenizer.from_pretrained(folder), num_crops)

    @classmethod
    def register_for_auto_class(cls, *rest):
        pass

    def __call__(self, text, images=None, return_tensors=None):
        out = {"input_ids": torch.tensor([self.tokenizer(text)["input_ids"]])}
        if images:
            pixels = np.asarray(images[0].resize((8, 8)), np.float32).transpose(2, 0, 1) / 255
            out["pixel_values"] = torch.tensor(pixels)[None]
            out["image_sizes"] = torch.tensor([[8, 8]])
        return out
"""
AUTO = {"AutoConfig": "modeling_tiny.Config", "AutoModelForCausalLM": "modeling_tiny.Model"}
ITEMS = [
    Input(text="a cat"),
    Input(text="two dogs, far away"),
    Input(images=(tiny.picture("wide"),)),
]


@pytest.fixture
def folder(checkpoint, tmp_path) -> Path:
    from safetensors.torch import save_file

    base = checkpoint("vlm2vec-qwen2vl", "V1")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, tmp_path)
    (tmp_path / "modeling_tiny.py").write_text(MODEL)
    (tmp_path / "processing_tiny.py").write_text(PROCESSOR)
    config = {"model_type": "phi3_v", "architectures": ["Model"], "hidden_size": 16}
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": AUTO}))
    auto = {"auto_map": {"AutoProcessor": "processing_tiny.Processor"}}
    (tmp_path / "processor_config.json").write_text(json.dumps(auto))
    torch.manual_seed(0)
    shapes = {"words.weight": (600, 16), "eye.weight": (16, 3), "eye.bias": (16,)}
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    return tmp_path


def test_remote_code_needs_permission(folder):
    (folder / "modeling_tiny.py").write_text("raise SystemExit('foreign code ran')")
    with pytest.raises(EmbedderError, match="--trust-remote-code"):
        embedder.load(str(folder), Settings(device="cpu"))


def test_remote_code_runs_with_permission(folder):
    model = embedder.load(str(folder), Settings(device="cpu", trust_remote_code=True))
    together = model.embed(ITEMS, "document")
    alone = np.concatenate([model.embed([item], "document") for item in ITEMS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert model.backbone._processor.num_crops == 4
    assert model.card.family == "vlm2vec"


def test_text_cannot_spell_the_image_token(folder):
    model = embedder.load(str(folder), Settings(device="cpu", trust_remote_code=True))
    ready = model.backbone.prepare(Input("<|image_1|> <|im_end|>"), "query", None)
    assert "<|image_1|>" not in ready[0]
    assert "<|im_end|>" not in ready[0]


def test_failing_remote_code_is_one_clear_error(folder):
    (folder / "modeling_tiny.py").write_text("import torchvision_of_old\n" + MODEL)
    with pytest.raises(EmbedderError, match="serve the model with vLLM") as error:
        embedder.load(str(folder), Settings(device="cpu", trust_remote_code=True))
    assert "torchvision_of_old" in str(error.value)
