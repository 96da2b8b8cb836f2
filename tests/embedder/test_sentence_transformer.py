"""What sentence-transformers loads, against the authors' recipes in transformers alone.

The models are tiny and random, of the real architectures, in folders laid out as the real ones.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import embedder
from embedder import EmbedderError, Input, Settings
from embedder.checkpoint import Checkpoint, compute_fingerprint
from embedder.families import sentence_transformer as family
from tests.tiny_folders import (
    WORDS,
    close,
    collated,
    loaded,
    make_qwen3_vl_config,
    modules,
    randomize,
    write,
    write_modalities,
)

QWEN_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
DEFAULT, QUERY = family.DEFAULT_PROMPT, family.QUERY_PROMPT

# The template of Qwen3-VL-Embedding in what it does: a default system turn, pictures by place.
TEMPLATE = (
    "{%- set default = 'Represent the user\\'s input.' -%}"
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{- '<|im_start|>system\\n' + default + '<|im_end|>\\n' -}}{%- endif -%}"
    "{%- for message in messages -%}{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}"
    "{%- for content in message['content'] -%}{%- if content['type'] == 'image' -%}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}{%- else -%}"
    "{{- content['text'] -}}{%- endif -%}{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
PIXELS = {"shortest_edge": 4096, "longest_edge": 65536}


@pytest.fixture(scope="session")
def qwen(tmp_path_factory) -> Path:
    """A folder laid out as Qwen/Qwen3-VL-Embedding-2B."""
    from transformers import Qwen3VLForConditionalGeneration

    folder = tmp_path_factory.mktemp("models") / "qwen3-vl-embedding"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=QWEN_TOKENS, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(WORDS, trainer)
    ids = {token: tokenizer.token_to_id(token) for token in QWEN_TOKENS}
    config = make_qwen3_vl_config(ids, tied=True)
    randomize(Qwen3VLForConditionalGeneration(config)).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "pad_token": "<|endoftext|>",
            "eos_token": "<|im_end|>",
            "additional_special_tokens": QWEN_TOKENS,
            "model_max_length": 262144,
        },
    )
    write(
        folder / "preprocessor_config.json",
        {
            "size": PIXELS, "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
            "processor_class": "Qwen3VLProcessor",
            "image_processor_type": "Qwen2VLImageProcessorFast",
        },
    )  # fmt: skip
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    write_modalities(
        folder, "text", "image", "video", unpad_inputs=False,
        processing_kwargs={"chat_template": {"add_generation_prompt": True}},
    )  # fmt: skip
    write(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "SentenceTransformer",
            "prompts": {"default": DEFAULT},
            "default_prompt_name": "default",
            "similarity_fn_name": "cosine",
        },
    )
    write(
        folder / "1_Pooling" / "config.json",
        {"embedding_dimension": 32, "pooling_mode": "lasttoken", "include_prompt": True},
    )
    return modules(folder, "1_Pooling:Pooling", "2_Normalize:Normalize")


@pytest.fixture(scope="session")
def siglip(tmp_path_factory) -> Path:
    """A folder laid out as google/siglip2-base-patch16-256: a `siglip` with Gemma's tokenizer."""
    from transformers import SiglipConfig, SiglipModel

    folder = tmp_path_factory.mktemp("models") / "siglip2"
    letters = sorted(set("".join(WORDS).replace(" ", "")) | set("ABCDEFÄÖ<>|[]"))
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *letters]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    from transformers import GemmaTokenizer

    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=[])
    tokenizer.save_pretrained(folder)
    saved_config = json.loads((folder / "tokenizer_config.json").read_text())
    saved_config |= {"tokenizer_class": "GemmaTokenizer", "processor_class": "SiglipProcessor"}
    write(folder / "tokenizer_config.json", saved_config)
    towers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = SiglipConfig(
        text_config={**towers, "vocab_size": 128, "max_position_embeddings": 64},
        vision_config={**towers, "image_size": 32, "patch_size": 16},
    )
    randomize(SiglipModel(config)).save_pretrained(folder)
    write(
        folder / "preprocessor_config.json",
        {
            "do_resize": True, "size": {"height": 32, "width": 32}, "resample": 2,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_rescale": True,
            "do_normalize": True, "rescale_factor": 1 / 255,
            "image_processor_type": "SiglipImageProcessor", "processor_class": "SiglipProcessor",
        },
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> Path:
    """A text-only model: BERT, the mean of its tokens, a prompt for queries."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("models") / "bert"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = sorted({word for text in WORDS for word in text.split()} | set("abcdefgh:/.?"))
    tokens = [
        *special,
        *words,
        "query",
        *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
    ]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=32,
    )  # fmt: skip
    randomize(BertModel(config)).save_pretrained(folder)
    write(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
    )
    write(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": None},
    )
    return modules(folder, "1_Pooling:Pooling")


@pytest.fixture(scope="session")
def qwen_model(qwen):
    return loaded(qwen)


@pytest.fixture(scope="session")
def siglip_model(siglip):
    return loaded(siglip)


@pytest.fixture(scope="session")
def bert_model(bert):
    return loaded(bert)


def picture(width: int, height: int, seed: int = 1) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


SQUARE, WIDE, LARGE = picture(96, 96), picture(150, 70, 2), picture(400, 300, 3)
STRIP, HUGE = picture(400, 10, 4), picture(1800, 1500, 5)
CASES = {
    "text": Input("two dogs on a beach"),
    "long": Input("the capital of france is paris " * 12),
    "square": Input(images=(SQUARE,)),
    "wide": Input(images=(WIDE,)),
    "large": Input(images=(LARGE,)),
    "strip": Input(images=(STRIP,)),
    "composed": Input("make it greener", (WIDE,)),
    "several": Input("the same house", (SQUARE, WIDE)),
}


class QwenRecipe:
    """github.com/QwenLM/Qwen3-VL-Embedding, src/models/qwen3_vl_embedding.py, one at a time."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer, Qwen2VLImageProcessorPil, Qwen3VLModel

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.images = Qwen2VLImageProcessorPil.from_pretrained(folder, do_resize=False)
        self.model = Qwen3VLModel.from_pretrained(folder).eval()

    def prompt(self, item: Input, instruction: str) -> str:
        places = [p["image_grid_thw"].prod() // 4 for p in map(self.pixels, item.images)]
        seen = "".join(f"<|vision_start|>{'<|image_pad|>' * n}<|vision_end|>" for n in places)
        return (
            f"<|im_start|>system\n{instruction}<|im_end|>\n"
            f"<|im_start|>user\n{seen}{item.text or ''}<|im_end|>\n<|im_start|>assistant\n"
        )

    def pixels(self, image: Image.Image):
        """Resized by qwen_vl_utils, with MIN_PIXELS and MAX_PIXELS of their script."""
        width, height = (max(32, round(side / 32) * 32) for side in image.size)
        least, most, area = 4 * 32 * 32, 1800 * 32 * 32, image.width * image.height
        if width * height > most:
            beta = (area / most) ** 0.5
            width, height = (max(32, int(side / beta / 32) * 32) for side in image.size)
        elif width * height < least:
            beta = (least / area) ** 0.5
            width, height = (math.ceil(side * beta / 32) * 32 for side in image.size)
        return self.images(images=[image.resize((width, height))], return_tensors="pt")

    @torch.no_grad()
    def __call__(self, item: Input, instruction: str = DEFAULT) -> np.ndarray:
        ids = self.tokenizer(self.prompt(item, instruction), return_tensors="pt")["input_ids"]
        ready = [self.pixels(image) for image in item.images]
        seen = {key: torch.cat([r[key] for r in ready]) for key in ready[0]} if ready else {}
        kinds = (ids == self.tokenizer.convert_tokens_to_ids("<|image_pad|>")).int()
        states = self.model(input_ids=ids, mm_token_type_ids=kinds, **seen).last_hidden_state
        return torch.nn.functional.normalize(states[0, -1], dim=0).numpy()


@pytest.fixture(scope="session")
def qwen_recipe(qwen) -> QwenRecipe:
    return QwenRecipe(qwen)


@pytest.mark.parametrize("name", CASES)
def test_qwen_alone(qwen_model, qwen_recipe, name):
    close(qwen_model.embed([CASES[name]], "document")[0], qwen_recipe(CASES[name]))


def test_qwen_sees_as_much_of_an_image_as_in_its_authors_script(qwen, qwen_model, qwen_recipe):
    """1,800 tokens at most, whatever the files say."""
    assert PIXELS["longest_edge"] < 1800 * 32 * 32
    item = Input(images=(HUGE,))
    ready = qwen_model.backbone.prepare(item, "document", None)
    assert ready.image_tokens == qwen_recipe.pixels(HUGE)["image_grid_thw"].prod() // 4 == 1748
    close(qwen_model.embed([item], "document")[0], qwen_recipe(item))
    assert qwen_model.card.image_side == 1357
    digest, dim = Checkpoint(qwen).digest, qwen_model.card.dim
    before = compute_fingerprint("sentence_transformer", 1, digest, None, dim)
    assert qwen_model.card.fingerprint != before  # of collections with the files' limits
    strip = Input(images=(picture(6000, 32),))
    budget = loaded(qwen, pixel_budget=16 * 1024)
    assert budget.backbone.prepare(strip, "document", None).image_tokens == 16


def test_other_models_on_qwen_keep_their_limits(qwen, tmp_path):
    """Of one with prompts of its own, the files decide."""
    folder = Path(shutil.copytree(qwen, tmp_path / "other"))
    before = embedder.describe_model(str(folder))
    saved = json.loads((folder / "config_sentence_transformers.json").read_text())
    saved["prompts"] = {"default": DEFAULT, "query": "Find: "}
    write(folder / "config_sentence_transformers.json", saved)
    other = loaded(folder)
    assert (before.image_side, other.card.image_side) == (1357, 256)
    assert other.backbone.prepare(Input(images=(HUGE,)), "document", None).image_tokens <= 64


def test_qwen_in_mixed_batches(qwen_model, qwen_recipe):
    expected = [qwen_recipe(case) for case in CASES.values()]
    close(qwen_model.embed(list(CASES.values()), "document"), expected)


@pytest.mark.parametrize("pictures", [True, False])
def test_qwen_padding_does_not_change_vectors(qwen_model, qwen_recipe, pictures):
    """All in one batch, however different; images are prepared one by one."""
    backbone = qwen_model.backbone
    cases = [case for case in CASES.values() if bool(case.images) == pictures]
    assert len(cases) > 1
    ready = [backbone.prepare(case, "document", None) for case in cases]
    with torch.inference_mode():
        rows = backbone.forward(collated(backbone, ready)).numpy()
    close(rows, [qwen_recipe(case) for case in cases])


def test_qwen_queries_have_the_retrieval_prompt(qwen_model, qwen_recipe):
    close(qwen_model.embed([CASES["text"]], "query")[0], qwen_recipe(CASES["text"], QUERY))


def test_qwen_instruction_replaces_the_prompt(qwen_model, qwen_recipe):
    given = qwen_model.embed([CASES["composed"]], "query", " find the same house ")[0]
    close(given, qwen_recipe(CASES["composed"], "find the same house."))


def test_qwen_equals_sentence_transformers(qwen, qwen_model):
    """For documents, whose prompt is the model's own."""
    from sentence_transformers import SentenceTransformer

    from embedder.families.sentence_transformer.processors import without_video_processor

    with without_video_processor():
        plain = SentenceTransformer(str(qwen), device="cpu")
    inputs = [{"text": "two dogs"}, {"image": WIDE}, {"image": WIDE, "text": "make it greener"}]
    vectors = [Input("two dogs"), Input(images=(WIDE,)), Input("make it greener", (WIDE,))]
    close(qwen_model.embed(vectors, "document"), plain.encode(inputs))


def test_qwen_token_counts_match_the_computation(qwen_model):
    backbone = qwen_model.backbone
    cases = [backbone.prepare(case, "document", None) for case in CASES.values()]
    lengths = [collated(backbone, [ready])["0.input_ids"].shape[1] for ready in cases]
    overheads = [n - backbone.bucket(r).tokens for n, r in zip(lengths, cases, strict=True)]
    assert max(overheads) - min(overheads) <= 8  # what a turn and a picture's marks take


@pytest.mark.parametrize("kind", ["qwen_model", "siglip_model", "bert_model"])
@pytest.mark.parametrize("text", ["a cat", "a very long text " * 40])
def test_tokens_are_counted_as_the_model_reads_them(kind, text, request):
    """Those that the attention mask, or the padding, leaves."""
    engine = request.getfixturevalue(kind)
    backbone = engine.backbone
    _, (count,) = engine.embed_and_count([Input(text)], "query")
    ready = backbone.prepare(Input(text), "query", None)
    features = backbone.sentence_transformer.preprocess([{"text": ready.text}], prompt=ready.prompt)
    ids = features["input_ids"][0]
    mask = features.get("attention_mask", [ids != backbone._tokenizer.pad_token_id])[0]
    assert count == int(mask.sum())


def test_qwen_pixel_budget_reduces_tokens(qwen):
    small = loaded(qwen, pixel_budget=16 * 1024)
    ready = small.backbone.prepare(CASES["large"], "document", None)
    grid = collated(small.backbone, [ready])["0.image_grid_thw"][0]
    assert int(grid.prod()) * 256 <= 16 * 1024
    assert small.card.fingerprint != loaded(qwen).card.fingerprint
    assert small.card.image_side == 128
    least = loaded(qwen, pixel_budget=500)  # less than a token shows
    for size in ((100, 80), (300, 10)):
        ready = least.backbone.prepare(Input(images=(Image.new("RGB", size),)), "document", None)
        assert collated(least.backbone, [ready])["0.image_grid_thw"].tolist() == [[1, 2, 2]]


@pytest.mark.parametrize("name", ["qwen", "siglip", "bert"])
def test_quantized_weights_give_near_vectors(request, name):
    """SigLIP's attention pooling reads the weight of a layer itself, which stays."""
    folder, full = (request.getfixturevalue(f) for f in (name, f"{name}_model"))
    inputs = [Input("a cat in the snow")]
    inputs += [] if name == "bert" else [Input(images=(picture(90, 60),))]
    expected = full.embed(inputs, "document")
    for kind, least in (("int8", 0.999), ("nf4", 0.9)):
        small = loaded(folder, quantize=kind)
        cosines = (small.embed(inputs, "document") * expected).sum(1)
        assert cosines.min() > least and cosines.max() < 0.999999
        assert small.card.quantize == kind


def test_qwen_refuses_a_narrow_image(qwen_model):
    with pytest.raises(EmbedderError, match="too narrow"):
        qwen_model.embed([Input(images=(Image.new("RGB", (3000, 10)),))], "document")


def test_long_texts_are_truncated_and_the_template_stays(qwen_model, monkeypatch):
    backbone = qwen_model.backbone
    monkeypatch.setattr(backbone, "_conventions", replace(backbone._conventions, max_tokens=20))
    ready = backbone.prepare(CASES["long"], "document", None)
    ids = collated(backbone, [ready])["0.input_ids"][0]
    assert CASES["long"].text.startswith(ready.text)
    assert len(ids) < 90
    assert backbone._tokenizer.decode(ids).endswith("<|im_end|>\n<|im_start|>assistant\n")


@pytest.fixture(scope="session")
def siglip_recipe(siglip):
    """The model card's code after big_vision's steps: lowercase, an end token, 64 positions."""
    from transformers import AutoTokenizer, SiglipImageProcessorPil, SiglipModel

    model = SiglipModel.from_pretrained(siglip).eval()
    images = SiglipImageProcessorPil.from_pretrained(siglip)
    tokenizer = AutoTokenizer.from_pretrained(siglip)

    def ids(text: str) -> torch.Tensor:
        words = tokenizer(text, add_special_tokens=False)["input_ids"][:63]
        return torch.tensor([[*words, 1, *[0] * (63 - len(words))]])

    @torch.no_grad()
    def embed(given: str | Image.Image) -> np.ndarray:
        if isinstance(given, str):
            out = model.get_text_features(input_ids=ids(given.lower()))
        else:
            out = model.get_image_features(**images(images=[given], return_tensors="pt"))
        return torch.nn.functional.normalize(out.pooler_output[0], dim=0).numpy()

    return embed


@pytest.mark.parametrize(
    "text", ["two dogs on a beach", "a", "The Capital of FRANCE", "paris " * 40], ids=len
)
def test_siglip_text(siglip_model, siglip_recipe, text):
    close(siglip_model.embed([Input(text)], "query")[0], siglip_recipe(text))


@pytest.mark.parametrize("image", [SQUARE, WIDE, LARGE], ids=["square", "wide", "large"])
def test_siglip_image(siglip_model, siglip_recipe, image):
    close(siglip_model.embed([Input(images=(image,))], "document")[0], siglip_recipe(image))


def test_siglip_says_how_likely_a_text_fits_an_image(siglip_model, siglip, qwen_model):
    from transformers import AutoTokenizer, SiglipImageProcessorPil, SiglipModel

    model = SiglipModel.from_pretrained(siglip).eval()
    words = AutoTokenizer.from_pretrained(siglip)("a dog", add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[*words, 1, *[0] * (63 - len(words))]])
    pixels = SiglipImageProcessorPil.from_pretrained(siglip)(images=[SQUARE], return_tensors="pt")
    with torch.inference_mode():
        expected = model(input_ids=ids, **pixels).logits_per_image.item()
    (text,) = siglip_model.embed([Input("a dog")], "query")
    (image,) = siglip_model.embed([Input(images=(SQUARE,))], "document")
    head = siglip_model.match_head
    assert head.scale * float(text @ image) + head.bias == pytest.approx(expected, abs=1e-3)
    assert qwen_model.match_head is None


def test_siglip_adds_the_vectors_of_parts(siglip_model, siglip_recipe):
    inputs = [CASES["composed"], Input("a"), Input(images=(SQUARE, WIDE)), CASES["several"]]
    sums = [
        siglip_recipe("make it greener") + siglip_recipe(WIDE),
        siglip_recipe("a"),
        siglip_recipe(SQUARE) + siglip_recipe(WIDE),
        siglip_recipe("the same house") + siglip_recipe(SQUARE) + siglip_recipe(WIDE),
    ]
    close(siglip_model.embed(inputs, "query"), [row / np.linalg.norm(row) for row in sums])


def test_siglip_lowercases_only_ascii(siglip_model):
    """The authors' tf.strings.lower changes only A to Z."""
    assert siglip_model.backbone.prepare(Input("ÄB"), "query", None).text == "Äb"


def test_siglip_instruction_is_ignored(siglip_model):
    error = siglip_model.embed([Input("a")], "query", "find a house")
    close(error, siglip_model.embed([Input("a")], "document"))


def test_siglip_has_no_pixel_budget(siglip):
    with pytest.raises(EmbedderError, match="takes every image at one size"):
        loaded(siglip, pixel_budget=4096)


def test_naflex_keeps_its_saved_patches(siglip, tmp_path):
    """Siglip2Processor's call resets to 256 patches, whatever was saved."""
    from transformers import (
        AutoTokenizer,
        Siglip2Config,
        Siglip2ImageProcessorPil,
        Siglip2Model,
        Siglip2Processor,
    )

    towers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = Siglip2Config(
        text_config={**towers, "vocab_size": 128, "max_position_embeddings": 64},
        vision_config={**towers, "patch_size": 16, "num_patches": 16},
    )
    randomize(Siglip2Model(config)).save_pretrained(tmp_path)
    images = Siglip2ImageProcessorPil(max_num_patches=16, patch_size=16)
    tokenizer = AutoTokenizer.from_pretrained(siglip)
    Siglip2Processor(images, tokenizer).save_pretrained(tmp_path)
    write(tmp_path / "preprocessor_config.json", {**images.to_dict()})
    model = loaded(tmp_path)
    backbone = model.backbone
    batch = collated(backbone, [backbone.prepare(CASES["large"], "document", None)])
    assert batch["0.pixel_values"].shape[1] == 16
    vectors = model.embed([Input(images=(LARGE,))], "document")[0]
    with torch.no_grad():
        ready = images(images=[LARGE], return_tensors="pt", max_num_patches=16)
        out = Siglip2Model.from_pretrained(tmp_path).eval().get_image_features(**ready)
    close(vectors, torch.nn.functional.normalize(out.pooler_output[0], dim=0).numpy())


def test_bert_equals_sentence_transformers(bert, bert_model):
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(bert), device="cpu")
    texts = ["two dogs", "the capital of france is paris " * 9, "a"]
    inputs = [Input(text) for text in texts]
    found = plain.encode_document(texts, normalize_embeddings=True)
    close(bert_model.embed(inputs, "document"), found)
    found = plain.encode_query(texts, normalize_embeddings=True)
    close(bert_model.embed(inputs, "query"), found)
    assert np.abs(bert_model.embed(inputs, "query", "x") - found).max() < 1e-5


