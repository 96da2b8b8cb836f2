"""How a model is trained: a preset, what a YAML file changes in it, and what flags change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from finetune.errors import FinetuneError
from finetune.training.negatives import HardNegatives

SCHEDULES = ("linear", "cosine", "constant_with_warmup")
POSITIVE = ("batch", "rate", "temperature", "clip", "save_every", "log_every", "lora.rank")
NON_NEGATIVE = ("steps", "epochs", "sub_batch", "warmup", "decay", "longest", "step_tokens", "seed")


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Low-rank adapters (Hu et al. 2021, https://arxiv.org/abs/2106.09685) in the language model.

    `dora`: weights in direction and length (https://arxiv.org/abs/2402.09353). `gaussian`: how the
    first factor is drawn. `vision`: in the vision tower too.
    """

    rank: int = 16
    alpha: int = 64
    dropout: float = 0.1
    dora: bool = False
    gaussian: bool = False
    vision: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a training run makes of its data."""

    preset: str = ""
    model: str = "starter"
    batch: int = 256  # pairs in a step, over all processes
    sub_batch: int = 0  # pairs of one data set in a row; 0: mixed
    epochs: float = 1.0
    steps: int = 0  # wins over epochs
    rate: float = 2e-5  # the highest
    warmup: float = 0.05  # steps; below 1: their share
    schedule: str = "linear"  # how the rate falls
    decay: float = 0.0  # of weights, AdamW's
    clip: float = 1.0  # the largest length of a gradient
    temperature: float = 0.02
    hard_negatives: HardNegatives = "all"
    both_ways: bool = False  # documents find their queries too
    matryoshka: tuple[int, ...] = ()  # lengths that vectors may be cut to
    longest: int = 0  # tokens of a text; 0: as the model takes it
    text_only: bool = False  # leave the vision tower out of memory
    quantize: str = "none"  # nf4: the frozen weights in four bits (QLoRA)
    checkpointing: bool = True  # compute activations again instead of keeping them
    step_tokens: int = 0  # tokens of a mini-batch; 0: by the device
    workers: int = -1  # processes that prepare batches; -1: by the device
    seed: int = 0
    save_every: int = 200  # steps
    log_every: int = 10  # steps
    lora: LoraSettings = field(default_factory=LoraSettings)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "matryoshka": list(self.matryoshka)}


PRESETS: Mapping[str, Recipe] = {
    # Jiang et al. 2024, https://arxiv.org/abs/2407.12580; their 1000 steps are 2.8 epochs
    "e5v-text": Recipe(
        model="royokong/e5-v",
        batch=768,
        epochs=2.8,
        rate=4e-4,
        warmup=100,
        temperature=0.05,
        hard_negatives="all",
        longest=32,
        text_only=True,
        quantize="nf4",
        lora=LoraSettings(rank=64, alpha=16, dropout=0.05),
    ),
    # Jiang et al. 2024, https://arxiv.org/abs/2410.05160; their 2000 steps are 3 epochs. The rate
    # and the sub-batches are V2's, https://arxiv.org/abs/2507.04590.
    "vlm2vec": Recipe(
        model="Qwen/Qwen2-VL-2B-Instruct",
        batch=1024,
        sub_batch=64,
        epochs=3,
        rate=5e-5,
        warmup=100,
        temperature=0.02,
        hard_negatives="none",
        lora=LoraSettings(rank=16, alpha=64, dropout=0.1, dora=True, gaussian=True),
    ),
    # Chen et al. 2025, https://arxiv.org/abs/2502.08468
    "mme5": Recipe(
        model="intfloat/mmE5-mllama-11b-instruct",
        batch=256,
        epochs=1,
        rate=1e-5,
        warmup=0.05,
        clip=5.0,
        temperature=0.02,
        hard_negatives="own",
        lora=LoraSettings(rank=8, alpha=64, dropout=0.1, dora=True, gaussian=True),
    ),
    # How it was chosen: docs/finetuning.md. In steps, for a small set needs as many as a large one.
    "starter-head": Recipe(
        model="starter",
        batch=512,
        steps=150,
        rate=1e-3,
        warmup=0.1,
        schedule="cosine",
        temperature=0.06,
        both_ways=True,
        checkpointing=False,
        save_every=50,
    ),
}


def read_recipe(path: Path) -> dict[str, Any]:
    """What a YAML file says; raises `FinetuneError`."""
    try:
        values = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FinetuneError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise FinetuneError(f"{path} must hold names and values, such as 'batch: 256'")
    return values


def resolve_recipe(*sources: Mapping[str, Any]) -> Recipe:
    """The preset that the sources name, changed by each in turn; the last wins.

    Raises `FinetuneError` for an unknown name and a value that cannot be.
    """
    name = next((s["preset"] for s in reversed(sources) if s.get("preset")), "")
    if name not in PRESETS:
        raise FinetuneError(
            f"no preset is called {name!r}; these are: {', '.join(PRESETS)}"
            if name
            else f"name a preset with --preset: {', '.join(PRESETS)}"
        )
    recipe = replace(PRESETS[name], preset=name)
    for source in sources:
        recipe = _apply_overrides(recipe, source)
    return _validate(recipe)


def parse_setting(text: str) -> dict[str, Any]:
    """`batch=64` or `lora.rank=8` -> what a YAML file would say; raises `FinetuneError`."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise FinetuneError(f"--set takes NAME=VALUE, such as --set lora.rank=8, not {text!r}")
    try:
        values: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise FinetuneError(f"--set {text} is no YAML after the =; close what opens") from None
    for key in reversed(name.split(".")):
        values = {key: values}
    settled: dict[str, Any] = values
    return settled


