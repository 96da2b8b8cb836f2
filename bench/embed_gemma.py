"""What lies beside the weights of an EmbeddingGemma 2 with random weights.

As in google/embeddinggemma-2, but for the tokenizer, which is trained here on the words of the
corpus, so that a word costs about one token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from bench.embed_configs import make_module_files
from bench.embed_corpus import SCRIPTS

Json = dict[str, Any]
TOKENS = {
    "image_token": "<|image|>",
    "video_token": "<|video|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}
PROMPTS = {"query": "task: search result | query: ", "document": "title: none | text: "}
TEMPLATE = (  # what the authors' writes: the system's text, then the parts of the user's turn
    "{%- for message in messages -%}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'text' -%}{{- part['text'] -}}"
    "{%- else -%}{{- '<|' + part['type'] + '|>' -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{%- endfor -%}"
)
SOFT_TOKENS = 280  # of an image


def make_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return tokens with their ids, and the merges: special tokens first, then learned ones."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *TOKENS.values()]
    texts = [words for words, _, _ in SCRIPTS] + list(PROMPTS.values())
    trainer = trainers.BpeTrainer(vocab_size=1000, special_tokens=special, show_progress=False)
    learner.train_from_iterator([text.replace(" ", "▁") for text in texts], trainer)
    learned = json.loads(learner.to_str())["model"]
    return learned["vocab"], [tuple(pair) for pair in learned["merges"]]


def write_gemma_files(folder: Path, dim: int) -> Json:
    """Write the tokenizer, and return the content of the other files by their names."""
    from transformers import Gemma4AudioFeatureExtractor, GemmaTokenizer

    vocabulary, merges = make_vocabulary()
    GemmaTokenizer(
        vocab=vocabulary,
        merges=merges,
        add_bos_token=True,
        add_eos_token=True,
        padding_side="right",
        extra_special_tokens=TOKENS,
        chat_template=TEMPLATE,
        model_max_length=8192,
    ).save_pretrained(folder)
    hearing = json.loads(Gemma4AudioFeatureExtractor().to_json_string())
    pictures = {"image_processor_type": "Gemma4ImageProcessor", "do_normalize": False}
    pictures |= {"max_soft_tokens": SOFT_TOKENS, "image_seq_length": SOFT_TOKENS}
    pictures |= {"patch_size": 16, "pooling_kernel_size": 3, "do_convert_rgb": True}
    pictures |= {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "resample": 3}
    return {
        "preprocessor_config.json": hearing,
        "processor_config.json": {
            "processor_class": "EmbeddingGemma2Processor",
            "image_seq_length": SOFT_TOKENS,
            "feature_extractor": hearing,
            "image_processor": pictures,
        },
        **make_module_files(
            dim,
            "mean",
            ("text", "image", "audio", "video"),
            {"prompts": PROMPTS, "default_prompt_name": None},
        ),
    }