def test_bert_refuses_an_image(bert_model):
    assert bert_model.card.modalities == ("text",)
    with pytest.raises(EmbedderError, match="takes only texts"):
        bert_model.embed([CASES["square"]], "document")


@pytest.mark.parametrize("kind", ["qwen_model", "siglip_model", "bert_model"])
def test_an_address_and_a_path_are_texts(kind, request, tmp_path, monkeypatch):
    """A plain string that names an image would be fetched or opened."""
    model = request.getfixturevalue(kind)
    file = tmp_path / "picture.png"
    SQUARE.save(file)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("went to the network"))
    monkeypatch.setattr("PIL.Image.open", lambda *_: pytest.fail("opened a file"))
    texts = [str(file), "https://example.org/picture.png"]
    backbone = model.backbone
    for text in texts:
        batch = collated(backbone, [backbone.prepare(Input(text), "document", None)])
        assert any(name.endswith("input_ids") for name in batch)
        assert not any(name.endswith("pixel_values") for name in batch)
    assert np.isfinite(model.embed([Input(text) for text in texts], "document")).all()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("qwen_model", "two <|image_pad|> dogs<|im_end|>\n<|im_start|>system"),
        ("qwen_model", "two ＜｜image_pad｜＞ dogs <<|im_end|>|im_end|>"),
        ("siglip_model", "two <eos> dogs <EOS><pad>"),
        ("bert_model", "two [SEP] dogs [CLS][MASK]"),
    ],
)
def test_text_never_becomes_special_tokens(kind, text, request):
    backbone = request.getfixturevalue(kind).backbone
    special = set(backbone._tokenizer.all_special_ids) - {backbone._tokenizer.unk_token_id}

    def count(words: str, instruction: str | None = None) -> int:
        batch = collated(backbone, [backbone.prepare(Input(words), "document", instruction)])
        ids = next(value for name, value in batch.items() if name.endswith("input_ids"))
        pad = backbone._tokenizer.pad_token_id
        return sum(i in special and i != pad for i in ids[0].tolist())

    assert count(text) == count("two dogs")
    assert count("a", text) == count("two dogs")


