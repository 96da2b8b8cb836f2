"""Record what the authors' recipes give on the tiny models, under the library versions they pinned.

    python record.py e5v|vlm2vec-qwen2vl|mme5|vlm2vec-llava|vlm2vec-qwen25vl

Each family's run writes `<family>.json` and `<family>.npz`; README.md tells the environments.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
import transformers
from PIL import Image
from torch.nn.functional import normalize

VERSIONS = {
    "e5v": "4.41.2",
    "vlm2vec-qwen2vl": "4.52.3",
    "mme5": "4.48.3",
    "vlm2vec-llava": "4.52.3",
    "vlm2vec-qwen25vl": "4.52.3",
}
Case = dict[str, Any]
Encoded = tuple[torch.Tensor, list[list[int]], dict[str, Any]]  # raw vectors, ids, what was seen
Encode = Callable[[list[str], list[Any]], Encoded]

LONG = "A dog sitting in the grass and a cat standing in the snow, then a tiger. " * 24
TEXTS = {
    "sentence": "A dog sitting in the grass.",
    "caption": "A cat standing in the snow",
    "japanese": "雪の中で犬が静かに眠っている。",
    "arabic": "قطة بيضاء تجلس على العشب.",
    "short": "a",
    "long": LONG.strip(),
}
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]  # CLIP's
PINPOINTS = [[56, 112], [112, 56], [112, 112], [168, 56], [56, 168]]
LLAMA3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
QWEN2 = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>"]
QWEN2 += ["<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"]
QWEN2 += ["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]


# Checkpoints: what lies beside the weights, in the form of the pinned version.


def llava_files(config: Any, tokens: dict[str, Any], **more: Any) -> dict[str, Any]:
    preprocessor = {
        "aspect_ratio_setting": "anyres",
        "crop_size": {"height": 56, "width": 56},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_grid_pinpoints": PINPOINTS,
        "image_mean": MEAN,
        "image_processor_type": "LlavaNextImageProcessor",
        "image_std": STD,
        "processor_class": "LlavaNextProcessor",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": 56},
    }
    return _files(config, preprocessor, tokens, **more)


def _files(
    config: Any, preprocessor: dict[str, Any], tokens: dict[str, Any], **more: Any
) -> dict[str, Any]:
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    special = {name: tokens[name] for name in names if tokens.get(name)}
    return {
        "config.json": json.loads(config.to_json_string()),
        "preprocessor_config.json": preprocessor,
        "tokenizer_config.json": tokens,
        "special_tokens_map.json": special,
        **more,
    }


def _tokenizer(family: str, make: Callable[[], dict[str, Any]]) -> dict[str, int]:
    """Write the tokenizer if there is none yet; its special tokens by text."""
    path = tiny.HERE / f"{family}.tokenizer.json"
    if not path.exists():
        path.write_text(json.dumps(make(), ensure_ascii=False) + "\n", encoding="utf-8")
    output = json.loads(path.read_text(encoding="utf-8"))
    return {token["content"]: token["id"] for token in output["added_tokens"]}


def _decoder(ids: dict[str, int]) -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {str(at): {"content": text, **flags, "special": True} for text, at in ids.items()}


def _clip() -> dict[str, Any]:
    return {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        "projection_dim": 32,
        "vocab_size": 512,
    }


def make_e5v() -> tuple[Any, dict[str, Any]]:
    special = [*LLAMA3, "<|eot_id|>", "<image>"]
    ids = _tokenizer(
        "e5v", lambda: tiny.byte_level_tokenizer(tiny.LLAMA3_WORDS, special, LLAMA3[0])
    )
    text = {
        "model_type": "llama",
        "vocab_size": ids["<image>"],  # the image token lies beyond the rows, as in the real one
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "bos_token_id": ids["<|begin_of_text|>"],
        "eos_token_id": ids["<|eot_id|>"],
    }
    config = transformers.LlavaNextConfig(
        vision_config=_clip(),
        text_config=text,
        image_token_index=ids["<image>"],
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        architectures=["LlavaNextForConditionalGeneration"],
    )
    tokens = {
        "added_tokens_decoder": _decoder(ids),
        "bos_token": "<|begin_of_text|>",
        "clean_up_tokenization_spaces": True,
        "eos_token": "<|eot_id|>",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": "<|eot_id|>",
        "padding_side": "left",
        "processor_class": "LlavaNextProcessor",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return config, llava_files(config, tokens)


def make_llava() -> tuple[Any, dict[str, Any]]:
    ids = _tokenizer("vlm2vec-llava", lambda: tiny.metaspace_tokenizer(["<image>", "<pad>"]))
    text = {
        "model_type": "mistral",
        "vocab_size": ids["<pad>"] + 7,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
    }
    config = transformers.LlavaNextConfig(
        vision_config=_clip(),
        text_config=text,
        image_token_index=ids["<image>"],
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
        architectures=["LlavaNextForConditionalGeneration"],
    )
    tokens = {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": _decoder(ids),
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "legacy": True,
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": "<pad>",
        "padding_side": "left",
        "processor_class": "LlavaNextProcessor",
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
        "use_default_system_prompt": False,
    }
    processor = {
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": 14,
        "processor_class": "LlavaNextProcessor",
        "vision_feature_select_strategy": "default",
    }
    return config, llava_files(config, tokens, **{"processor_config.json": processor})


def _qwen_files(
    config: Any, ids: dict[str, int], vision: dict[str, Any], processor_class: str
) -> dict[str, Any]:
    flat = {  # the text's settings at the top and `mrope` by name, as Qwen's own checkpoints
        "architectures": config.architectures,
        "model_type": config.model_type,
        **_qwen_text(ids),
        "tie_word_embeddings": config.tie_word_embeddings,
        "vision_config": vision,
    }
    preprocessor = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": MEAN,
        "image_processor_type": "Qwen2VLImageProcessor",
        "image_std": STD,
        "max_pixels": 64 * 28 * 28,
        "merge_size": 2,
        "min_pixels": 4 * 28 * 28,
        "patch_size": 14,
        "processor_class": processor_class,
        "temporal_patch_size": 2,
    }
    tokens = {
        "add_prefix_space": False,
        "added_tokens_decoder": _decoder(ids),
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 32768,
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "processor_class": processor_class,
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    return _files(config, preprocessor, tokens, **{"config.json": flat})


def _qwen_text(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "vocab_size": ids["<|video_pad|>"] + 5,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "use_sliding_window": False,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
    }


def make_qwen2vl() -> tuple[Any, dict[str, Any]]:
    family = "vlm2vec-qwen2vl"
    ids = _tokenizer(family, lambda: tiny.byte_level_tokenizer(tiny.QWEN2_WORDS, QWEN2, None))
    vision = {
        "depth": 2,
        "embed_dim": 32,
        "hidden_size": 32,
        "in_channels": 3,
        "mlp_ratio": 2,
        "num_heads": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
    }
    config = transformers.Qwen2VLConfig(
        **_qwen_text(ids),
        vision_config=dict(vision),
        tie_word_embeddings=True,
        architectures=["Qwen2VLForConditionalGeneration"],
    )
    return config, _qwen_files(config, ids, vision, "Qwen2VLProcessor")


def make_qwen25vl() -> tuple[Any, dict[str, Any]]:
    family = "vlm2vec-qwen25vl"
    ids = _tokenizer(family, lambda: tiny.byte_level_tokenizer(tiny.QWEN2_WORDS, QWEN2, None))
    vision = {
        "depth": 4,
        "hidden_size": 32,
        "out_hidden_size": 32,
        "intermediate_size": 64,
        "in_chans": 3,
        "num_heads": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
        "tokens_per_second": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1, 3],
    }
    config = transformers.Qwen2_5_VLConfig(
        **_qwen_text(ids),
        vision_config=dict(vision),
        tie_word_embeddings=False,
        architectures=["Qwen2_5_VLForConditionalGeneration"],
    )
    return config, _qwen_files(config, ids, vision, "Qwen2_5_VLProcessor")


def make_mme5() -> tuple[Any, dict[str, Any]]:
    special = [*LLAMA3, "<|eot_id|>", "<|finetune_right_pad_id|>", "<|image|>"]
    ids = _tokenizer(
        "mme5", lambda: tiny.byte_level_tokenizer(tiny.LLAMA3_WORDS, special, LLAMA3[0])
    )
    vision = {
        "model_type": "mllama_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 6,
        "num_global_layers": 2,
        "attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        "max_num_tiles": 4,
        "intermediate_layers_indices": [1, 3, 4],
        "vision_output_dim": 32 * 4,  # the last state and three in between
    }
    scaling = {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    }
    text = {
        "model_type": "mllama_text_model",
        "vocab_size": ids["<|image|>"],  # eight rows more are there for the image token
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "cross_attention_layers": [1, 3],
        "max_position_embeddings": 131072,
        "rope_theta": 500000.0,
        "rope_scaling": scaling,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": ids["<|begin_of_text|>"],
        "eos_token_id": ids["<|end_of_text|>"],
        "pad_token_id": ids["<|finetune_right_pad_id|>"],
    }
    config = transformers.MllamaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids["<|image|>"],
        architectures=["MllamaForConditionalGeneration"],
    )
    preprocessor = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": MEAN,
        "image_processor_type": "MllamaImageProcessor",
        "image_std": STD,
        "max_image_tiles": 4,
        "processor_class": "MllamaProcessor",
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": 56, "width": 56},
    }
    tokens = {
        "added_tokens_decoder": _decoder(ids),
        "bos_token": "<|begin_of_text|>",
        "clean_up_tokenization_spaces": True,
        "eos_token": "<|end_of_text|>",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 131072,
        "pad_token": "<|finetune_right_pad_id|>",
        "padding_side": "right",
        "processor_class": "MllamaProcessor",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return config, _files(config, preprocessor, tokens)


# Cases: the strings exactly as the processor gets them.

E5V_FRAME = (
    "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n \n"
)
E5V_PROMPTS = {
    "text": "<sent>\nSummary above sentence in one word: ",
    "image": "<image>\nSummary above image in one word: ",
    "fashioniq_image": "<image>\n Describe this {c} in one word based on its style:",
    "fashioniq_composed": "<image> change the style of this {c} to <sent>\n"
    " Desribe this modified {c} in one word based on its style:",
    "cirr_image": "<image>\n Describe this image in one word:",
    "cirr_composed": '<image>Modify this image with "<sent>", desribe modified image in one word:',
}


def _case(name: str, kind: str, role: str, batch: str | None, **more: Any) -> Case:
    blank = {"text": None, "picture": None, "instruction": None}
    return {"name": name, "kind": kind, "role": role, "batch": batch, **blank, **more}


def _e5v_string(case: Case, text: str | None = None) -> str:
    prompt = E5V_PROMPTS[case["prompt"]].replace("{c}", case.get("category") or "")
    chosen = case["text"] if text is None else text
    return E5V_FRAME.format(prompt).replace("<sent>", chosen or "")


def cases_e5v() -> list[Case]:
    texts = {**TEXTS, "empty": ""}
    cases = [
        _case(f"text_{name}", "text", "document", "texts", prompt="text", text=text)
        for name, text in texts.items()
    ]
    cases += [
        _case(f"image_{name}", "image", "document", "images", prompt="image", picture=name)
        for name in tiny.SIZES
    ]
    for name, change in (("wide", "make it a cat."), ("tall", "二匹の犬"), ("square", "add snow")):
        more = {"prompt": "cirr_composed", "text": change, "picture": name}
        cases.append(_case(f"cirr_composed_{name}", "composed", "query", "cirr_composed", **more))
    for name in ("wide", "tall"):
        more = {"prompt": "cirr_image", "picture": name}
        cases.append(_case(f"cirr_image_{name}", "image", "document", "cirr_images", **more))
    for name, category in (("tall", "dress"), ("wide", "shirt")):
        more = {"prompt": "fashioniq_image", "picture": name, "category": category}
        cases.append(_case(f"fashioniq_image_{name}", "image", "document", "fashioniq", **more))
    more = {"prompt": "fashioniq_composed", "picture": "tall", "category": "dress"}
    one = _case("fashioniq_composed", "composed", "query", None, text="is red, has sleeves", **more)
    captions = ["is red and shiny. ", "has long sleeves?"]
    both = _case("fashioniq_both", "fashioniq", "query", None, captions=captions, **more)
    cases += [one, both]
    for case in cases:
        case["string"] = _e5v_string(case)
    stripped = [caption.strip(".?, ") for caption in captions]
    orders = [", ".join(stripped), ", ".join(stripped[::-1])]
    both["text"], both["string"] = orders[0], _e5v_string(both, orders[0])
    both["reversed"] = {"text": orders[1], "string": _e5v_string(both, orders[1])}
    return cases


CLASSIFY = "Represent the given image for classification."
ASK = "Represent the given image with the following question:"
FIND = "Find me an everyday image that matches the given caption:"
CHANGE = "Given an image, find a similar everyday image with the described changes:"
TARGET = "Represent the given image."


README = ("find_sentence", "image_wide", "classify_square", "ask_tall", "change_small")


def cases_vlm2vec(forms: list[str], image_token: str) -> list[Case]:
    """With prompts as in MMEB's rows; of those in the README's demos, a few."""
    cases: list[Case] = []
    for form in forms:
        mine = [
            _case(f"text_{name}", "text", "document", None, text=text)
            for name, text in TEXTS.items()
        ]
        for name in ("sentence", "japanese", "long"):
            more = {"instruction": FIND, "text": TEXTS[name]}
            mine.append(_case(f"find_{name}", "instructed_text", "query", None, **more))
        mine += [
            _case(f"image_{name}", "image", "document", None, instruction=TARGET, picture=name)
            for name in tiny.SIZES
        ]
        for name in ("wide", "square"):
            more = {"instruction": CLASSIFY, "picture": name}
            mine.append(_case(f"classify_{name}", "image", "query", None, **more))
        for name, text in (("tall", "What is in the image"), ("large", "犬はどこ？")):
            more = {"instruction": ASK, "text": text, "picture": name}
            mine.append(_case(f"ask_{name}", "composed", "query", None, **more))
        for name, text in (("wide", "make it a cat."), ("small", "add snow \n and a dog")):
            more = {"instruction": CHANGE, "text": text, "picture": name}
            mine.append(_case(f"change_{name}", "composed", "query", None, **more))
        if form.endswith("readme"):
            mine = [case for case in mine if case["name"] in README]
        for case in mine:
            case |= {"name": f"{form.lower()}_{case['name']}", "form": form, "batch": form.lower()}
            case["string"] = _vlm2vec_string(case, image_token)
        cases += mine
    return cases


def _vlm2vec_string(case: Case, image_token: str) -> str:
    string = " ".join(part for part in (case["instruction"], case["text"]) if part)
    is_query, is_second = case["role"] == "query", case["form"].startswith("V2")
    if is_second and is_query:
        string = string.replace(" \n", "\n")
    if case["form"].endswith("readme"):
        end = "\n" if is_second and is_query else ""
        return (f"{image_token} " if case["picture"] else "") + string + end
    end = "\n" if is_query or case["picture"] else ""
    return (f"{image_token}\n" if case["picture"] else "") + string + end


def cases_mme5() -> list[Case]:
    cases = [
        _case(f"text_{name}", "text", "document", "texts", text=text)
        for name, text in TEXTS.items()
    ]
    cases.append(_case("text_cat", "text", "document", "texts", text="A cat and a dog"))
    for name, text in (("cat", "A cat and a dog."), ("japanese", TEXTS["japanese"])):
        more = {"instruction": FIND, "text": text}
        cases.append(_case(f"find_{name}", "instructed_text", "query", "texts", **more))
    cases += [
        _case(f"image_{name}", "image", "document", "images", instruction=TARGET, picture=name)
        for name in tiny.SIZES
    ]
    questions = (
        ("wide", "What is in the image"),
        ("tall", "犬はどこ？"),
        ("square", TEXTS["long"]),
    )
    for name, text in questions:
        more = {"instruction": ASK, "text": text, "picture": name}
        cases.append(_case(f"ask_{name}", "composed", "query", "images", **more))
    for name in ("large", "small"):
        more = {"instruction": CLASSIFY, "picture": name}
        cases.append(_case(f"classify_{name}", "image", "query", "images", **more))
    more = {"instruction": CHANGE, "text": "make it a cat.", "picture": "tall"}
    cases.append(_case("change_tall", "composed", "query", "images", **more))
    for case in cases:
        string = " ".join(part for part in (case["instruction"], case["text"]) if part)
        end = "\n" if case["picture"] or case["role"] == "query" else ""
        case["string"] = ("<|image|><|begin_of_text|>" if case["picture"] else "") + string + end
    spelt = _case("text_cat_bos", "text", "document", "texts", text="A cat and a dog")
    return [*cases, spelt | {"string": "<|begin_of_text|>A cat and a dog"}]


# The authors' recipes.


def _load(kind: Any, folder: Path) -> Any:
    model, output = kind.from_pretrained(
        folder,
        torch_dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
    )
    assert not output["missing_keys"], output["missing_keys"]
    assert not output["unexpected_keys"], output["unexpected_keys"]
    assert not output["mismatched_keys"], output["mismatched_keys"]
    return model.eval()


def _states(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True, return_dict=True)
    last: torch.Tensor = output.hidden_states[-1]  # [batch, tokens, dim]
    return last


def _unpadded(inputs: Any) -> list[list[int]]:
    rows = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    return [ids[mask.bool()].tolist() for ids, mask in rows]


def _seen(inputs: Any) -> dict[str, Any]:
    if "pixel_values" not in inputs:
        return {}
    pixels = inputs["pixel_values"]
    about = {"shape": list(pixels.shape), "mean": pixels.mean().item(), "std": pixels.std().item()}
    return {"pixel_values": about}


def encode_e5v(folder: Path) -> Encode:
    from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

    processor = LlavaNextProcessor.from_pretrained(folder)
    model = _load(LlavaNextForConditionalGeneration, folder)
    assert processor.tokenizer.padding_side == "left"

    def encode(strings: list[str], pictures: list[Any]) -> Encoded:
        images = pictures if pictures[0] is not None else None
        inputs = processor(strings, images, return_tensors="pt", padding=True)
        last = _states(model, inputs)
        seen = _seen(inputs)
        if images is not None:  # one <image> in the ids became so many positions
            seen["image_tokens"] = last.shape[1] - inputs["input_ids"].shape[1] + 1
        return last[:, -1, :], _unpadded(inputs), seen

    return encode


def _vlm2vec_pool(last: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if mask[:, -1].sum() == len(mask):
        return last[:, -1]
    return last[torch.arange(len(last)), mask.sum(dim=1) - 1]


def _together(tokenizer: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One padded batch out of single rows, their pictures one after the other."""
    ids = [row["input_ids"].tolist()[0] for row in rows]
    inputs = dict(tokenizer.pad({"input_ids": ids}, return_tensors="pt"))
    for name in ("pixel_values", "image_grid_thw", "image_sizes"):
        parts = [torch.as_tensor(row[name]) for row in rows if name in row]
        if parts:
            inputs[name] = torch.cat(_as_wide(parts) if name == "pixel_values" else parts)
    return inputs


