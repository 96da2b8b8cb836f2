"""The whole recipe: from packages to the head that the repository ships."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from embedder import starter_card
from embedder.starter import Head
from embedder.starter_text import Lexicon, unit
from embedder.starter_vision import TOWERS
from finetune.starter.annotations import Annotations, read_annotations
from finetune.starter.classes import ClassName, read_classes
from finetune.starter.evaluate import Recall, mean_of_others, recall
from finetune.starter.features import Seen, Texts, see
from finetune.starter.lexicon import make_lexicon, read_english, write_lexicon
from finetune.starter.pictures import (
    HELD_VENDOR,
    VENDORS,
    clipart_pictures,
    emoji_pictures,
    gcompris_pictures,
    held_emoji,
    stamp_pictures,
)
from finetune.starter.sources import fetch
from finetune.starter.train import Examples, HeadModule, Recipe, train
from finetune.starter.wordlists import read_words

Array = NDArray[np.float32]
Say = Callable[[str], None]
MEASURED = ("en", "de", "fr", "es", "zh", "sv", "pt", "it", "ru", "th",
            "hi", "pl", "el", "ar", "ko", "vi", "tr", "hu", "ja", "he")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Material:
    """All that the packages give, in the forms that training and measuring want."""

    annotations: Mapping[str, Annotations]
    words: Mapping[str, Mapping[str, list[str]]]
    lexicon: Mapping[str, str]
    classes: Sequence[ClassName]
    trained: Seen
    held: Mapping[str, Seen]


def build(work: Path, out: Path | None, steps: int | None, say: Say) -> str:
    """Make the head and write it; returns the figures as Markdown."""
    work.mkdir(parents=True, exist_ok=True)
    recipe = Recipe() if steps is None else replace(Recipe(), steps=steps)
    material = gather(work, say)
    texts = Texts(work / "texts.npz")
    say("embedding the words")
    texts.add(_all_texts(material))
    weights = make_head(material, texts, recipe, say)
    folder = out or starter_card.HEAD.parent
    write(folder, weights, material.lexicon)
    say(f"wrote {folder / starter_card.HEAD.name}")
    return figures(Head(weights), material, texts, say)


def gather(work: Path, say: Say) -> Material:
    say("fetching the packages")
    sources = fetch(work)
    annotations = read_annotations(sources)
    words = read_words(sources["gcompris"])
    english = read_english(sources["wordnet"], annotations["en"])
    held = held_emoji(annotations)
    say("running the vision towers")
    emoji = {
        vendor: see(emoji_pictures(sources[vendor], vendor, annotations), work / f"{vendor}.npz")
        for vendor in VENDORS
    }
    trained = see(clipart_pictures(sources["clipart"]), work / "clipart.npz")
    for vendor in (v for v in VENDORS if v != HELD_VENDOR):
        trained += _where(emoji[vendor], lambda concept: concept not in held)
    gcompris = gcompris_pictures(sources["gcompris"], work, words)
    return Material(
        annotations,
        words,
        make_lexicon(annotations, words, english),
        read_classes(sources["timm"], sources["wordnet"]),
        trained,
        {
            "Tux Paint stamps": see(
                stamp_pictures(sources["stamps"], MEASURED), work / "stamps.npz"
            ),
            "GCompris pictures": see(gcompris, work / "gcompris.npz"),
            "new emoji in a new style": _where(emoji[HELD_VENDOR], lambda c: c in held),
        },
    )


def make_head(material: Material, texts: Texts, recipe: Recipe, say: Say) -> dict[str, Array]:
    """Train; the weights as `embedder.starter.Head` reads them."""
    mean = texts.rows(
        sorted({a.name for k in material.annotations.values() for a in k.values()})
    ).mean(0)
    rows = torch.from_numpy(texts.centred(mean))
    vision = _whitening(material.trained)
    classes = _class_rows(material.classes, texts, mean, recipe)
    plain = Head({**vision, "conse.temperature": _one(recipe.temperature)})
    examples = _examples(material.trained, plain, texts)
    pairs = torch.from_numpy(texts.index(_pairs(material)).reshape(-1, 2))
    say(f"training on {len(examples.features)} pictures and {len(pairs)} pairs of words")
    model = train(
        examples,
        rows,
        pairs,
        torch.from_numpy(classes),
        recipe,
        lambda step, loss: say(f"step {step}, loss {loss:.2f}") if step % 100 == 0 else None,
    )
    return {**vision, "text.mean": mean, **_weights(model, recipe)}


def write(folder: Path, weights: Mapping[str, Array], lexicon: Mapping[str, str]) -> None:
    """Half precision is lossless enough: no cosine moves by 1e-3."""
    folder.mkdir(parents=True, exist_ok=True)
    head, words = folder / starter_card.HEAD.name, folder / starter_card.LEXICON.name
    save_file(
        {name: np.ascontiguousarray(w, dtype=np.float16) for name, w in weights.items()}, head
    )
    write_lexicon(lexicon, words)
    digest = hashlib.sha256(head.read_bytes() + words.read_bytes()).hexdigest()
    (folder / starter_card.DIGEST.name).write_text(digest[:32] + "\n", "ascii")


def figures(head: Head, material: Material, texts: Texts, say: Say) -> str:
    """Recall on what the head never saw, and what each of its parts is worth."""
    say("measuring")
    lexicon = Lexicon(dict(material.lexicon))
    ways = {
        "the starter": (head, lexicon, 1.0),
        "without the lexicon": (head, Lexicon({}), 1.0),
        "ConSE alone": (_Changed(head, "conse.weight", 1e6), lexicon, 1.0),
        "perceptron alone": (_Changed(head, "conse.weight", 0.0), lexicon, 1.0),
    }
    lines = []
    for name, seen in material.held.items():
        lines.append(f"\n{name} ({len(seen.pictures)} pictures), R@1 / R@5 / R@10\n\n")
        lines.append("| | English | mean of the others |\n|---|---|---|\n")
        for way, (changed, known, _) in ways.items():
            found = measure(changed, known, seen, texts)
            lines.append(f"| {way} | {_row(found['en'])} | {_row(mean_of_others(found))} |\n")
            if way == "the starter":
                detail = ", ".join(f"{k} {v[2]:.0f}" for k, v in found.items())
        lines.append(f"\nR@10 by language: {detail}\n")
    return "".join(lines)


def measure(head: Head, lexicon: Lexicon, seen: Seen, texts: Texts) -> Recall:
    def embed(asked: list[str]) -> Array:
        english = [lexicon.english(text) for text in asked]
        heard = unit(texts.rows(asked) - head["text.mean"])
        known = [i for i, word in enumerate(english) if word]
        if known:
            heard[known] += unit(texts.rows([english[i] for i in known]) - head["text.mean"])
        return head.text(unit(heard))

    wanted = [
        replace(p, words=tuple(w for w in p.words if w[1] in MEASURED)) for p in seen.pictures
    ]
    return recall(wanted, head.image(seen.features, seen.logits), embed)


class _Changed(Head):
    """A head with one number set otherwise."""

    def __init__(self, head: Head, name: str, value: float) -> None:
        super().__init__({**head._weights, name: _one(value)})


def _row(values: Iterable[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values)


def _one(value: float) -> Array:
    return np.array([value], dtype=np.float32)


def _where(seen: Seen, wanted: Callable[[str], bool]) -> Seen:
    return seen.only([i for i, picture in enumerate(seen.pictures) if wanted(picture.concept)])


def _pairs(material: Material) -> list[str]:
    """English and another language by turns: names of emoji, word lists, and the lexicon."""
    english = material.annotations["en"]
    held = held_emoji(material.annotations)
    found = [(en, word) for word, en in material.lexicon.items()]
    for language, known in material.annotations.items():
        if language != "en":
            found += [
                (english[e].name, a.name)
                for e, a in known.items()
                if e in english and e not in held
            ]
    return [text for pair in found if all(pair) for text in pair]


def _all_texts(material: Material) -> Iterable[str]:
    yield from _pairs(material)
    for seen in (material.trained, *material.held.values()):
        for picture in seen.pictures:
            yield from (text for _, _, text in picture.words)
    for known in material.classes:
        yield from _class_texts(known)
        yield from known.hypernyms


def _class_texts(known: ClassName) -> list[str]:
    first = known.lemmas[0]
    return [
        first,
        f"a photo of a {first}",
        ", ".join(known.lemmas),
        *(known.lemmas[1:3] or [first]),
    ]


def _class_rows(classes: Sequence[ClassName], texts: Texts, mean: Array, recipe: Recipe) -> Array:
    """(1000, 384): a class is the mean of its names, and some of what it is a kind of."""
    rows = []
    for known in classes:
        row = texts.rows(_class_texts(known)).mean(0) - mean
        for step, name in enumerate(known.hypernyms, start=1):
            row = row + recipe.hypernym**step * (texts.rows([name])[0] - mean)
        rows.append(row)
    return unit(np.stack(rows))


def _whitening(seen: Seen) -> dict[str, Array]:
    """Mean, spread and main axes of each tower's log features."""
    out: dict[str, Array] = {}
    for tower, raw in zip(TOWERS, seen.features, strict=True):
        x = np.log1p(np.maximum(raw, 0))
        mean, spread = x.mean(0), x.std(0) + 1e-2
        z = (x - mean) / spread
        values, vectors = np.linalg.eigh(z.T @ z / len(z))
        values, vectors = values[::-1][:384], vectors[:, ::-1][:, :384]
        axes = vectors / np.sqrt(values + 0.05 * values.mean())
        out |= {
            f"{tower.name}.mean": mean,
            f"{tower.name}.spread": spread,
            f"{tower.name}.axes": axes,
        }
    return out


def _examples(seen: Seen, head: Head, texts: Texts) -> Examples:
    numbers = {c: i for i, c in enumerate(dict.fromkeys(p.concept for p in seen.pictures))}
    drawn = []
    for picture in seen.pictures:
        odds = np.array([weight for weight, _, _ in picture.words])
        drawn.append((texts.index([text for _, _, text in picture.words]), odds / odds.sum()))
    return Examples(
        torch.from_numpy(head.whitened(seen.features).astype(np.float32)),
        torch.from_numpy(head.probabilities(seen.logits)),
        torch.tensor([numbers[p.concept] for p in seen.pictures]),
        drawn,
    )


def _weights(model: HeadModule, recipe: Recipe) -> dict[str, Array]:
    with torch.no_grad():
        tensors = {
            "text.map": model.map,
            "classes": model.text(model.names),
            "classes.mean": model.named_mean,
            "image.0.weight": model.hidden.weight,
            "image.0.bias": model.hidden.bias,
            "image.1.weight": model.out.weight,
            "image.1.bias": model.out.bias,
        }
    weights: dict[str, Array] = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    return {
        **weights,
        "conse.weight": _one(recipe.conse_weight),
        "conse.temperature": _one(recipe.temperature),
    }