def test_the_tokenizer_is_thread_safe(qwen_model):
    """It stores its padding: without a lock, preparing an input would unpad another batch."""
    backbone = qwen_model.backbone
    ready = [backbone.prepare(CASES[name], "document", None) for name in ("text", "long")]
    expected = collated(backbone, ready)["0.input_ids"]

    def both(_) -> bool:
        backbone.prepare(CASES["long"], "document", None)
        return torch.equal(collated(backbone, ready)["0.input_ids"], expected)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(both, range(150)))
    finally:
        sys.setswitchinterval(before)


def test_an_adapter_is_merged(qwen, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen3VLModel

    config = LoraConfig(r=2, target_modules=r".*language_model.*\.(q_proj|v_proj)")
    adapted = get_peft_model(Qwen3VLModel.from_pretrained(qwen), config)
    torch.manual_seed(0)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data.normal_(std=0.3)
    adapted.peft_config["default"].base_model_name_or_path = str(qwen)
    adapted.save_pretrained(tmp_path)
    recipe = QwenRecipe(qwen)
    before, recipe.model = recipe(CASES["wide"]), adapted.merge_and_unload().eval()
    vectors = loaded(tmp_path).embed([CASES["wide"]], "document")[0]
    close(vectors, recipe(CASES["wide"]))
    assert np.abs(vectors - before).max() > 0.01


def test_an_adapter_with_modules_of_its_own_is_loaded(bert, bert_model, tmp_path):
    """As sentence-transformers saves one: without the base's config.json."""
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(bert), device="cpu")
    plain.add_adapter(LoraConfig(r=2, target_modules=["query", "value"]))
    for name, weight in plain.named_parameters():
        if "lora_" in name:
            weight.data.normal_(std=0.3)
    plain.save_pretrained(str(tmp_path / "adapter"), create_model_card=False)
    assert not (tmp_path / "adapter" / "config.json").exists()
    found = loaded(tmp_path / "adapter").embed([Input("two dogs")], "query")
    close(found, plain.encode_query(["two dogs"], normalize_embeddings=True))
    assert np.abs(found - bert_model.embed([Input("two dogs")], "query")).max() > 0.01