def _as_wide(parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """LLaVA's pixels [1, tiles, 3, height, width] with tiles of zeros up to the most."""
    if parts[0].dim() != 5:
        return parts
    most = max(part.shape[1] for part in parts)
    return [
        torch.cat([part, part.new_zeros(1, most - part.shape[1], *part.shape[2:])], dim=1)
        for part in parts
    ]


def _qwen_encode(kind: Any, folder: Path, form: dict[str, Any]) -> Encode:
    from transformers import AutoTokenizer
    from transformers.models.qwen2_vl import Qwen2VLImageProcessor

    class Processor(transformers.Qwen2VLProcessor):  # type: ignore[misc]
        attributes = ("image_processor", "tokenizer")  # the video one needs torchvision

        def __init__(self, image_processor: Any, tokenizer: Any) -> None:
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            transformers.ProcessorMixin.__init__(self, image_processor, tokenizer)

    limits = {"min_pixels": form["min_pixels"], "max_pixels": form["max_pixels"]}
    pictures_in = Qwen2VLImageProcessor.from_pretrained(folder, **limits)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = Processor(pictures_in, tokenizer)
    assert tokenizer.padding_side == "left"
    model = _load(kind, folder)

    def one(string: str, image: Any) -> dict[str, Any]:
        if image is None:
            return processor(text=[string], images=None, return_tensors="np", truncation=True)
        if form["resize"]:
            image = image.resize(form["resize"])
        if min(image.size) < 28:
            image = image.resize((56, 56))
        return processor(text=[string], images=[image], return_tensors="np")

    def encode(strings: list[str], pictures: list[Any]) -> Encoded:
        rows = [one(*pair) for pair in zip(strings, pictures, strict=True)]
        inputs = _together(tokenizer, rows)
        mask = inputs["attention_mask"]
        found = model.model.get_rope_index(
            inputs["input_ids"], inputs.get("image_grid_thw"), attention_mask=mask
        )[0]  # [3, batch, tokens]
        plain = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
        assert (found == plain).all(), "one-dimensional positions"
        pooled = _vlm2vec_pool(_states(model, inputs), mask)
        seen = _seen(inputs)
        if seen:
            seen["image_grid_thw"] = inputs["image_grid_thw"].tolist()
        return pooled, _unpadded(inputs), seen

    return encode


def encode_qwen2vl(folder: Path, form: dict[str, Any]) -> Encode:
    return _qwen_encode(transformers.Qwen2VLForConditionalGeneration, folder, form)


def encode_qwen25vl(folder: Path, form: dict[str, Any]) -> Encode:
    return _qwen_encode(transformers.Qwen2_5_VLForConditionalGeneration, folder, form)


def encode_llava(folder: Path, form: dict[str, Any]) -> Encode:
    from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

    processor = LlavaNextProcessor.from_pretrained(folder)
    model = _load(LlavaNextForConditionalGeneration, folder)
    assert processor.tokenizer.padding_side == "left"

    def one(string: str, image: Any) -> dict[str, Any]:
        resized = None if image is None else image.resize(form["resize"])
        return processor(images=resized, text=string, return_tensors="np")

    def encode(strings: list[str], pictures: list[Any]) -> Encoded:
        rows = [one(*pair) for pair in zip(strings, pictures, strict=True)]
        inputs = _together(processor.tokenizer, rows)
        pooled = _vlm2vec_pool(_states(model, inputs), inputs["attention_mask"])
        return pooled, _unpadded(inputs), _seen(inputs)

    return encode


def encode_mme5(folder: Path) -> Encode:
    from transformers import AutoProcessor, MllamaForConditionalGeneration

    processor = AutoProcessor.from_pretrained(folder)
    model = _load(MllamaForConditionalGeneration, folder)
    pad = processor.tokenizer.pad_token_id
    pad_sequence = torch.nn.utils.rnn.pad_sequence

    def encode(strings: list[str], pictures: list[Any]) -> Encoded:
        limit = {"return_tensors": "pt", "max_length": 256, "truncation": True}
        rows = [
            processor(text=string, images=None if image is None else [image], **limit)
            for string, image in zip(strings, pictures, strict=True)
        ]
        ids = pad_sequence([row["input_ids"][0] for row in rows], True, pad)
        inputs = {"input_ids": ids, "attention_mask": ids.ne(pad)}
        if pictures[0] is not None:
            for name in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask"):
                inputs[name] = torch.cat([row[name] for row in rows])
            masks = [row["cross_attention_mask"][0] for row in rows]
            inputs["cross_attention_mask"] = pad_sequence(masks, True, 0)
        last = _states(model, inputs)
        at = inputs["attention_mask"].sum(dim=1) - 1
        return last[torch.arange(len(last)), at], _unpadded(inputs), _seen(inputs)

    return encode


# Putting it together.

UNIT = 28 * 28
V1 = {"resize": [224, 224], "min_pixels": 8 * UNIT, "max_pixels": 40 * UNIT}
V2 = {"resize": None, "min_pixels": 4 * UNIT, "max_pixels": 64 * UNIT}
FAMILIES: dict[str, dict[str, Any]] = {
    "e5v": {
        "make": make_e5v,
        "model": "LlavaNextForConditionalGeneration",
        "cases": cases_e5v,
        "encode": encode_e5v,
    },
    "vlm2vec-qwen2vl": {
        "make": make_qwen2vl,
        "model": "Qwen2VLForConditionalGeneration",
        "cases": lambda: cases_vlm2vec(["V1", "V2", "V1-readme", "V2-readme"], "<|image_pad|>"),
        "encode": encode_qwen2vl,
        "forms": {"V1": V1, "V2": V2, "V1-readme": V1, "V2-readme": V2},
    },
    "mme5": {
        "make": make_mme5,
        "model": "MllamaForConditionalGeneration",
        "cases": cases_mme5,
        "encode": encode_mme5,
    },
    "vlm2vec-llava": {
        "make": make_llava,
        "model": "LlavaNextForConditionalGeneration",
        "cases": lambda: cases_vlm2vec(["V1", "V1-readme"], "<image>"),
        "encode": encode_llava,
        "forms": {"V1": {"resize": [224, 224]}, "V1-readme": {"resize": [224, 224]}},
    },
    "vlm2vec-qwen25vl": {
        "make": make_qwen25vl,
        "model": "Qwen2_5_VLForConditionalGeneration",
        "cases": lambda: cases_vlm2vec(["V2", "V2-readme"], "<|image_pad|>"),
        "encode": encode_qwen25vl,
        "forms": {"V2": V2, "V2-readme": V2},
    },
}


def shapes(kind: Any, config: Any) -> dict[str, list[int]]:
    """Names and shapes as this version's save_pretrained writes them."""
    from safetensors import safe_open

    found: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        kind(config).save_pretrained(folder)
        for path in sorted(Path(folder).glob("*.safetensors")):
            with safe_open(path, framework="pt") as stored:
                found |= {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118
    return found


def record(family: str) -> None:
    assert transformers.__version__ == VERSIONS[family], transformers.__version__
    plan = FAMILIES[family]
    config, files = plan["make"]()
    fixed = {
        "family": family,
        "transformers": transformers.__version__,
        "model": plan["model"],
        "seed": 20240717,
        "forms": plan.get("forms", {}),
        "files": files,
        "tensors": shapes(getattr(transformers, plan["model"]), config),
        "cases": [],
    }
    _write(family, fixed)
    with tempfile.TemporaryDirectory() as folder:
        built = tiny.build(family, Path(folder))
        if plan.get("forms"):
            encoders = {name: plan["encode"](built, form) for name, form in plan["forms"].items()}
        else:
            encoders = {None: plan["encode"](built)}
        fixed["cases"] = plan["cases"]()
        arrays = run(fixed["cases"], encoders)
    _write(family, fixed)
    np.savez_compressed(tiny.HERE / f"{family}.npz", **arrays)
    print(family, len(fixed["cases"]), "cases")


def run(cases: list[Case], encoders: dict[str | None, Encode]) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for case in cases:
        encode = encoders[case.get("form")]
        strings, pictures = [case["string"]], [_picture(case)]
        if "reversed" in case:
            strings, pictures = [*strings, case["reversed"]["string"]], pictures * 2
        raw, ids, seen = encode(strings, pictures)
        name = case["name"]
        arrays[name] = _unit(raw.sum(dim=0))
        arrays[f"{name}__ids"] = np.array(ids[0], dtype=np.int32)
        if len(ids) > 1:
            arrays[f"{name}__ids_reversed"] = np.array(ids[1], dtype=np.int32)
        case.update(seen)
    batches = dict.fromkeys(case["batch"] for case in cases if case["batch"])
    for batch in batches:
        rows = [case for case in cases if case["batch"] == batch]
        encode = encoders[rows[0].get("form")]
        raw, ids, _ = encode([row["string"] for row in rows], [_picture(row) for row in rows])
        for row, vector, mine in zip(rows, raw, ids, strict=True):
            arrays[f"{row['name']}__batched"] = _unit(vector)
            assert mine == arrays[f"{row['name']}__ids"].tolist(), row["name"]
    return arrays


def _picture(case: Case) -> Image.Image | None:
    return tiny.picture(case["picture"]) if case["picture"] else None


def _unit(vector: torch.Tensor) -> Any:
    return normalize(vector, dim=-1).numpy().astype(np.float32)


def _write(family: str, fixed: dict[str, Any]) -> None:
    path = tiny.HERE / f"{family}.json"
    lines = json.dumps(fixed, ensure_ascii=False, indent=1)
    path.write_text(lines + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.manual_seed(0)
    record(sys.argv[1])
