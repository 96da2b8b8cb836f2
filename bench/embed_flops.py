"""The floating point operations that an embedding needs, from the shape of the model.

A token costs two operations for each parameter that it goes through; a pair of tokens costs four
for each number of a layer's heads. Language attends to what stands before: half of the pairs.
Padding, language heads and everything else that a way of computing may add do not count, so that
operations a second tell of use, not of waste.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from bench.embed_models import Built

PEAK_TFLOPS = {  # dense bf16 operations a second, in units of 10^12, by a part of the device's name
    "H100": 989,
    "H200": 989,
    "A100": 312,
    "L40S": 362,
    "RTX 4090": 165,
}


def peak_flops(device: str) -> float | None:
    """Operations a second that a device could do; None where it is not known."""
    return next((1e12 * most for name, most in PEAK_TFLOPS.items() if name in device), None)


@dataclass(frozen=True, slots=True)
class Tower:
    """`parameters` that each token goes through; `width`: dimensions of the heads in all layers."""

    parameters: int
    width: int

    @staticmethod
    def of(layers: Any, width: int) -> Tower:
        """A stack of layers, each with heads of `width` numbers in all."""
        return Tower(sum(count_parameters(layer) for layer in layers), len(layers) * width)

    def cost(self, tokens: float, pairs: float) -> float:
        return 2 * self.parameters * tokens + 4 * self.width * pairs


def count_parameters(module: Any) -> int:
    """Parameters in a module's matrices."""
    return sum(weight.numel() for weight in module.parameters() if weight.dim() > 1)


def count_flops(built: Built, ready: Any) -> float:
    """Operations for one input made ready."""
    kind = built.model.config.model_type
    if kind == "siglip":
        return _siglip(built, ready)
    if kind == "embedding_gemma2":
        return _gemma(built, ready)
    body = getattr(built.model, "model", built.model)
    length, patches = _count_tokens(built, ready)
    if kind == "mllama":
        return _mllama(body, length, bool(ready.images))
    eyes = {"llava_next": _llava_vision, "qwen2_5_vl": _qwen_window_vision}.get(kind, _qwen_vision)
    text = body.config.get_text_config()
    language = Tower.of(body.language_model.layers, _heads_width(text))
    return language.cost(length, length**2 / 2) + sum(eyes(body, count) for count in patches)


def _count_tokens(built: Built, ready: Any) -> tuple[int, list[int]]:
    """The tokens of an input, and what each of its pictures costs the eyes: patches, or tiles."""
    backbone: Any = built.engine.backbone
    vision = built.model.config.vision_config
    if built.family == "qwen3-vl-embedding":
        places = [backbone._count_image_tokens(image.size) for image in ready.images]
        words = backbone.collate([replace(ready, images=(), text=ready.text or "")], [[]])
        return words["0.input_ids"].shape[1] + sum(places), [4 * count for count in places]
    architecture = backbone.architecture
    if built.model.config.model_type == "llava_next":
        grids = [architecture._select_grid(size) for size in ready.sizes]
        return len(ready.ids), [1 + down * across for down, across in grids]
    merged = getattr(vision, "spatial_merge_size", 1) ** 2
    return len(ready.ids), [merged * architecture.count_image_tokens(size) for size in ready.sizes]


def _heads_width(config: Any) -> int:
    """Numbers of a layer's heads: query and key, then value, have as many."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(config.num_attention_heads * head)


def _llava_vision(body: Any, tiles: int) -> float:
    """The last layer's states are not read."""
    vision = body.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2 + 1
    tower = body.vision_tower
    layers = getattr(tower, "vision_model", tower).encoder.layers
    read = len(layers) + 1 + body.config.vision_feature_layer
    eyes = Tower.of(layers[:read], vision.hidden_size)
    joined = 2 * count_parameters(body.multi_modal_projector) * (patches - 1)
    return tiles * (eyes.cost(patches, patches**2) + joined)


