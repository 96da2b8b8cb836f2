"""WeMM-Embedding without its own code, against its authors' recipe written out.

The model is tiny and random, a Qwen3.5, in a folder laid out as tencent/WeMM-Embedding-2B: the
classes that it names raise an error when they are imported.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import embedder
from embedder import EmbedderError, Input, Settings
from embedder.families import sentence_transformer as family
from tests.noise import make_noise
from tests.tiny_folders import WORDS, close, collated, loaded, randomize, write

TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>", "<embedding>",
]  # fmt: skip
TEMPLATE = (  # the line breaks before special tokens are dropped by the tokenizer
    "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}"
    "{%- for part in message['content'] -%}{%- if part['type'] == 'image' -%}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}{%- else -%}"
    "{{- part['text'] -}}{%- endif -%}{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}{%- endfor -%}{{- '<embedding>\\n' -}}"
)
NOISE = make_noise((150, 100), 80).convert("RGB")
TALL = make_noise((70, 200), 60).convert("RGB")
CHAT = "{%- for message in messages -%}{{- message['role'] -}}{%- endfor -%}"


@pytest.fixture(scope="session")
def wemm(tmp_path_factory) -> Path:
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("models") / "wemm"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(Regex(r"\n$"), "")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=TOKENS, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([*WORDS, "user represent this image"], trainer)
    ids = {token: tokenizer.token_to_id(token) for token in TOKENS}
    config = Qwen3_5Config(
        text_config={
            "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "head_dim": 16,
            "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1,
            "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2],
                "mrope_interleaved": True, "partial_rotary_factor": 1.0,
            },
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 16, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "num_position_embeddings": 64,
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    randomize(Qwen3_5ForConditionalGeneration(config)).save_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    own = "modeling_wemm_embedding.WeMMEmbedding"
    saved |= {
        "architectures": ["WeMMEmbedding"],
        "auto_map": {"AutoModel": own, "AutoModelForCausalLM": own},
        "matryoshka_dimensions": [8, 16, 32],
    }
    write(folder / "config.json", saved)
    for name in ("modeling_wemm_embedding.py", "modeling_st_wemm.py"):
        (folder / name).write_text("raise RuntimeError('foreign code runs')\n")
    write(
        folder / "modules.json",
        [{"idx": 0, "name": "0", "path": "", "type": "modeling_st_wemm.WeMMTransformer"}],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>",
            "eos_token": "<|im_end|>", "additional_special_tokens": TOKENS,
            "model_max_length": 262144,
        },
    )  # fmt: skip
    write(
        folder / "processor_config.json",
        {
            "processor_class": "Qwen3VLProcessor",
            "image_processor": {
                "image_processor_type": "Qwen2VLImageProcessor",
                "size": {"shortest_edge": 4096, "longest_edge": 65536},
                "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2,
                "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
            },
            "video_processor": {"video_processor_type": "Qwen3VLVideoProcessor", "fps": 2},
        },
    )  # fmt: skip
    (folder / "chat_template.jinja").write_text(CHAT)
    (folder / "embedding_chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="session")
def model(wemm):
    return loaded(wemm)


@pytest.fixture(scope="session")
def recipe(wemm):
    """Qwen3.5's state of `<embedding>` behind the prompt that the authors' code makes."""
    from transformers import Qwen2VLImageProcessorPil, Qwen3_5Model

    reference = Qwen3_5Model.from_pretrained(wemm).eval()
    tokenizer = Tokenizer.from_file(str(wemm / "tokenizer.json"))
    images = Qwen2VLImageProcessorPil.from_pretrained(wemm)

    @torch.no_grad()
    def embed(text: str, *pictures: Image.Image) -> np.ndarray:
        ready = [images(images=[picture], return_tensors="pt") for picture in pictures]
        counts = [int(one["image_grid_thw"].prod()) // 4 for one in ready]
        seen = "".join(f"<|vision_start|>{'<|image_pad|>' * n}<|vision_end|>" for n in counts)
        line = "" if pictures else "\n"  # none before an image
        prompt = f"<|im_start|>user{line}{seen}{text}<|im_end|><embedding>"
        ids = torch.tensor([tokenizer.encode(prompt).ids])
        kinds = (ids == tokenizer.token_to_id("<|image_pad|>")).int()
        pixels = {key: torch.cat([one[key] for one in ready]) for key in ready[0]} if ready else {}
        states = reference(input_ids=ids, mm_token_type_ids=kinds, **pixels).last_hidden_state
        return torch.nn.functional.normalize(states[0, -1], dim=0).numpy()

    return embed


CASES = {
    "text": (Input("two dogs on a beach"), "two dogs on a beach"),
    "long": (Input("the capital of france is paris " * 12), "the capital of france is paris " * 12),
    "image": (Input(images=(NOISE,)), "Represent this image."),
    "both": (Input("make it greener", (TALL,)), "make it greener"),
    "several": (Input("the same house", (NOISE, TALL)), "the same house"),
}


@pytest.mark.parametrize("role", ["query", "document"])
@pytest.mark.parametrize("name", CASES)
def test_vectors_equal_the_recipe(model, recipe, name, role):
    item, text = CASES[name]
    close(model.embed([item], role)[0], recipe(text, *item.images))


def test_batches_equal_single_items(model, recipe):
    items = [item for item, _ in CASES.values()]
    rows = model.embed(items, "document")
    close(rows, [recipe(text, *item.images) for item, text in CASES.values()])


def test_padding_does_not_change_vectors(model, recipe):
    """All texts in one batch, then all images, however different."""
    for has_images in (False, True):
        cases = [case for case in CASES.values() if bool(case[0].images) == has_images]
        ready = [model.backbone.prepare(item, "document", None) for item, _ in cases]
        with torch.inference_mode():
            rows = model.backbone.forward(collated(model.backbone, ready)).numpy()
        close(rows, [recipe(text, *item.images) for item, text in cases])


def test_a_line_break_before_a_special_token_is_dropped(model):
    ready = model.backbone.prepare(Input("two dogs\n", (NOISE,)), "document", None)
    ids = collated(model.backbone, [ready])["0.input_ids"][0]
    read = model.backbone._tokenizer.decode(ids)
    assert read.startswith("<|im_start|>user<|vision_start|>")
    assert read.endswith("two dogs<|im_end|><embedding>")


def test_an_instruction_is_before_the_text(model, recipe):
    given = model.embed([Input("two dogs"), Input(images=(NOISE,))], "query", " find a house ")
    close(given[0], recipe("find a house two dogs"))
    close(given[1], recipe("find a house", NOISE))


def test_foreign_code_never_runs(wemm, model):
    assert type(model.backbone.model).__name__ == "Qwen3_5Model"
    trusting = loaded(wemm, trust_remote_code=True)
    close(trusting.embed([Input("two dogs")], "query"), model.embed([Input("two dogs")], "query"))


def test_what_sentence_transformers_saves_of_it_loads_again(model, tmp_path):
    """As `finetune export` saves it: without the foreign files."""
    out = tmp_path / "out"
    model.backbone.sentence_transformer.save_pretrained(str(out), create_model_card=False)
    assert not list(out.rglob("*.py"))
    items = [item for item, _ in CASES.values()]
    close(loaded(out).embed(items, "document"), model.embed(items, "document"))


@pytest.mark.parametrize("dim", [8, 16])
def test_vectors_are_cut_to_trained_dims(wemm, model, dim):
    whole = model.embed([Input("two dogs"), Input(images=(NOISE,))], "query")[:, :dim]
    cut = loaded(wemm, dim=dim).embed([Input("two dogs"), Input(images=(NOISE,))], "query")
    close(cut, whole / np.linalg.norm(whole, axis=1, keepdims=True))
    with pytest.raises(EmbedderError, match="dim 8, 16, 32, not 24"):
        family.describe(str(wemm), Settings(dim=24))


@pytest.mark.parametrize("token", TOKENS)
def test_a_text_cannot_spell_a_token(model, token):
    ready = model.backbone.prepare(Input(f"a {token} b"), "query", None)
    ids = collated(model.backbone, [ready])["0.input_ids"][0].tolist()
    known = model.backbone._tokenizer.convert_tokens_to_ids(TOKENS)
    assert [token for token in ids if token in known] == [known[1], known[2], known[7]]


def test_a_template_for_chats_is_refused(wemm, tmp_path):
    folder = tmp_path / "wemm"
    folder.mkdir()
    for file in wemm.iterdir():
        if file.name != "embedding_chat_template.jinja":
            (folder / file.name).symlink_to(file)
    with pytest.raises(EmbedderError, match="does not end with <embedding>"):
        loaded(folder)


def test_the_card(wemm):
    card = embedder.describe_model(str(wemm))
    assert (card.family, card.dim, card.matryoshka) == ("sentence_transformer", 32, (8, 16))
    assert (card.modalities, card.composes, card.image_side) == (("text", "image"), True, 256)