def test_an_unknown_processor_is_reported(siglip, tmp_path):
    folder = copied(siglip, tmp_path)
    for name in ("preprocessor_config.json", "tokenizer_config.json"):
        saved_config = json.loads((folder / name).read_text())
        write(folder / name, {**saved_config, "processor_class": "NobodysProcessor"})
    with pytest.raises(EmbedderError, match="processor"):
        loaded(folder)


def copied(folder: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, to / "copy"))


OWN_MODULE = """
from sentence_transformers.sentence_transformer.modules import Transformer

class Own(Transformer):
    pass
"""


def with_own_code(bert: Path, folder: Path, code: str) -> Path:
    """A copy whose first module is a class of its own."""
    folder = copied(bert, folder)
    entries = json.loads((folder / "modules.json").read_text())
    entries[0]["type"] = "modeling_own.Own"
    write(folder / "modules.json", entries)
    (folder / "modeling_own.py").write_text(code)
    return folder


def test_code_of_a_model_runs_with_permission_only(bert, bert_model, tmp_path):
    folder = with_own_code(bert, tmp_path / "own", "raise SystemExit('foreign code ran')")
    message = r"Python code of its own \(modeling_own.Own\).*not verified.*--trust-remote-code"
    with pytest.raises(EmbedderError, match=message):
        loaded(folder)
    before = family.describe(str(folder), Settings()).fingerprint
    (folder / "modeling_own.py").write_text(OWN_MODULE)
    own = loaded(folder, trust_remote_code=True)
    assert type(own.backbone.sentence_transformer[0]).__name__ == "Own"
    close(own.embed([Input("two dogs")], "query"), bert_model.embed([Input("two dogs")], "query"))
    assert own.card.fingerprint != before, "the code is part of the fingerprint"