def _qwen_vision(body: Any, patches: int) -> float:
    """Qwen's eyes, each patch attending to its whole picture."""
    return _qwen(body, patches, dict.fromkeys(range(len(body.visual.blocks)), patches))


def _qwen_window_vision(body: Any, patches: int) -> float:
    """Qwen2.5's: but for a few layers, attention stays in windows."""
    vision = body.config.vision_config
    window = (vision.window_size // vision.patch_size) ** 2
    layers = range(len(body.visual.blocks))
    far = set(vision.fullatt_block_indexes)
    return _qwen(body, patches, {n: patches if n in far else window for n in layers})


def _qwen(body: Any, patches: int, reach: dict[int, int]) -> float:
    visual = body.visual
    width = visual.blocks[0].attn.qkv.in_features
    seen = patches * sum(reach.values())
    mergers = [visual.merger, *getattr(visual, "deepstack_merger_list", ())]
    joined = (
        sum(count_parameters(merger) for merger in mergers) * patches / visual.spatial_merge_size**2
    )
    return (
        Tower(count_parameters(visual.blocks), 1).cost(patches, 0) + 4 * width * seen + 2 * joined
    )


def _mllama(body: Any, length: int, sees: bool) -> float:
    text, vision = body.config.text_config, body.config.vision_config
    layers, crossing = body.language_model.layers, set(text.cross_attention_layers)
    own = [layer for n, layer in enumerate(layers) if n not in crossing]
    cost = Tower.of(own, _heads_width(text)).cost(length, length**2 / 2)
    if not sees:
        return cost  # the layers that look at pictures are left out
    patches = vision.max_num_tiles * ((vision.image_size // vision.patch_size) ** 2 + 1)
    looks = [layers[n] for n in sorted(crossing)]
    keys = sum(
        count_parameters(part.cross_attn.k_proj) + count_parameters(part.cross_attn.v_proj)
        for part in looks
    )
    cost += 2 * (sum(map(count_parameters, looks)) - keys) * length + 2 * keys * patches
    cost += 4 * len(looks) * _heads_width(text) * length * patches
    stacks = body.vision_model.transformer.layers, body.vision_model.global_transformer.layers
    eyes = sum(Tower.of(part, vision.hidden_size).cost(patches, patches**2) for part in stacks)
    return cost + eyes + 2 * count_parameters(body.multi_modal_projector) * patches


def _siglip(built: Built, ready: Any) -> float:
    model, config = built.model, built.model.config
    patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    length = config.text_config.max_position_embeddings

    def one(tower: Any, part: Any, tokens: int) -> float:
        return Tower.of(tower.encoder.layers, part.hidden_size).cost(tokens, tokens**2)

    texts = one(_inner(model.text_model), config.text_config, length) if ready.text else 0.0
    seen = one(_inner(model.vision_model), config.vision_config, patches)
    return texts + len(ready.images) * seen


def _gemma(built: Built, ready: Any) -> float:
    """All tokens attend to all: no text of the corpus is longer than a window."""
    backbone: Any = built.engine.backbone
    model, tokens = built.model, backbone.count_tokens(ready)
    language = model.language_model
    through = (language.layers, language.ple, language.embedding_projection)
    width = sum(layer.self_attn.q_proj.out_features for layer in language.layers)
    cost = Tower(sum(map(count_parameters, through)), width).cost(tokens, tokens**2)
    vision = model.config.vision_config
    eyes = Tower.of(model.vision_tower.encoder.layers, _heads_width(vision))
    for image in ready.images:
        places = backbone._count_image_tokens(image.size) - 2  # without the marks around them
        patches = places * vision.pooling_kernel_size**2
        cost += eyes.cost(patches, patches**2) + 2 * count_parameters(model.embed_vision) * places
    return cost


def _inner(tower: Any) -> Any:
    return getattr(tower, "text_model", getattr(tower, "vision_model", tower))


def total_flops(built: Built, ready: Iterable[Any]) -> float:
    return sum(count_flops(built, item) for item in ready)
