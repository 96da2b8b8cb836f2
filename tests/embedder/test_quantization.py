"""Weights in eight and four bits: the layers alone, in each family, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from torch import nn

import embedder
from embedder.errors import EmbedderError
from embedder.types import Input, Settings
from embedder.vlm.quantization import Int8Linear, Nf4Linear, QuantizedLinear

# bitsandbytes 0.50.2: quantize_4bit(weight, blocksize=64, quant_type="nf4") of `WAVES`
BITSANDBYTES = bytes.fromhex(
    "7f40ce11ec05f60bf21ed04f80af31ee13f908f40de12fb06f50ce11ec05f70a"
    "f21ed03f909f30de12fa07f40ce11ec05f60bf21ed04f809f31ee13f908f40de"
)
WAVES = torch.sin(torch.arange(128.0) * 1.7).reshape(2, 64) * torch.tensor([[0.05], [3.0]])
LAYERS = {"int8": Int8Linear, "nf4": Nf4Linear}
ERRORS = {"int8": 0.0075, "nf4": 0.093}  # of normal weights, relative
COSINES = {"int8": 0.999, "nf4": 0.9}  # the least of tiny models with random weights
INPUTS = [
    Input("a cat in the snow"),
    Input("dogs"),
    Input(images=(tiny.picture("square"),)),
    Input(images=(tiny.picture("tall"),)),
]
FAMILIES = ["e5v", "mme5", "vlm2vec-llava", "vlm2vec-qwen2vl", "vlm2vec-qwen25vl"]


def make_linear(weight: torch.Tensor, *, bias: bool = False) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias).requires_grad_(False)
    linear.weight.copy_(weight)
    return linear


def test_nf4_numbers_are_those_of_bitsandbytes():
    layer = Nf4Linear(make_linear(WAVES))
    assert bytes(layer.numbers.flatten().tolist()) == BITSANDBYTES
    assert layer.scale.flatten().tolist() == pytest.approx([0.05, 3.0], rel=1e-3)


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_compute_with_weights_near_the_full_ones(kind):
    torch.manual_seed(0)
    linear = make_linear(torch.randn(48, 128) * 0.02, bias=True)
    layer, states = LAYERS[kind](linear), torch.randn(5, 3, 128)
    error = (layer.weight - linear.weight).norm() / linear.weight.norm()
    assert 0.8 * ERRORS[kind] < error < ERRORS[kind]
    expected = nn.functional.linear(states, layer.weight, linear.bias)
    torch.testing.assert_close(layer(states), expected)
    half = layer(states.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.02, rtol=0.05)
    numbers = layer.numbers.numel() * layer.numbers.itemsize
    assert numbers * {"int8": 1, "nf4": 2}[kind] == linear.weight.numel()


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_pass_to_the_states(kind):
    torch.manual_seed(0)
    layer = LAYERS[kind](make_linear(torch.randn(8, 64)))
    states = torch.randn(4, 64, requires_grad=True)
    layer(states).square().sum().backward()
    expected = torch.autograd.grad((states @ layer.weight.T).square().sum(), states)[0]
    torch.testing.assert_close(states.grad, expected)
    assert not list(layer.parameters())


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_of_every_family_are_near_the_full_ones(checkpoint, model, family, kind):
    form = {"vlm2vec-llava": "V1"}.get(family)
    full = model(family, form)
    small = embedder.load(str(checkpoint(family, form)), device="cpu", quantize=kind)
    layers = [layer for layer in small.backbone.model.modules() if type(layer) is LAYERS[kind]]
    dense = [layer for layer in full.backbone.model.modules() if type(layer) is nn.Linear]
    assert len(layers) == len(dense) > 10
    assert not any(type(layer) is nn.Linear for layer in small.backbone.model.modules())
    vectors, expected = (one.embed(INPUTS, "document") for one in (small, full))
    cosines = (vectors * expected).sum(1)
    assert cosines.min() > COSINES[kind] and cosines.max() < 0.999999
    alone = np.concatenate([small.embed([item], "document") for item in INPUTS])
    np.testing.assert_allclose(alone, vectors, atol=2e-5)
    assert (small.card.quantize, full.card.quantize) == (kind, None)


def test_the_fingerprint_says_how_weights_are_held(checkpoint):
    folder = str(checkpoint("e5v"))
    kinds = (None, "int8", "nf4")
    cards = [embedder.describe_model(folder, Settings(quantize=kind)) for kind in kinds]
    assert len({card.fingerprint for card in cards}) == 3
    assert cards[0] == embedder.describe_model(folder)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_is_not_quantized_has_the_dtype_that_was_asked_for(checkpoint, dtype):
    settings = Settings(device="cpu", dtype=dtype, quantize="nf4")
    small = embedder.load(str(checkpoint("e5v")), settings)
    body = small.backbone.model
    assert {str(one.dtype) for one in body.parameters()} == {f"torch.{dtype}"}
    rotary = [b for name, b in body.named_buffers() if name.endswith("inv_freq")]
    assert {buffer.dtype for buffer in rotary} == {torch.float32}
    layer = next(one for one in body.modules() if isinstance(one, QuantizedLinear))
    assert str(layer.weight.dtype) == f"torch.{dtype}"
    assert np.isfinite(small.embed(INPUTS, "query")).all()


def test_unknown_kinds_and_devices_are_refused(checkpoint):
    with pytest.raises(EmbedderError, match="quantized to 'int4'; use int8 or nf4"):
        embedder.load(str(checkpoint("e5v")), quantize="int4")
    with pytest.raises(EmbedderError, match="the starter is small as it is"):
        embedder.load("starter", quantize="int8")
    with pytest.raises(EmbedderError, match="99 does not exist; this machine has"):
        embedder.load(str(checkpoint("e5v")), quantize="int8", device="cuda:99")
