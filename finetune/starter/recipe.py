"""The whole recipe: from packages to the head that the repository ships."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from embedder import starter_card
from embedder.starter import Head
from embedder.starter_vision import TOWERS
from embedder.vectors import unit
from finetune.starter.ears import Ears
from finetune.starter.features import Seen, Texts
from finetune.starter.figures import figures
from finetune.starter.material import Material, Say, gather
from finetune.starter.pictures import held_emoji
from finetune.starter.train import Captions, Examples, HeadModule, Recipe, train

Array = NDArray[np.float32]


def build(work: Path, out: Path | None, steps: int | None, say: Say) -> str:
    """Make the head and write it; returns the figures as Markdown."""
    work.mkdir(parents=True, exist_ok=True)
    recipe = Recipe() if steps is None else replace(Recipe(), steps=steps)
    material = gather(work, say)
    names = sorted({a.name for k in material.annotations.values() for a in k.values()})
    ears = Ears(material.lexicon, material.meanings, Texts(work / "texts.npz"), names)
    weights = make_head(material, ears, recipe, say)
    folder = out or starter_card.HEAD.parent
    write(folder, weights, ears)
    say(f"wrote {folder / starter_card.HEAD.name}")
    return figures(Head(weights), material, ears, say)


def make_head(material: Material, ears: Ears, recipe: Recipe, say: Say) -> dict[str, Array]:
    """Train; the weights as `embedder.starter.Head` reads them."""
    say("embedding the words")
    vision = _whitening(material.trained)
    plain = Head({**vision, "conse.temperature": _one(recipe.temperature)})
    examples, captions = _examples(material.trained, plain, ears)
    pairs = _pairs(material, ears)
    classes = torch.from_numpy(_class_rows(material, recipe))
    say(f"training on {len(examples.features)} pictures and {len(pairs[0])} words")
    model = train(
        examples,
        captions,
        pairs,
        classes,
        recipe,
        lambda step, loss: say(f"step {step}, loss {loss:.2f}") if step % 100 == 0 else None,
    )
    return {**vision, "text.mean": ears.mean, **_weights(model, recipe)}


def write(folder: Path, weights: Mapping[str, Array], ears: Ears) -> None:
    """Half precision is lossless enough: no cosine moves by 1e-3."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / p.name for p in starter_card.SHIPPED]
    head, lexicon, vocabulary = paths
    save_file(
        {name: np.ascontiguousarray(w, dtype=np.float16) for name, w in weights.items()}, head
    )
    ears.write(lexicon, vocabulary)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
    (folder / starter_card.DIGEST.name).write_text(digest[:32] + "\n", "ascii")


def _one(value: float) -> Array:
    return np.array([value], dtype=np.float32)


def _pairs(material: Material, ears: Ears) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts as the tower gives them, and what they mean: nouns, and emoji's names in 32 languages.

    (p, 384) each.
    """
    english = material.annotations["en"]
    held = held_emoji(material.annotations)
    named = [
        (annotation.name, english[emoji].name)
        for known in material.annotations.values()
        for emoji, annotation in known.items()
        if emoji in english and emoji not in held and annotation.name
    ]
    places = [i for i, word in enumerate(material.meanings.words) if " " not in word]
    nouns = [material.meanings.words[i] for i in places]
    said = ears.rows([*nouns, *(name for name, _ in named)])
    meant = np.concatenate(
        [material.meanings.rows[places], _meant(material, ears, [name for _, name in named])]
    )
    return torch.from_numpy(said), torch.from_numpy(meant)


def _meant(material: Material, ears: Ears, english: Sequence[str]) -> Array:
    """(n, 384): what English texts mean, their nouns in particular."""
    return unit(material.meanings.texts(english) + ears.nouns(english))


def _class_rows(material: Material, recipe: Recipe) -> Array:
    """(1000, 384): a class is its names and its definition, and some of what it is a kind of."""
    known = material.meanings
    synsets = {above for name in material.classes for above in (name.synset, *name.hypernyms)}
    known.add(text for synset in synsets for text in (synset.lemmas[0], synset.definition))
    known.add(text for name in material.classes for text in name.texts)
    rows = []
    for name in material.classes:
        row = known.synset(name.texts, name.synset)
        for step, above in enumerate(name.hypernyms, start=1):
            row = row + recipe.hypernym**step * known.synset(above.lemmas[:1], above)
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


def _examples(seen: Seen, head: Head, ears: Ears) -> tuple[Examples, Captions]:
    """The pictures, and what is heard of their texts, each text once."""
    texts = list(dict.fromkeys(text for p in seen.pictures for _, _, text in p.words))
    places = {text: place for place, text in enumerate(texts)}
    numbers = {c: i for i, c in enumerate(dict.fromkeys(p.concept for p in seen.pictures))}
    drawn = []
    for picture in seen.pictures:
        odds = np.array([weight for weight, _, _ in picture.words])
        rows = np.array([places[text] for _, _, text in picture.words])
        drawn.append((rows, odds / odds.sum()))
    examples = Examples(
        torch.from_numpy(head.whitened(seen.features).astype(np.float32)),
        torch.from_numpy(head.probabilities(seen.logits)),
        torch.tensor([numbers[p.concept] for p in seen.pictures]),
        drawn,
    )
    return examples, Captions(*map(torch.from_numpy, ears.hear(texts)))


def _weights(model: HeadModule, recipe: Recipe) -> dict[str, Array]:
    with torch.no_grad():
        tensors = {
            "text.map": model.said.weight.T,
            "text.bias": model.said.bias,
            "text.centre": model.centre,
            "words.map": model.meant.weight.T,
            "classes": model.classes(),
            "classes.mean": model.named_mean,
            "image.0.weight": model.hidden.weight,
            "image.0.bias": model.hidden.bias,
            "image.1.weight": model.out.weight,
            "image.1.bias": model.out.bias,
        }
    weights: dict[str, Array] = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    return {
        **weights,
        "words.weight": _one(recipe.meaning_weight),
        "conse.weight": _one(recipe.conse_weight),
        "conse.temperature": _one(recipe.temperature),
    }
