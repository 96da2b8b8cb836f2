"""The shapes of the models that are measured: as published, and small ones built the same way.

`small` keeps the ways of the real ones (tiles, patches, grouped attention, a vocabulary in
proportion) with a few narrow layers, except that Mllama's tiles and Qwen's pictures are smaller, or
two cores would take minutes for one. `larger` is the next published size, where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
SMALL = (256, 896, 4, 4, 2)  # of a language model, as `_text` takes it
SMALL_PIXELS = 256 * 28 * 28  # the most of a picture for small Qwens; the real ones see 1280 cells
Json = dict[str, Any]


def e5v(size: str) -> Json:
    """LLaVA-NeXT on Llama 3 8B."""
    text = {"model_type": "llama", **_rope(500_000.0)}
    return _llava(size, text | _text(size, (4096, 14336, 32, 32, 8), 128_320, 1024))


def llava(size: str) -> Json:
    """LLaVA 1.6 on Mistral 7B."""
    text = {"model_type": "mistral", "sliding_window": None, **_rope(1e6)}
    return _llava(size, text | _text(size, (4096, 14336, 32, 32, 8), 32_064, 1024))


def qwen2(size: str) -> Json:
    """Qwen2-VL 2B and 7B."""
    shapes = {"full": (1536, 8960, 28, 12, 2), "larger": (3584, 18944, 28, 28, 4)}
    text = _text(size, shapes.get(size, SMALL), 151_936, 2048)
    vision = {"depth": 32, "embed_dim": 1280, "num_heads": 16}
    if size == "small":
        vision = {"depth": 4, "embed_dim": 128, "num_heads": 2}
    return {
        "model_type": "qwen2_vl",
        "text_config": text | _mrope(size, [16, 24, 24], [8, 12, 12]),
        "vision_config": vision | {"hidden_size": text["hidden_size"]},
        "tie_word_embeddings": size != "larger",
    }


def qwen25(size: str) -> Json:
    """Qwen2.5-VL 3B and 7B."""
    shapes = {"full": (2048, 11008, 36, 16, 2), "larger": (3584, 18944, 28, 28, 4)}
    text = _text(size, shapes.get(size, SMALL), 151_936, 2048)
    vision: Json = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
    if size == "small":
        vision = {"depth": 4, "hidden_size": 128, "intermediate_size": 344, "num_heads": 2}
        vision["fullatt_block_indexes"] = [3]  # one layer in eight there, one in four here
    return {
        "model_type": "qwen2_5_vl",
        "text_config": text | _mrope(size, [16, 24, 24], [8, 12, 12]),
        "vision_config": vision | {"out_hidden_size": text["hidden_size"]},
        "tie_word_embeddings": size != "larger",
    }


def qwen3(size: str) -> Json:
    """Qwen3-VL 2B and 8B."""
    shapes = {"full": (2048, 6144, 28, 16, 8), "larger": (4096, 12288, 36, 32, 8)}
    text = _text(size, shapes.get(size, SMALL), 151_936, 2048)
    head = 64 if size == "small" else 128
    return {
        "model_type": "qwen3_vl",
        "text_config": text
        | {"head_dim": head}
        | _mrope(size, [24, 20, 20], [12, 10, 10], theta=5e6, mrope_interleaved=True),
        "vision_config": _QWEN3_VISION[size] | {"out_hidden_size": text["hidden_size"]},
        "tie_word_embeddings": size != "larger",
    }


def mllama(size: str) -> Json:
    """Llama 3.2 Vision 11B: 40 layers, of which 8 look at the picture."""
    text = _text(size, (4096, 14336, 40, 32, 8), 128_256, 1024)
    stretched = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0}
    stretched |= {"rope_type": "llama3", "original_max_position_embeddings": 8192}
    crossing = [3, 8, 13, 18, 23, 28, 33, 38]
    vision: Json = {"image_size": 560, "intermediate_layers_indices": [3, 7, 15, 23, 30]}
    if size == "small":
        crossing = [1]
        vision = {"image_size": 224, "hidden_size": 128, "intermediate_size": 512}
        vision |= {"attention_heads": 2, "num_hidden_layers": 4, "num_global_layers": 1}
        vision |= {"intermediate_layers_indices": [1, 2], "vision_output_dim": 3 * 128}
    rope = {"rope_parameters": {"rope_theta": 500_000.0, **stretched}}
    more = {"cross_attention_layers": crossing, **rope}
    return {"model_type": "mllama", "text_config": text | more, "vision_config": vision}


def siglip2(size: str) -> Json:
    """SigLIP 2 base, patches of 16, pictures of 256 pixels; its text tower has Gemma's words."""
    tower = {"hidden_size": 768, "intermediate_size": 3072}
    tower |= {"num_hidden_layers": 12, "num_attention_heads": 12}
    if size == "small":
        tower = {"hidden_size": 192, "intermediate_size": 768}
        tower |= {"num_hidden_layers": 4, "num_attention_heads": 3}
    words = 1024 if size == "small" else 256_000
    return {
        "model_type": "siglip",
        "text_config": tower | {"vocab_size": words, "projection_size": tower["hidden_size"]},
        "vision_config": tower | {"image_size": 256, "patch_size": 16},
    }


