"""What reranking costs: `python -m bench.rerank [--texts 50] [--images 2]`.

Models of published shapes with random weights: their scores mean nothing, their time is that of the
real ones. The time is that of `Reranker.score` on all cores together, after one call to warm up, so
that other work on the machine does not count; memory is the most that the process held.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench import embed_configs
from bench.report import publish, render_table
from bench.resource_usage import measure_usage
from embedder import Input, Reranker, Settings, load_reranker

WORDS = (
    *("a", "the", "red", "blue", "old", "small", "dog", "cat", "boat", "house"),
    *("on", "in", "with", "near", "two", "under", "sky", "snow"),
)
CAPTION_WORDS = 12
PIXEL_BUDGET = 250_000
PICTURE = (1024, 768)
QUERY = Input("a small dog near the old house")


def make_minilm(folder: Path) -> Reranker:
    """A cross encoder of the shape of ms-marco-MiniLM-L6: 22.7 million parameters."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    tokens += [f"[unused{n}]" for n in range(30_522 - len(tokens))]
    vocabulary = {token: n for n, token in enumerate(tokens)}
    BertTokenizer(vocab=vocabulary, model_max_length=512).save_pretrained(folder)
    shape = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6}
    config = BertConfig(vocab_size=30_522, num_attention_heads=12, num_labels=1, **shape)
    BertForSequenceClassification(config).save_pretrained(folder)
    return load_reranker(str(folder), device="cpu")


def make_qwen(folder: Path) -> Reranker:
    """Qwen3-VL-Reranker-2B, without a file of its weights."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    from embedder.rerankers.qwen3_vl import CARDS, MIN_PIXELS, Qwen3VLPairs
    from embedder.vlm.prompts import PromptTokenizer
    from embedder.vlm.qwen3_vl import Qwen3VL

    tokenizer = make_tokenizer()
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2})
    )
    shape: dict[str, Any] = embed_configs.qwen3("full")
    config = Qwen3VLConfig(
        text_config=shape["text_config"],
        vision_config=shape["vision_config"],
        image_token_id=tokenizer.token_to_id("<|image_pad|>"),
        vision_start_token_id=tokenizer.token_to_id("<|vision_start|>"),
        tie_word_embeddings=True,
    )
    with torch.no_grad():
        model: Any = Qwen3VLForConditionalGeneration._from_config(config, dtype=torch.float32)
        model.eval().requires_grad_(False)
        direction = model.lm_head.weight[1] - model.lm_head.weight[0]
    architecture = Qwen3VL(model.model, folder, MIN_PIXELS, PIXEL_BUDGET)
    pairs = Qwen3VLPairs(CARDS[0], architecture, PromptTokenizer(tokenizer), direction)
    return Reranker(pairs, Settings(device="cpu"))


def make_tokenizer() -> Any:
    """A byte-level one without merges: a caption has four to five times the tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2_000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    prompt = "Judge whether the Document meets the requirements based on the Query and the Instruct"
    tokenizer.train_from_iterator([prompt, " ".join(WORDS)], trainer)
    return tokenizer


def measure(reranker: Reranker, candidates: list[Input]) -> list[object]:
    """Hits, processor seconds, the most memory."""
    reranker.score(QUERY, candidates[:1])
    usage = measure_usage(lambda: reranker.score(QUERY, candidates), torch.device("cpu"))
    return [len(candidates), f"{usage.cpu:.1f}", f"{usage.memory:,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=50)
    parser.add_argument("--images", type=int, default=2, help="0: without Qwen3-VL-Reranker")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    texts = [Input(" ".join(random.choice(WORDS, CAPTION_WORDS))) for _ in range(options.texts)]
    rows = []
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
        minilm = make_minilm(Path(scratch))
        rows.append(["cross encoder, MiniLM-L6, captions of 12 words", *measure(minilm, texts)])
    if options.images:
        with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
            pixels = random.integers(0, 256, (*PICTURE[::-1], 3), dtype=np.uint8)
            pictures = [Input(images=(Image.fromarray(pixels),))] * options.images
            name = f"Qwen3-VL-Reranker-2B, pictures of {PIXEL_BUDGET // 1000}k pixels"
            rows.append([name, *measure(make_qwen(Path(scratch)), pictures)])
    head = ["float32 on the CPU, random weights", "hits", "processor s", "memory, MB"]
    body = render_table(head, rows) + (
        "\n\nProcessor seconds are of all cores together: on an idle machine, divide them by its "
        "cores. Reading the pictures, and loading the model, come on top. No quality was measured."
    )
    publish("Reranking", body, write=options.write)


if __name__ == "__main__":
    main()
