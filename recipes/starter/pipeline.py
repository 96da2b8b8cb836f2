"""The complete recipe: from packages to the head that the repository ships."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from embedder.families import starter as card
from embedder.families.starter.model import ProjectionHead
from embedder.families.starter.vision_tower import TOWERS
from embedder.types import normalize
from recipes.starter.labeled_images import held_out_emoji
from recipes.starter.report import render_report
from recipes.starter.text_features import TextFeaturizer
from recipes.starter.tower_features import ImageFeatureSet
from recipes.starter.train import CaptionFeatures, Examples, HeadConfig, HeadModule, train_module
from recipes.starter.training_data import Log, TrainingData, load_training_data

Array = NDArray[np.float32]


def build_head(work: Path, out: Path | None, steps: int | None, log: Log) -> str:
    """Make the head and write it; returns the metrics as Markdown."""
    work.mkdir(parents=True, exist_ok=True)
    recipe = HeadConfig() if steps is None else replace(HeadConfig(), steps=steps)
    data = load_training_data(work, log)
    names = sorted({a.name for k in data.annotations.values() for a in k.values()})
    featurizer = TextFeaturizer(data.lexicon, data.meanings, data.texts, names)
    weights = train_head(data, featurizer, recipe, log)
    folder = out or card.HEAD_FILE.parent
    write_head(folder, weights, featurizer)
    log(f"wrote {folder / card.HEAD_FILE.name}")
    return render_report(ProjectionHead(weights), data, featurizer, log)


def train_head(
    data: TrainingData, featurizer: TextFeaturizer, recipe: HeadConfig, log: Log
) -> dict[str, Array]:
    """Train; the weights as `embedder.families.starter.model.ProjectionHead` reads them."""
    log("embedding the words")
    vision = _fit_whitening(data.train)
    plain = ProjectionHead({**vision, "conse.temperature": _scalar(recipe.temperature)})
    examples, captions = _make_examples(data.train, plain, featurizer)
    pairs = _make_pairs(data, featurizer)
    classes = torch.from_numpy(_embed_classes(data, recipe))
    log(f"training on {len(examples.features)} images and {len(pairs[0])} words")
    model = train_module(
        examples,
        captions,
        pairs,
        classes,
        recipe,
        lambda step, loss: log(f"step {step}, loss {loss:.2f}") if step % 100 == 0 else None,
    )
    return {**vision, "text.mean": featurizer.mean, **_export_weights(model, recipe)}


def write_head(folder: Path, weights: Mapping[str, Array], featurizer: TextFeaturizer) -> None:
    """Half precision is enough: no cosine changes by 1e-3."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / p.name for p in card.SHIPPED_FILES]
    head, lexicon, vocabulary = paths
    save_file(
        {name: np.ascontiguousarray(w, dtype=np.float16) for name, w in weights.items()}, head
    )
    featurizer.write_tables(lexicon, vocabulary)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
    (folder / card.DIGEST_FILE.name).write_text(digest[:32] + "\n", "ascii")


def _scalar(value: float) -> Array:
    return np.array([value], dtype=np.float32)


def _make_pairs(
    data: TrainingData, featurizer: TextFeaturizer
) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts as the tower gives them, and what they mean: nouns, and emoji's names in 32 languages.

    (p, 384) each.
    """
    english = data.annotations["en"]
    held = held_out_emoji(data.annotations)
    named = [
        (annotation.name, english[emoji].name)
        for known in data.annotations.values()
        for emoji, annotation in known.items()
        if emoji in english and emoji not in held and annotation.name
    ]
    places = [i for i, word in enumerate(data.meanings.words) if " " not in word]
    nouns = [data.meanings.words[i] for i in places]
    said = featurizer.embed([*nouns, *(name for name, _ in named)])
    meanings = np.concatenate(
        [data.meanings.rows[places], _embed_meanings(data, featurizer, [name for _, name in named])]
    )
    return torch.from_numpy(said), torch.from_numpy(meanings)


def _embed_meanings(
    data: TrainingData, featurizer: TextFeaturizer, english: Sequence[str]
) -> Array:
    """(n, 384): what English texts mean, their nouns in particular."""
    return normalize(data.meanings.embed_texts(english) + featurizer.noun_meanings(english))


def _embed_classes(data: TrainingData, recipe: HeadConfig) -> Array:
    """(1000, 384): a class is its names, its definition, and to a share its hypernyms."""
    known = data.meanings
    synsets = {above for name in data.classes for above in (name.synset, *name.hypernyms)}
    known.precompute(text for synset in synsets for text in (synset.lemmas[0], synset.definition))
    known.precompute(text for name in data.classes for text in name.texts)
    rows = []
    for name in data.classes:
        row = known.embed_synset(name.texts, name.synset)
        for step, above in enumerate(name.hypernyms, start=1):
            row = row + recipe.hypernym_decay**step * known.embed_synset(above.lemmas[:1], above)
        rows.append(row)
    return normalize(np.stack(rows))


def _fit_whitening(seen: ImageFeatureSet) -> dict[str, Array]:
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


def _make_examples(
    seen: ImageFeatureSet, head: ProjectionHead, featurizer: TextFeaturizer
) -> tuple[Examples, CaptionFeatures]:
    """The images and the features of their texts, each text once."""
    texts = list(dict.fromkeys(text for p in seen.images for _, _, text in p.texts))
    places = {text: place for place, text in enumerate(texts)}
    numbers = {c: i for i, c in enumerate(dict.fromkeys(p.concept for p in seen.images))}
    drawn = []
    for image in seen.images:
        odds = np.array([weight for weight, _, _ in image.texts])
        rows = np.array([places[text] for _, _, text in image.texts])
        drawn.append((rows, odds / odds.sum()))
    examples = Examples(
        torch.from_numpy(head.whiten(seen.features).astype(np.float32)),
        torch.from_numpy(head.classify(seen.logits)),
        torch.tensor([numbers[p.concept] for p in seen.images]),
        drawn,
    )
    return examples, CaptionFeatures(*map(torch.from_numpy, featurizer.featurize(texts)))


def _export_weights(model: HeadModule, recipe: HeadConfig) -> dict[str, Array]:
    with torch.no_grad():
        tensors = {
            "text.map": model.text_map.weight.T,
            "text.bias": model.text_map.bias,
            "text.centre": model.center,
            "words.map": model.noun_map.weight.T,
            "classes": model.class_vectors(),
            "classes.mean": model.class_mean,
            "image.0.weight": model.hidden.weight,
            "image.0.bias": model.hidden.bias,
            "image.1.weight": model.out.weight,
            "image.1.bias": model.out.bias,
        }
    weights: dict[str, Array] = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    return {
        **weights,
        "words.weight": _scalar(recipe.noun_weight),
        "conse.weight": _scalar(recipe.conse_weight),
        "conse.exponent": _scalar(recipe.conse_exponent),
        "conse.temperature": _scalar(recipe.temperature),
    }