def gemma2(size: str) -> Json:
    """EmbeddingGemma 2 without its part for sounds, as it is loaded."""
    text: Json = {"embedding_dim": 768}  # the others are the defaults of transformers
    tower = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 16}
    tower |= {"num_attention_heads": 12, "num_key_value_heads": 12}
    if size == "small":
        text |= {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 6}
        text |= {"vocab_size": 1024, "hidden_size_per_layer_input": 128}
        tower = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4}
        tower |= {"num_attention_heads": 3, "num_key_value_heads": 3}
    tower |= {"model_type": "gemma4_vision", "head_dim": 64, "global_head_dim": 64}
    tower |= {"default_output_length": 280, "pooling_kernel_size": 3, "use_clipped_linears": False}
    return {
        "model_type": "embedding_gemma2",
        "text_config": text,
        "vision_config": tower,
        "audio_config": None,
    }


_QWEN3_VISION: dict[str, Json] = {
    "full": {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16,
             "deepstack_visual_indexes": [5, 11, 17]},
    "larger": {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16,
               "deepstack_visual_indexes": [8, 16, 24]},
    "small": {"depth": 4, "hidden_size": 128, "intermediate_size": 512, "num_heads": 2,
              "deepstack_visual_indexes": [0, 1, 2]},
}  # fmt: skip


def _text(size: str, published: tuple[int, ...], words: int, few: int) -> Json:
    """`published`: hidden and inner width, layers, heads, groups of keys; words: in full, few."""
    hidden, inner, layers, heads, groups = SMALL if size == "small" else published
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "vocab_size": few if size == "small" else words,
        "pad_token_id": 0,
    }


def _rope(theta: float, **more: Any) -> Json:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **more}}


def _mrope(size: str, full: list[int], small: list[int], theta: float = 1e6, **more: Any) -> Json:
    return _rope(theta, mrope_section=small if size == "small" else full, **more)


def _llava(size: str, text: Json) -> Json:
    vision = {"hidden_size": 1024, "intermediate_size": 4096}
    vision |= {"num_hidden_layers": 24, "num_attention_heads": 16}
    if size == "small":
        vision = {"hidden_size": 128, "intermediate_size": 512}
        vision |= {"num_hidden_layers": 4, "num_attention_heads": 2}
    tiles = {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14}
    return {
        "model_type": "llava_next",
        "text_config": text,
        "vision_config": vision | tiles,
        "image_grid_pinpoints": PINPOINTS,
    }


def make_module_files(dim: int, pooling: str, kinds: Sequence[str], saved: Json) -> Json:
    """What sentence-transformers reads in a model's folder, by file.

    Args:
        dim: Of the vectors.
        pooling: The mode, such as "lasttoken".
        kinds: What the model takes, such as "text" and "image".
        saved: Of the config: the prompts, and the name of the default one.
    """
    state = {"method": "forward", "method_output_name": "last_hidden_state"}
    modules = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    return {
        "sentence_bert_config.json": {
            "transformer_task": "feature-extraction",
            "modality_config": {
                **dict.fromkeys(kinds, state),
                "message": {**state, "format": "structured"},
            },
            "module_output_name": "token_embeddings",
        },
        "config_sentence_transformers.json": {
            "model_type": "SentenceTransformer",
            **saved,
            "similarity_fn_name": "cosine",
        },
        "1_Pooling/config.json": {
            "embedding_dimension": dim,
            "pooling_mode": pooling,
            "include_prompt": True,
        },
        "2_Normalize/config.json": {},
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(modules.items())
        ],
    }
