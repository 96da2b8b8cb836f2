"""The types that go into a model and come out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast, get_args

from embedder.errors import EmbedderError

if TYPE_CHECKING:  # importing numpy would double the time of `indexer status`
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Vectors: TypeAlias = "NDArray[np.float32]"
"""(n, dim) float32 rows of unit L2 norm."""


def normalize(rows: NDArray[np.float32]) -> Vectors:
    """Scale (..., dim) rows to unit L2 norm; a row of zeros stays as it is."""
    import numpy as np

    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-9), dtype=np.float32)


Role = Literal["query", "document"]
ROLES: tuple[str, ...] = get_args(Role)
MAX_SIZE = 1 << 16  # dims of a vector, pixels of a side
QUANTIZATIONS = ("int8", "nf4")
FIELD_TYPES = {"str": str, "int": int, "bool": bool, "int | None": int, "str | None": str}
"""Types of the fields of a `ModelCard`."""


def check_role(role: str) -> Role:
    """Return `role`; raise `EmbedderError` unless it is one of `ROLES`."""
    if role not in ROLES:
        raise EmbedderError(f"the role is {' or '.join(map(repr, ROLES))}, not {role!r}")
    return cast(Role, role)


@dataclass(frozen=True, slots=True)
class Input:
    """What one vector is made from: a text, images (upright RGB), or both.

    `prompt` is a row of MMEB (https://huggingface.co/datasets/TIGER-Lab/MMEB-eval) word for word:
    `<|image_1|>` for its image, instruction, text and line ends. VLM2Vec and mmE5, which are
    trained on such rows, read it in place of `text` and any instruction; other models ignore it.
    """

    text: str | None = None
    images: tuple[Image, ...] = ()
    prompt: str | None = None

    @property
    def has_text(self) -> bool:
        """Whether there is a text that is not blank."""
        return bool(self.text and self.text.strip())

    def validate(self, max_images: int = 0) -> None:
        """Raise `EmbedderError` if there is nothing to embed, or more than `max_images`; 0: any."""
        if not (self.has_text or self.images):
            raise EmbedderError("an input has neither a text nor an image")
        if 0 < max_images < len(self.images):
            number = "one image" if max_images == 1 else f"{max_images} images"
            raise EmbedderError(
                f"an input has {len(self.images)} images, and this model takes {number} per "
                "input; embed them apart, or choose a model that takes several"
            )
        marks = self.prompt.count("<|image_1|>") if self.prompt and self.images else 0
        if self.prompt and self.images and marks != len(self.images):
            raise EmbedderError(
                f"a prompt has {marks} times <|image_1|>, and its input {len(self.images)} images"
            )


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The identity of a model. Vectors are comparable only if the fingerprints are equal.

    `Settings(dim=card.dim, pixel_budget=card.pixel_budget, quantize=card.quantize)` loads the same
    model again.

    Attributes:
        fingerprint: Covers everything that changes a vector: family, weights and revision, adapter,
            prompts, image preprocessing, pixel budget, quantization, dim.
        composes: Whether the model reads a text and images together; otherwise their vectors are
            averaged.
        image_side: The shorter side in pixels to which a decoder may reduce an image.
        memory: Bytes for the weights and a batch in bf16.
        matryoshka: Smaller dims that the model was trained for.
        max_images: The most images of one input; 0: no limit.
    """

    name: str
    family: str
    revision: str
    dim: int
    modalities: tuple[str, ...]
    composes: bool
    languages: tuple[str, ...]
    license: str
    source: str
    fingerprint: str
    image_side: int = 512
    license_note: str = ""
    parameters: int = 0
    memory: int = 0
    matryoshka: tuple[int, ...] = ()
    pixel_budget: int | None = None
    max_images: int = 0
    quantize: str | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelCard:
        """Make a card from `dataclasses.asdict` of one, which came as JSON from somewhere else.

        Fields of newer versions are ignored.

        Raises:
            TypeError: A field is missing, or has another type.
            ValueError: A field has a value that no card has.
        """
        names = {f.name: str(f.type) for f in fields(cls) if f.name in values}
        card = cls(
            **{name: _parse_field(name, type_, values[name]) for name, type_ in names.items()}
        )
        sizes = (card.dim, card.image_side, *card.matryoshka)
        if not all(0 < size <= MAX_SIZE for size in sizes):
            raise ValueError(f"its dim, image_side and matryoshka are not all in 1..{MAX_SIZE:,}")
        if not (card.fingerprint and "text" in card.modalities):
            raise ValueError("it has no fingerprint, or takes no texts")
        return card


def _parse_field(name: str, type_: str, value: Any) -> Any:
    """Return `value` as a field of the type that is written `type_`; raises `TypeError`."""
    item_type = FIELD_TYPES[type_.removeprefix("tuple[").removesuffix(", ...]")]
    if type_.startswith("tuple["):
        if isinstance(value, list | tuple) and all(type(item) is item_type for item in value):
            return tuple(value)
    elif type(value) is item_type or (value is None and type_.endswith("| None")):
        return value
    raise TypeError(f"{name} is not {type_}: {value!r:.80}")


@dataclass(frozen=True, slots=True)
class MatchHead:
    """What a sigmoid loss has taught a model about a text and an image (Zhai et al. 2023, SigLIP,
    https://arxiv.org/abs/2303.15343): they belong together with the probability
    1 / (1 + exp(-(scale * cosine + bias))) if one image of `prior_odds` does.
    """

    scale: float
    bias: float
    prior_odds: float = 32_768.0  # the authors' batch, which has one right image for each text


@dataclass(frozen=True, slots=True)
class Translation:
    """How a model that looks words up reads a short text.

    Attributes:
        english: What its known words mean.
        languages: The BCP 47 tags of those that it may be in, if they agree.
    """

    english: str
    languages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is loaded. `dim`, `pixel_budget` and `quantize` change its vectors, the rest does
    not.

    Attributes:
        device: "cpu", "cuda:1", or several with commas, each with a copy of the model; None: the
            best available.
        dtype: "bfloat16", "float16" or "float32"; None: bfloat16 on a GPU, else float32.
        pixel_budget: The most pixels per image; None: as the model was trained.
        quantize: Hold the weights of linear layers in fewer bits: "int8", or "nf4" for four; None:
            as `dtype` says.
        dim: Truncate vectors to this dim; None: all dimensions.
        workers: Threads that prepare images; 0: one per core, at most 8.
        batch_tokens: Tokens per batch; 0: by device.
        api_key: For models behind a server.
        api_key_url: The server that the key is for: it is not sent to another. None: the key was
            given for the model that is loaded, whatever its server.
        timeout: Seconds, for models behind a server.
    """

    device: str | None = None
    dtype: str | None = None
    pixel_budget: int | None = None
    quantize: str | None = None
    dim: int | None = None
    trust_remote_code: bool = False
    workers: int = 0
    batch_tokens: int = 0
    api_key: str | None = field(default=None, repr=False)
    api_key_url: str | None = field(default=None, repr=False)  # may hold a password
    timeout: float = 120.0

    def override(self, **values: Any) -> Settings:
        """Return these settings with `values` for some of them; None leaves one as it is."""
        return replace(self, **{name: one for name, one in values.items() if one is not None})


class Embedder(Protocol):
    """Embeds texts, images, and both together in one space.

    The models that `embedder.load` returns are thread-safe; of other implementations only one
    thread may call `embed` at a time.
    """

    @property
    def card(self) -> ModelCard: ...

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """Embed `inputs` as (n, dim) unit rows in their order; raise `EmbedderError`."""
        ...
