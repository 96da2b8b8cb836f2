"""Weights in eight or four bits: a loaded model's linear layers hold int8 or nf4 numbers.

Only weights are quantized, never the states between the layers: the vector of an input does not
depend on the others in its batch. A layer's weight is computed from its numbers whenever it is
used; as a batch has thousands of tokens, that costs little beside the multiplication. Everything is
plain torch, on any device. (bitsandbytes has faster kernels for single tokens; its import slows
every program that imports peft, and may fetch kernels from the network.)

nf4 is QLoRA's type (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314, section 3): 16 values
that a normal distribution takes equally often, times the largest weight of a block of 64. Those are
kept as float16, which is closer to them than QLoRA's double quantization, for 0.12 bits a weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

NF4_VALUES = (  # of appendix E
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
NF4_BLOCK = 64  # weights that share a scale


class QuantizedLinear(nn.Linear):
    """A frozen linear layer; LoRA may adapt it, and gradients with respect to its input pass."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.dtype = linear.weight.dtype  # of `weight`
        self.bias = linear.bias
        self.quantize(linear.weight.detach().float())

    def quantize(self, weight: torch.Tensor) -> None:
        """Keep a weight (out, in) of float32 as buffers."""
        raise NotImplementedError

    def dequantize(self, dtype: torch.dtype) -> torch.Tensor:
        """Compute the weight (out, in)."""
        raise NotImplementedError

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        return self.dequantize(self.dtype)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Compute (..., out) from (..., in)."""
        out: torch.Tensor = _Multiply.apply(states, self)  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias.to(out.dtype)


class Int8Linear(QuantizedLinear):
    """A weight of int8 with a float32 scale for each output, as torchao's weight-only int8."""

    numbers: torch.Tensor
    scale: torch.Tensor

    def quantize(self, weight: torch.Tensor) -> None:
        scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
        self.register_buffer("numbers", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)  # (out, 1)

    def dequantize(self, dtype: torch.dtype) -> torch.Tensor:
        return self.numbers.to(dtype) * self.scale.to(dtype)


class Nf4Linear(QuantizedLinear):
    """A weight of nf4, two numbers in a byte, with a float16 scale for each block."""

    numbers: torch.Tensor
    scale: torch.Tensor

    def quantize(self, weight: torch.Tensor) -> None:
        values = torch.tensor(NF4_VALUES, device=weight.device)
        blocks = weight.reshape(-1, NF4_BLOCK)
        scale = blocks.abs().amax(dim=1, keepdim=True).clamp(min=1e-7).half()
        nearest = torch.bucketize(blocks / scale, (values[1:] + values[:-1]) / 2).to(torch.uint8)
        self.register_buffer("numbers", nearest[:, ::2] << 4 | nearest[:, 1::2])  # (blocks, 32)
        self.register_buffer("scale", scale)  # (blocks, 1)

    def dequantize(self, dtype: torch.dtype) -> torch.Tensor:
        values = torch.tensor(NF4_VALUES, dtype=dtype, device=self.numbers.device)
        pairs = torch.cartesian_prod(values, values)  # (256, 2): what each byte stands for
        blocks = pairs[self.numbers.int()].flatten(1) * self.scale.to(dtype)
        return blocks.view(self.out_features, self.in_features)


KINDS = {"int8": Int8Linear, "nf4": Nf4Linear}


class _Multiply(torch.autograd.Function):
    """`F.linear` that keeps the numbers for the backward pass, and not the weight."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, layer: QuantizedLinear) -> torch.Tensor:
        ctx.layer, ctx.dtype = layer, states.dtype
        return F.linear(states, layer.dequantize(states.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        gradient = gradients[0]
        return (gradient @ ctx.layer.dequantize(gradient.dtype)).to(ctx.dtype), None


def quantize_model(
    model: nn.Module, kind: str, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """Quantize the linear layers of a model in main memory, and move it to its device.

    Args:
        model: It is changed. Subclasses of `nn.Linear` stay, as others read their weights.
        kind: "int8" or "nf4".
        device: Where it is to run; layers are moved and quantized one by one.
        dtype: Of all other weights, and of the states.
    """
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear and not layer.weight.numel() % NF4_BLOCK:
                quantized = KINDS[kind](layer.to(device))
                quantized.dtype = dtype
                setattr(parent, name, quantized)
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    return model.to(device)