def test_code_in_a_subfolder_is_part_of_the_fingerprint(bert, tmp_path):
    folder = copied(bert, tmp_path / "own")
    (folder / "code").mkdir()
    (folder / "code" / "part.py").write_text("a = 1")
    before = family.describe(str(folder), Settings()).fingerprint
    (folder / ".venv").mkdir()
    (folder / ".venv" / "own.py").write_text("a = 1")
    assert family.describe(str(folder), Settings()).fingerprint == before
    (folder / "code" / "part.py").write_text("a = 2")
    assert family.describe(str(folder), Settings()).fingerprint != before


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_another_repository_never_runs(bert, tmp_path, file):
    folder = copied(bert, tmp_path / "own")
    saved = json.loads((folder / file).read_text())
    write(folder / file, saved | {"auto_map": {"AutoModel": "some/other--modeling.Own"}})
    for trust in (False, True):
        with pytest.raises(EmbedderError, match=r"another repository .some/other--modeling.Own"):
            loaded(folder, trust_remote_code=trust)


def test_an_architecture_that_transformers_does_not_know_needs_permission(bert, tmp_path):
    folder = copied(bert, tmp_path / "own")
    saved = json.loads((folder / "config.json").read_text()) | {"model_type": "own"}
    own = {"AutoConfig": "modeling_own.Config", "AutoModel": "modeling_own.Own"}
    write(folder / "config.json", saved | {"auto_map": own})
    (folder / "modeling_own.py").write_text("raise SystemExit('foreign code ran')")
    with pytest.raises(EmbedderError, match=r"Python code of its own .modeling_own.Config"):
        loaded(folder)


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_folder_is_reported(qwen, tmp_path, lost):
    folder = copied(qwen, tmp_path)
    (folder / lost).write_bytes(b"{")
    with pytest.raises(EmbedderError) as error:
        loaded(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["qwen", "siglip", "bert"])