def _apply_overrides(settings: Any, overrides: Mapping[str, Any], prefix: str = "") -> Any:
    names = {f.name for f in fields(settings)}
    changes = {}
    for name, value in overrides.items():
        if name not in names:
            known = ", ".join(sorted(names))
            raise FinetuneError(f"{prefix}{name} is no setting of a recipe; these are: {known}")
        old = getattr(settings, name)
        if isinstance(old, LoraSettings):
            if not isinstance(value, Mapping):
                raise FinetuneError("lora must hold names and values, such as 'rank: 8'")
            changes[name] = _apply_overrides(old, value, f"{name}.")
        else:
            changes[name] = _coerce(f"{prefix}{name}", old, value)
    return replace(settings, **changes)


def _coerce(name: str, old: object, value: Any) -> Any:
    if isinstance(old, tuple) and isinstance(value, Sequence) and not isinstance(value, str):
        if all(type(one) is int and one > 0 for one in value):
            return tuple(value)
    elif isinstance(old, bool) or isinstance(value, bool):
        if isinstance(old, bool) and isinstance(value, bool):
            return value
    elif isinstance(old, (int, float)) and isinstance(value, (int, float, str)):
        try:
            number = float(value)  # YAML takes 1e-5 for a word
        except ValueError:
            number = math.nan
        if math.isfinite(number) and (isinstance(old, float) or number.is_integer()):
            return type(old)(number)
    elif isinstance(old, str) and isinstance(value, str):
        return value
    raise FinetuneError(f"{name} cannot be {value!r}; it is {old!r} where nothing is said")


def _check_ranges(recipe: Recipe) -> None:
    numbers = {**asdict(recipe), "lora.rank": recipe.lora.rank}
    for name in POSITIVE:
        if numbers[name] <= 0:
            raise FinetuneError(f"{name} must be above 0, not {numbers[name]}")
    for name in NON_NEGATIVE:
        if numbers[name] < 0:
            raise FinetuneError(f"{name} must not be below 0, and {numbers[name]} is")
    if recipe.seed >= 2**32:
        raise FinetuneError(f"seed must be below 2^32, not {recipe.seed}")
    if not 0 <= recipe.lora.dropout < 1:
        raise FinetuneError(f"lora.dropout is a share, from 0 to 0.9, not {recipe.lora.dropout}")


def _validate(recipe: Recipe) -> Recipe:
    choices = {
        "schedule": SCHEDULES,
        "hard_negatives": ("all", "own", "none"),
        "quantize": ("none", "nf4"),
    }
    for name, known in choices.items():
        if getattr(recipe, name) not in known:
            said = ", ".join(repr(one) for one in known)
            raise FinetuneError(f"{name} must be one of {said}, not {getattr(recipe, name)!r}")
    _check_ranges(recipe)
    if recipe.steps == 0 and recipe.epochs == 0:
        raise FinetuneError("steps or epochs must be above 0")
    if recipe.batch < 2:
        raise FinetuneError("a batch of 1 pair has no negatives; give --batch 2 or more")
    if recipe.sub_batch and recipe.batch % recipe.sub_batch:
        raise FinetuneError(
            f"a batch of {recipe.batch} pairs is not made of sub-batches of {recipe.sub_batch}; "
            "choose a number that divides it, or --set sub_batch=0"
        )
    if recipe.quantize != "none" and not recipe.text_only:
        raise FinetuneError("quantize: nf4 is for text_only recipes; leave it out here")
    return recipe
