"""Recipes: a preset, changed by a YAML file and by flags."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from embedder.families.registry import expand_name
from finetune.errors import FinetuneError

HardNegatives = Literal["all", "own", "none"]
"""For which queries a pair's hard negatives are candidates: all, its own, none."""

POSITIVE = ("batch", "rate", "temperature", "clip", "save_every", "log_every", "lora.rank")
NON_NEGATIVE = (
    "steps",
    "epochs",
    "negatives",
    "dataset_rows",
    "sub_batch",
    "warmup",
    "decay",
    "longest",
    "step_tokens",
    "seed",
)
LISTS_OF_NAMES = ("lora.targets",)  # other lists are of positive numbers
CHOICES = {
    "schedule": ("linear", "cosine", "constant_with_warmup"),
    "hard_negatives": get_args(HardNegatives),
    "quantize": ("none", "nf4"),
    "vlm2vec_version": (0, 1, 2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685)."""

    rank: int = 16
    alpha: int = 64
    dropout: float = 0.1
    dora: bool = False  # direction and magnitude apart (https://arxiv.org/abs/2402.09353)
    gaussian: bool = False  # initialization of the first factor
    targets: tuple[str, ...] = ()  # last names of the linear layers; (): all of them
    vision: bool = False  # in the vision tower too


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSettings:
    """What a recipe takes of one data set.

    If any data set has a weight, sub-batches are drawn at random by weight, where one without has
    1; otherwise every pair is used once an epoch.
    """

    weight: float = 0.0
    rows: int = 0  # at most so many, the first ones; 0: the recipe's `dataset_rows`


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a training run makes of its data."""

    preset: str = ""
    model: str = "starter"
    vlm2vec_version: int = 0  # VLM2Vec's prompts and images: 1 or 2; 0: as the model was trained
    dataset_split: str = ""  # of folders with several, such as MMEB-train's; "": the first
    batch: int = 256  # pairs in a step, over all processes
    sub_batch: float = 0.0  # pairs of one data set in sequence; below 1: a share of batch; 0: mixed
    dataset_rows: int = 0  # at most so many pairs of each data set, the first ones; 0: all
    datasets: Mapping[str, DatasetSettings] = field(default_factory=dict)  # by name
    epochs: float = 1.0
    steps: int = 0  # replaces epochs
    rate: float = 2e-5  # the peak learning rate
    warmup: float = 0.05  # steps; below 1: a share of them
    schedule: str = "linear"  # how the learning rate decays
    decay: float = 0.0  # AdamW's weight decay
    clip: float = 1.0  # the maximum gradient norm
    temperature: float = 0.02
    hard_negatives: HardNegatives = "all"
    negatives: int = 0  # of a pair: more are cut, and of fewer the last is repeated; 0: as they are
    both_ways: bool = False  # documents must find their queries too
    matryoshka: tuple[int, ...] = ()  # dims that vectors may be truncated to
    longest: int = 0  # tokens of a text; 0: the model's limit
    text_only: bool = False  # do not load the vision tower
    quantize: str = "none"  # nf4: frozen weights in four bits (QLoRA)
    checkpointing: bool = True  # compute activations again instead of keeping them
    step_tokens: int = 0  # tokens of a mini-batch; 0: by the device
    workers: int = -1  # processes that prepare batches; -1: by the device
    seed: int = 0
    save_every: int = 200  # steps
    log_every: int = 10  # steps
    lora: LoraSettings = field(default_factory=LoraSettings)

    @property
    def sub_batch_size(self) -> int:
        """Pairs of one data set in sequence, over all processes."""
        return int(self.sub_batch * self.batch if self.sub_batch < 1 else self.sub_batch)

    def limit_rows(self, dataset: str) -> int | None:
        """Return how many pairs of a data set are used; None for all."""
        return self.datasets.get(dataset, DatasetSettings()).rows or self.dataset_rows or None

    def weigh_datasets(self, names: Iterable[str]) -> dict[str, float]:
        """Return the weights of data sets, which add up to 1; empty if none has a weight."""
        if not any(dataset.weight for dataset in self.datasets.values()):
            return {}
        weights = {name: self.datasets.get(name, DatasetSettings()).weight or 1 for name in names}
        return {name: weight / sum(weights.values()) for name, weight in weights.items()}

    def to_dict(self) -> dict[str, Any]:
        lora = {**asdict(self.lora), "targets": list(self.lora.targets)}
        return {**asdict(self), "matryoshka": list(self.matryoshka), "lora": lora}


def read_recipe(path: Path) -> dict[str, Any]:
    """Read the settings of a YAML file; raises `FinetuneError`."""
    try:
        values = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FinetuneError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise FinetuneError(f"{path} must hold names and values, such as 'batch: 256'")
    return values


def resolve_recipe(*sources: Mapping[str, Any]) -> Recipe:
    """Apply the sources to the preset that they name; the last one wins.

    Raises:
        FinetuneError: A name is unknown, or a value is invalid.
    """
    name = next((s["preset"] for s in reversed(sources) if s.get("preset")), "")
    if name not in PRESETS:
        problem = f"unknown preset {name!r}" if name else "name a preset with --preset"
        raise FinetuneError(f"{problem}; known are {', '.join(PRESETS)}")
    recipe = replace(PRESETS[name], preset=name)
    for source in sources:
        recipe = _apply_overrides(recipe, source)
    _validate(recipe)
    return replace(recipe, model=expand_name(recipe.model))


def parse_setting(text: str) -> dict[str, Any]:
    """`batch=64` or `lora.rank=8` -> the same as a YAML file has it; raises `FinetuneError`."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise FinetuneError(f"--set takes NAME=VALUE, such as --set lora.rank=8, not {text!r}")
    try:
        values: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise FinetuneError(f"--set {text} is not valid YAML after the =") from None
    for key in reversed(name.split(".")):
        values = {key: values}
    return dict(values)


def _apply_overrides(settings: Any, overrides: Mapping[str, Any], prefix: str = "") -> Any:
    names = {f.name for f in fields(settings)}
    changes = {}
    for name, value in overrides.items():
        if name not in names:
            known = ", ".join(sorted(names))
            raise FinetuneError(f"{prefix}{name} is not a setting of a recipe; known are {known}")
        default = getattr(settings, name)
        if isinstance(default, Mapping):
            changes[name] = _override_datasets(default, value)
        elif not isinstance(default, LoraSettings):
            changes[name] = _coerce(f"{prefix}{name}", default, value)
        elif isinstance(value, Mapping):
            changes[name] = _apply_overrides(default, value, f"{name}.")
        else:
            raise FinetuneError("lora must hold names and values, such as 'rank: 8'")
    return replace(settings, **changes)


def _override_datasets(
    datasets: Mapping[str, DatasetSettings], overrides: Any
) -> dict[str, DatasetSettings]:
    pairs: list[Any] = list(overrides.items()) if isinstance(overrides, Mapping) else [("", None)]
    if not all(isinstance(name, str) and isinstance(value, Mapping) for name, value in pairs):
        raise FinetuneError("datasets must hold names and settings, such as 'CIRR: {weight: 0.5}'")
    return {
        **datasets,
        **{
            name: _apply_overrides(
                datasets.get(name, DatasetSettings()), value, f"datasets.{name}."
            )
            for name, value in pairs
        },
    }


def _coerce(name: str, default: Any, value: Any) -> Any:
    """`value` with the type of `default`."""
    kind = type(default)
    if kind in (bool, str) and type(value) is kind:
        return value
    if kind is tuple and isinstance(value, (list, tuple)):
        if name in LISTS_OF_NAMES:
            is_valid = all(isinstance(one, str) and one.isidentifier() for one in value)
        else:
            is_valid = all(type(one) is int and one > 0 for one in value)
        if is_valid:
            return tuple(value)
    elif kind in (int, float) and type(value) in (int, float, str):
        with suppress(ValueError, OverflowError):
            number = float(value)  # YAML reads 1e-5 as a string
            if math.isfinite(number) and (kind is float or number.is_integer()):
                return kind(number)
    raise FinetuneError(f"{name} cannot be {value!r}; the default is {default!r}")


def _validate(recipe: Recipe) -> None:
    """Raise `FinetuneError` for the first value that is out of range."""
    values = {**asdict(recipe), "lora.rank": recipe.lora.rank}
    batch, sub_batch, dropout = recipe.batch, recipe.sub_batch, recipe.lora.dropout
    pairs = sub_batch * batch if sub_batch < 1 else sub_batch
    checks = [(values[n] > 0, f"{n} must be above 0, not {values[n]}") for n in POSITIVE]
    checks += [(values[n] >= 0, f"{n} must be 0 or more, not {values[n]}") for n in NON_NEGATIVE]
    checks += [
        (values[n] in known, f"{n} must be one of {', '.join(map(repr, known))}, not {values[n]!r}")
        for n, known in CHOICES.items()
    ]
    checks += [
        (recipe.seed < 2**32, f"seed must be below 2^32, not {recipe.seed}"),
        (0 <= dropout < 1, f"lora.dropout is a share, from 0 to 0.9, not {dropout}"),
        (bool(recipe.steps or recipe.epochs), "steps or epochs must be above 0"),
        (batch >= 2, "a batch of 1 pair has no negatives; give --batch 2 or more"),
        (
            not sub_batch or (pairs == int(pairs) and not batch % int(pairs)),
            f"a batch of {batch} pairs cannot be split into sub-batches of {pairs:g}; choose a "
            "number that divides it, or --set sub_batch=0",
        ),
        (
            not any(min(dataset.weight, dataset.rows) < 0 for dataset in recipe.datasets.values()),
            "weight and rows of a data set must be 0 or more",
        ),
        (
            recipe.quantize == "none" or recipe.text_only,
            "quantize: nf4 is for text_only recipes; leave it out here",
        ),
    ]
    for is_valid, message in checks:
        if not is_valid:
            raise FinetuneError(message)


PRESETS: Mapping[str, Recipe] = {
    name: _apply_overrides(Recipe(), settings)
    for name, settings in read_recipe(Path(__file__).with_suffix(".yaml")).items()
}
"""The settings of the papers, from presets.yaml."""
