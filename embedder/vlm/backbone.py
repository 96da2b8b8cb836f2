"""A vision-language model as a backbone: its family's prompts, its architecture's pictures.

Rows are padded on the right and no mask is given: attention is causal, so a row's last token never
sees what stands behind it, and attention runs its fastest kernel. The last token's state is the
embedding; the language model's head never runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from embedder.engine.backbone import Batch, Bucket
from embedder.errors import EmbedderError
from embedder.types import Input, ModelCard, Role
from embedder.vlm.rendering import Prompt, Renderer

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Size = tuple[int, int]
"""Width and height in pixels, as Pillow says them."""

Render = Callable[[Input, Role, "str | None"], Prompt]
"""A family's prompt for an input. It raises `EmbedderError` for one that the model cannot take."""


def too_narrow(size: Size) -> EmbedderError:
    """What to say of a picture that an architecture cannot take for its shape."""
    return EmbedderError(
        f"a picture of {size[0]} x {size[1]} pixels is too narrow for this model, which takes no "
        "side over 200 times the other; crop it"
    )


class Architecture(Protocol):
    """How a model takes pictures. All but `states` runs on the CPU, in several threads."""

    @property
    def model(self) -> Any:
        """The torch module."""
        ...

    @property
    def image_token(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def tokens(self, size: Size) -> int:
        """The places that a picture of `size` takes in the sequence; raises `EmbedderError`."""
        ...

    @property
    def beside(self) -> int:
        """Tokens that a picture costs beside its places in the sequence."""
        ...

    def kind(self, pictures: int) -> Hashable:
        """What must be equal in a batch, of rows with that many pictures."""
        ...

    def pixels(self, image: Image) -> Mapping[str, Any]:
        """A picture as the model takes it."""
        ...

    def stack(self, pictures: Sequence[Mapping[str, Any]], ids: torch.Tensor) -> Batch:
        """The model's arguments for all pictures of a batch, whose rows are `ids`."""
        ...

    def states(self, ids: torch.Tensor, **pixels: Any) -> torch.Tensor:
        """(n, length) int64 -> (n, length, dim), after the last norm."""
        ...


@dataclass(frozen=True, slots=True)
class Ready:
    """Token ids with places for the pictures, and each picture with the size it is brought to."""

    ids: tuple[int, ...]
    images: tuple[Image, ...]
    sizes: tuple[Size, ...]

    def brought(self) -> list[Image]:
        """The pictures in their sizes; bicubic, as the families do it."""
        pairs = zip(self.images, self.sizes, strict=True)
        return [i if i.size == size else i.resize(size) for i, size in pairs]


class VisionLanguage:
    """The backbone of a vision-language model."""

    def __init__(
        self,
        card: ModelCard,
        architecture: Architecture,
        renderer: Renderer,
        render: Render,
        resize: Callable[[Size], Size] = lambda size: size,
    ) -> None:
        """`resize` is the family's own rule, applied before the architecture's."""
        self.card = card
        self.architecture, self.renderer = architecture, renderer
        self.render, self._resize = render, resize

    @property
    def model(self) -> Any:
        """The torch module, without a language head."""
        return self.architecture.model

    @property
    def device(self) -> torch.device:
        return self.architecture.device

    def prepare(self, item: Input, role: Role, instruction: str | None) -> Ready:
        item.check()
        ids = self.renderer.ids(self.render(item, role, instruction))
        sizes = tuple(self._resize(image.size) for image in item.images)
        places = [self.architecture.tokens(size) for size in sizes]
        return Ready(tuple(self._expanded(ids, places)), item.images, sizes)

    def _expanded(self, ids: Sequence[int], places: Sequence[int]) -> list[int]:
        """`ids` with each picture's token as often as the picture has places."""
        token, rest, out = self.architecture.image_token, iter(places), list[int]()
        for i in ids:
            out += [i] * (next(rest) if i == token else 1)
        return out

    def bucket(self, ready: Ready) -> Bucket:
        pictures = len(ready.images)
        kind, beside = self.architecture.kind(pictures), self.architecture.beside
        return Bucket(kind, len(ready.ids), pictures * beside)

    def process(self, ready: Ready) -> list[Mapping[str, Any]]:
        return [self.architecture.pixels(image) for image in ready.brought()]

    def collate(
        self, items: Sequence[Ready], processed: Sequence[list[Mapping[str, Any]]]
    ) -> Batch:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        ids = pad_sequence([torch.tensor(item.ids) for item in items], batch_first=True)
        last = torch.tensor([len(item.ids) - 1 for item in items])
        pictures = [picture for row in processed for picture in row]
        stacked = self.architecture.stack(pictures, ids) if pictures else {}
        return {"ids": ids, "last": last, **stacked}

    def forward(self, batch: Batch) -> torch.Tensor:
        """(n, dim): the state of each row's last token."""
        pixels = {name: value for name, value in batch.items() if name not in ("ids", "last")}
        states = self.architecture.states(batch["ids"], **pixels)  # (n, length, dim)
        return at(states, batch["last"])


def at(states: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """(n, length, dim) states -> (n, dim), each row's at its (n,) `last` place."""
    import torch

    return states[torch.arange(len(last), device=last.device), last]