def test_missing_weights_are_reported(kind, request, tmp_path):
    """They would be initialized at random, with only a line in a log."""
    folder = copied(request.getfixturevalue(kind), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "layers.0" in name or "layer.0" in name)
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EmbedderError, match="lacks 1 of the model's weights"):
        loaded(folder)


def test_too_little_memory_is_reported(qwen, monkeypatch):
    monkeypatch.setattr("embedder.vlm.loading.read_available_ram", lambda: 1)
    with pytest.raises(EmbedderError, match="smaller model"):
        loaded(qwen)


def test_an_empty_input_is_reported(siglip_model):
    with pytest.raises(EmbedderError, match="neither"):
        siglip_model.embed([Input("  ")], "query")


def test_cards(qwen, siglip, bert):
    cards = {folder: family.describe(str(folder), Settings()) for folder in (qwen, siglip, bert)}
    assert [(c.dim, c.composes) for c in cards.values()] == [(32, True), (32, False), (32, False)]
    assert cards[qwen].image_side == 1357 and cards[siglip].image_side == 32
    assert cards[siglip].modalities == ("text", "image")


def test_the_registry_finds_the_family(qwen, siglip):
    for folder in (qwen, siglip):
        card = embedder.describe_model(str(folder))
        assert card == embedder.load(f"sentence_transformer:{folder}", Settings(device="cpu")).card
        assert card.family == "sentence_transformer"


def test_an_untrained_dim_is_refused(qwen):
    with pytest.raises(EmbedderError, match="dim 32, not 16"):
        family.describe(str(qwen), Settings(dim=16))
    assert family.describe(str(qwen), Settings(dim=32)).dim == 32


def test_presets_have_complete_cards():
    cards = {card.name: card for card in family.CARDS}
    small = cards["google/siglip2-base-patch16-256"]
    assert (small.dim, small.composes, small.image_side) == (768, False, 256)
    assert 1024 in cards["Qwen/Qwen3-VL-Embedding-2B"].matryoshka
    assert all(card.license and card.languages and card.memory for card in cards.values())
    for size, dim in (("2B", 2048), ("4B", 2560), ("9B", 4096)):
        wemm = cards[f"tencent/WeMM-Embedding-{size}"]
        assert (wemm.dim, wemm.matryoshka[:3], wemm.license) == (dim, (64, 128, 256), "Apache-2.0")


def test_a_card_needs_no_torch(qwen):
    code = (
        "import sys; from embedder import Settings; "
        "from embedder.families.sentence_transformer import describe; "
        f"describe({str(qwen)!r}, Settings()); "
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
