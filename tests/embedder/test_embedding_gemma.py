"""EmbeddingGemma 2 against transformers alone, and against plain sentence-transformers.

The model is tiny and random, of the real architecture, in a folder laid out as
google/embeddinggemma-2 at 914f7f89: its chat template in what it does, its prompts, modules and
processor settings are those that transformers' script for converting the weights writes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from embedder import EmbedderError, Input, Settings
from embedder.families import sentence_transformer as family
from embedder.families.sentence_transformer.processors import without_video_processor
from tests.noise import make_noise
from tests.tiny_folders import (
    WORDS,
    close,
    collated,
    loaded,
    modules,
    randomize,
    write,
    write_modalities,
)

QUERY, DOCUMENT = "task: search result | query: ", "title: none | text: "
TOKENS = {
    "image_token": "<|image|>", "video_token": "<|video|>", "boi_token": "<|image>",
    "eoi_token": "<image|>", "audio_token": "<|audio|>", "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}  # fmt: skip
TEMPLATE = (
    "{%- for role in ('system', 'user') -%}"
    "{%- for message in messages if message['role'] == role -%}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'text' -%}{{- part['text'] -}}"
    "{%- else -%}{{- '<|' + part['type'] + '|>' -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{%- endfor -%}{%- endfor -%}"
)
SOFT_TOKENS = 70
NOISE = make_noise((300, 200), 80).convert("RGB")
TALL = make_noise((90, 400), 60).convert("RGB")


@pytest.fixture(scope="session")
def gemma(tmp_path_factory) -> Path:
    from transformers import (
        EmbeddingGemma2Config,
        EmbeddingGemma2Model,
        Gemma4AudioFeatureExtractor,
        GemmaTokenizer,
    )

    folder = tmp_path_factory.mktemp("models") / "embeddinggemma-2"
    letters = sorted(set("".join([*WORDS, QUERY, DOCUMENT])) - {" "})
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *TOKENS.values(), "▁", *letters]
    ids = {token: i for i, token in enumerate(dict.fromkeys([*tokens, *"<|>"]))}
    GemmaTokenizer(
        vocab=ids, merges=[], add_bos_token=True, add_eos_token=True, padding_side="right",
        extra_special_tokens=TOKENS, chat_template=TEMPLATE, model_max_length=512,
    ).save_pretrained(folder)  # fmt: skip
    small = {"hidden_size": 32, "num_attention_heads": 2}
    config = EmbeddingGemma2Config(
        text_config={
            **small, "vocab_size": 128, "intermediate_size": 64, "num_hidden_layers": 3,
            "num_key_value_heads": 1, "head_dim": 16, "num_global_key_value_heads": 1,
            "global_head_dim": 32, "sliding_window": 8, "sliding_window_pattern": 3,
            "hidden_size_per_layer_input": 16, "embedding_dim": 48,
            "max_position_embeddings": 512,
        },
        vision_config={
            **small, "model_type": "gemma4_vision", "intermediate_size": 64,
            "num_hidden_layers": 2, "num_key_value_heads": 2, "head_dim": 16,
            "global_head_dim": 16, "default_output_length": SOFT_TOKENS, "pooling_kernel_size": 3,
            "position_embedding_size": 512, "use_clipped_linears": False,
        },
        audio_config={
            **small, "model_type": "gemma4_audio", "num_hidden_layers": 1, "output_proj_dims": 48,
        },
        **{f"{part}_token_id": ids[TOKENS[f"{part}_token"]] for part in (
            "image", "video", "audio", "boi", "eoi", "boa",
        )},
        eoa_token_index=ids[TOKENS["eoa_token"]],
    )  # fmt: skip
    randomize(EmbeddingGemma2Model(config)).save_pretrained(folder)
    hearing = Gemma4AudioFeatureExtractor()
    hearing.save_pretrained(folder)  # preprocessor_config.json says nothing of images
    write(
        folder / "processor_config.json",
        {
            "processor_class": "EmbeddingGemma2Processor",
            "image_seq_length": SOFT_TOKENS, "audio_seq_length": 280, "audio_ms_per_token": 40,
            "feature_extractor": json.loads(hearing.to_json_string()),
            "image_processor": {
                "image_processor_type": "Gemma4ImageProcessor", "do_normalize": False,
                "max_soft_tokens": SOFT_TOKENS, "image_seq_length": SOFT_TOKENS,
                "patch_size": 16, "pooling_kernel_size": 3, "do_convert_rgb": True,
                "do_rescale": True, "do_resize": True, "resample": 3, "rescale_factor": 1 / 255,
                "image_mean": [0.0] * 3, "image_std": [1.0] * 3,
            },
            "video_processor": {
                "video_processor_type": "EmbeddingGemma2VideoProcessor", "do_normalize": False,
                "max_soft_tokens": 140, "fps": 1, "max_frames": 32,
                "overflow_strategy": "uniform", "add_timestamps": False,
            },
        },
    )  # fmt: skip
    write_modalities(folder, "text", "image", "audio", "video")
    write(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "SentenceTransformer",
            "prompts": {
                "query": QUERY, "document": DOCUMENT, "SearchQuery": QUERY, "Document": DOCUMENT,
                "Clustering": "task: clustering | query: ",
            },
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
            "requirements": {"sentence-transformers": {"specifier": ">=6.1.0"}},
        },
    )  # fmt: skip
    write(
        folder / "1_Pooling" / "config.json",
        {"embedding_dimension": 48, "pooling_mode": "mean", "include_prompt": True},
    )
    write(folder / "polylens.json", {"family": "sentence_transformer", "matryoshka": [16, 32]})
    return modules(folder, "1_Pooling:Pooling", "2_Normalize:Normalize")


@pytest.fixture(scope="session")
def model(gemma):
    return loaded(gemma)


@pytest.fixture(scope="session")
def recipe(gemma):
    """Token by token: begin, prompt, text, images as so many tokens, end; the mean of all."""
    from transformers import AutoTokenizer, EmbeddingGemma2Model, Gemma4ImageProcessorPil

    reference = EmbeddingGemma2Model.from_pretrained(gemma).eval()
    tokenizer = AutoTokenizer.from_pretrained(gemma)
    images = Gemma4ImageProcessorPil.from_pretrained(gemma)

    @torch.no_grad()
    def embed(prompt: str, text: str, *pictures: Image.Image) -> np.ndarray:
        ready = [images(images=[picture], return_tensors="pt") for picture in pictures]
        seen = [
            f"<|image>{'<|image|>' * int(one['num_soft_tokens_per_image'][0])}<image|>"
            for one in ready
        ]
        ids = tokenizer(f"{prompt}{text}{''.join(seen)}", return_tensors="pt")["input_ids"]
        assert tokenizer.decode(ids[0]).startswith("<bos>")
        assert tokenizer.decode(ids[0]).endswith("<eos>")
        pixels = {
            name: torch.cat([one[name] for one in ready])
            for name in ("pixel_values", "image_position_ids")
            if ready
        }
        states = reference(input_ids=ids, attention_mask=torch.ones_like(ids), **pixels)
        return torch.nn.functional.normalize(states.last_hidden_state[0].mean(0), dim=0).numpy()

    return embed


CASES = {
    "text": (Input("two dogs"), "query", QUERY),
    "document": (Input("two dogs"), "document", DOCUMENT),
    "image": (Input(images=(NOISE,)), "document", ""),
    "image as query": (Input(images=(TALL,)), "query", ""),
    "captioned image": (Input("the same house", (TALL,)), "document", DOCUMENT),
    "composed query": (Input("make it greener", (NOISE,)), "query", QUERY),
    "several images": (Input("find the house", (NOISE, TALL)), "query", QUERY),
}


@pytest.mark.parametrize("name", CASES)
def test_vectors_equal_the_recipe(model, recipe, name):
    item, role, prompt = CASES[name]
    close(model.embed([item], role)[0], recipe(prompt, item.text or "", *item.images))


@pytest.mark.parametrize("role", ["query", "document"])
def test_batches_equal_single_items(model, role):
    items = [item for item, _, _ in CASES.values()] + [Input("a red square on a blue beach")]
    alone = np.concatenate([model.embed([item], role) for item in items])
    close(model.embed(items, role), alone)


def test_vectors_equal_those_of_sentence_transformers(gemma, model):
    """With its part for sounds, which is not loaded otherwise."""
    from sentence_transformers import SentenceTransformer

    with without_video_processor():
        plain = SentenceTransformer(str(gemma), device="cpu", model_kwargs={"dtype": "float32"})
    assert plain[0].model.audio_tower is not None
    close(model.embed([Input("two dogs")], "query"), plain.encode_query(["two dogs"]))
    close(model.embed([Input("two dogs")], "document"), plain.encode_document(["two dogs"]))
    both = {"text": "two dogs", "image": NOISE}
    close(model.embed([Input("two dogs", (NOISE,))], "query"), plain.encode_query([both]))
    close(model.embed([Input(images=(NOISE,))], "document"), plain.encode([{"image": NOISE}]))


def test_what_sentence_transformers_saves_of_it_loads_again(model, tmp_path):
    """As `finetune export` saves it: without the part for sounds."""
    out = tmp_path / "out"
    model.backbone.sentence_transformer.save_pretrained(str(out), create_model_card=False)
    items = [item for item, _, _ in CASES.values()]
    close(loaded(out).embed(items, "document"), model.embed(items, "document"))


def test_only_what_is_used_is_loaded(model):
    assert model.backbone.model.audio_tower is None
    assert model.backbone.model.vision_tower is not None


def test_an_instruction_is_the_task_of_a_query(model, recipe):
    words = Input("two dogs")
    close(
        model.embed([words], "query", " clustering ")[0],
        recipe("task: clustering | query: ", "two dogs"),
    )
    close(model.embed([words], "document", "clustering"), model.embed([words], "document"))


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_counted_as_the_model_reads_them(model, name):
    item, role, _ = CASES[name]
    ready = model.backbone.prepare(item, role, None)
    features = collated(model.backbone, [ready])
    assert model.backbone.count_tokens(ready) == int(features["0.attention_mask"].sum())


def test_a_long_text_is_cut_and_the_image_stays(model):
    backbone = model.backbone
    ready = backbone.prepare(Input("two dogs " * 200, (NOISE,)), "document", None)
    ids = collated(backbone, [ready])["0.input_ids"][0]
    read = backbone._tokenizer.decode(ids)
    assert len(ids) <= 512
    assert read.startswith(f"<bos>{DOCUMENT}two dogs")
    assert read.endswith("<|image|><image|><eos>")
    assert model.embed([Input("two dogs " * 200, (NOISE,))], "document").shape == (1, 48)


@pytest.mark.parametrize("token", TOKENS.values())
def test_a_text_cannot_spell_a_token(model, token):
    ready = model.backbone.prepare(Input(f"a {token} b", (NOISE,)), "query", None)
    count = int((collated(model.backbone, [ready])["0.input_ids"] == 5).sum())
    assert count == model.backbone._count_image_tokens(NOISE.size) - 2


@pytest.mark.parametrize("dim", [16, 32])
def test_vectors_are_cut_to_trained_dims(gemma, model, dim):
    whole = model.embed([Input("two dogs"), Input(images=(NOISE,))], "query")[:, :dim]
    cut = loaded(gemma, dim=dim)
    close(
        cut.embed([Input("two dogs"), Input(images=(NOISE,))], "query"),
        whole / np.linalg.norm(whole, axis=1, keepdims=True),
    )
    assert (cut.card.dim, cut.card.matryoshka) == (dim, (16, 32))
    with pytest.raises(EmbedderError, match="dim 16, 32, 48, not 24"):
        family.describe(str(gemma), Settings(dim=24))


def test_a_pixel_budget_is_one_of_the_trained_numbers_of_tokens(gemma, model):
    large = loaded(gemma, pixel_budget=330_000)
    assert large.backbone.sentence_transformer[0].processor.image_processor.max_soft_tokens == 140
    assert large.backbone._count_image_tokens((900, 700)) > SOFT_TOKENS
    assert large.card.fingerprint != model.card.fingerprint
    with pytest.raises(EmbedderError, match="at least 161,280 pixels"):
        family.describe(str(gemma), Settings(pixel_budget=100_000))


def test_float16_is_refused(gemma):
    with pytest.raises(EmbedderError, match="no numbers in float16; use --dtype bfloat16"):
        loaded(gemma, dtype="float16")
    assert loaded(gemma, dtype="bfloat16").embed([Input("two dogs")], "query").shape == (1, 48)


def test_an_image_of_any_shape_is_taken(model):
    for size in ((3000, 10), (1, 1), (10, 3000)):
        rows = model.embed([Input(images=(Image.new("RGB", size, "red"),))], "document")
        assert np.isfinite(rows).all()


def test_the_card_of_a_copy_is_that_of_the_model(gemma):
    card = family.describe(str(gemma), Settings())
    assert (card.dim, card.composes, card.modalities) == (48, True, ("text", "image"))
    assert (card.license, card.image_side) == ("Apache-2.0", 401)
    preset = next(card for card in family.CARDS if card.name == "google/embeddinggemma-2")
    assert (preset.dim, preset.matryoshka, preset.image_side) == (768, (128, 256, 512), 803)
