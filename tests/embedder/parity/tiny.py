"""Tiny random models, built anew from a recorded JSON: the same bytes under every library version.

`build(family, folder)` writes a checkpoint as the authors' one lies on disk: old names of tensors,
old configuration, old preprocessor. The weights are drawn from the seed and each tensor's name, so
a fixture holds names and shapes only. `record.py` runs these models under the pinned versions.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

HERE = Path(__file__).parent
FAMILIES = ("e5v", "vlm2vec-qwen2vl", "mme5", "vlm2vec-llava", "vlm2vec-qwen25vl")
SIZES = {  # name: (width, height)
    "square": (96, 96),
    "wide": (180, 70),
    "tall": (66, 170),
    "small": (40, 44),
    "tiny": (20, 33),  # a side below 28
    "large": (330, 250),
}
NARROW = {"narrow": (5700, 28)}  # over 200 times as wide as high


def fixture(family: str) -> dict[str, Any]:
    """The recorded JSON of a family: configuration, names and shapes of tensors, cases."""
    fixed: dict[str, Any] = json.loads((HERE / f"{family}.json").read_text(encoding="utf-8"))
    return fixed


def expected(family: str) -> dict[str, NDArray[Any]]:
    """The recorded arrays: `<case>`, `<case>__batched` float32 [dim], `<case>__ids` int32 [n]."""
    with np.load(HERE / f"{family}.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def weights(tensors: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, NDArray[np.float32]]:
    """Random weights by (seed, name): norms near 1, gates of one number in 0.5-0.9, others 0.08."""
    return {name: _weight(name, tuple(shape), seed) for name, shape in tensors.items()}


def _weight(name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if shape == (1,):  # Mllama's gates: zero would shut the image out
        return (0.5 + 0.4 * rng.random(shape)).astype(np.float32)
    noise = rng.standard_normal(shape)
    if len(shape) == 1 and name.endswith(".weight"):  # LayerNorm, RMSNorm
        return (1 + 0.1 * noise).astype(np.float32)
    return (0.08 * noise).astype(np.float32)


def picture(name: str) -> Image.Image:
    """One of SIZES or NARROW: gradients, a disc, a bar and seeded noise, so that resizing shows."""
    width, height = (SIZES | NARROW)[name]
    rng = np.random.default_rng([7, zlib.crc32(name.encode())])
    y, x = np.mgrid[0:height, 0:width]
    phase = rng.integers(0, 256, size=3)
    planes = [(255 * x // width + phase[0]), (255 * y // height + phase[1]), (3 * x + 2 * y)]
    pixels = np.stack(planes, axis=-1) % 256  # [height, width, 3]
    radius = min(width, height) // 3
    disc = (x - width // 3) ** 2 + (y - height // 2) ** 2 < radius**2
    pixels[disc] = 255 - pixels[disc]
    pixels[height // 5 : height // 4 + 1, width // 2 :] = phase
    pixels = pixels + rng.integers(-24, 25, size=pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def build(family: str, folder: Path) -> Path:
    """Write the family's whole checkpoint into `folder`, and return the folder."""
    from safetensors.numpy import save_file

    fixed = fixture(family)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in fixed["files"].items():
        _write_json(folder / name, content)
    (folder / "tokenizer.json").write_bytes((HERE / f"{family}.tokenizer.json").read_bytes())
    tensors = {name: tuple(shape) for name, shape in fixed["tensors"].items()}
    drawn = weights(tensors, fixed["seed"])
    save_file(drawn, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# Tokenizers: trained once by `record.py`, kept as `<family>.tokenizer.json` ever after.

LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_WORDS = LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")
LESSON = [
    "Summary above sentence in one word: Summary above image in one word: ",
    "A dog sitting in the grass.\nA cat standing in the snow.\nA cat and a tiger.\n",
    "Describe this image in one word: Modify this image with the given caption.\n",
    "Represent the given image with the following question: What is in the image?\n",
    "Find me an everyday image that matches the given caption: a cat and a dog.\n",
    "user\n\nassistant\n\n \n",
    "草むらに座っている犬。雪の中に立つ猫。\n",
    "كلب يجلس على العشب. قطة تقف في الثلج.\n",
]


def byte_level_tokenizer(words: str, special: list[str], bos: str | None) -> dict[str, Any]:
    """A byte-level BPE as JSON, split by the regex `words`; `bos` goes before every text."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(ignore_merges=bos is not None))
    split = pre_tokenizers.Split(Regex(words), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=512, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(LESSON * 8, trainer)
    return _finish(tokenizer, special, bos)


def metaspace_tokenizer(special: list[str]) -> dict[str, Any]:
    """A sentencepiece-like BPE as JSON, as Mistral's: `▁` for a space, bytes for the unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # merges stay within words
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=first, limit_alphabet=60, show_progress=False
    )
    tokenizer.train_from_iterator([line.replace("\n", " ") for line in LESSON * 8], trainer)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    saved = _finish(tokenizer, special, "<s>")
    saved["pre_tokenizer"] = None
    allowed = {"<unk>", "<s>", "</s>", *special}
    saved["added_tokens"] = [
        token for token in saved["added_tokens"] if token["content"] in allowed
    ]
    return saved


def _finish(tokenizer: Tokenizer, special: list[str], bos: str | None) -> dict[str, Any]:
    from tokenizers import AddedToken, processors

    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    level = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    if bos is None:
        tokenizer.post_processor = level
    else:
        template = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A {bos} $B:1",
            special_tokens=[(bos, tokenizer.token_to_id(bos))],
        )
        both = processors.Sequence([level, template])
        tokenizer.post_processor = template if bos == "<s>" else both
    saved: dict[str, Any] = json.loads(tokenizer.to_str())
    if bos is None:
        saved["normalizer"] = {"type": "NFC"}
    merges = saved["model"]["merges"]  # as strings: tokenizers 0.19 reads no pairs
    saved["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in merges]
    return saved
