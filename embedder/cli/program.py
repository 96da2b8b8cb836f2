"""The program `embedder`: models, and the vectors of texts and images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from embedder.api import describe_model, find_model, list_models, load
from embedder.cli.console import (
    Json,
    Model,
    make_app,
    print_fields,
    print_note,
    print_row,
    print_table,
    run_program,
    takes_model_settings,
    write_json,
)
from embedder.errors import EmbedderError
from embedder.extras import find_missing_module, format_install_command
from embedder.families.registry import DEFAULT_MODEL, find_family, shorten_name
from embedder.hardware import format_bytes
from embedder.model_card import UNPINNED
from embedder.rerankers.loading import list_rerankers
from embedder.types import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedder.hardware import MachineMemory
    from embedder.types import Input, ModelCard, Vectors

ROLES = ("query", "document")
COLUMNS = ("model", "short name", "dim")
MORE_COLUMNS = ("runs here", "memory", "license", "composes", "takes", "parameters")  # if they fit

HELP = """
Turn texts, images, or both together into vectors of one space.

Results go to stdout, messages to stderr. Exit status: 0 done, 1 failed, 2 wrong usage.
"""
EXAMPLES = """
Examples:

  embedder models
  embedder embed "a blue bicycle" "ein blaues Fahrrad" --json
  embedder embed --image cat.jpg --image dog.jpg --npy vectors.npy
"""
EMBED_EXAMPLES = """
Examples:

  embedder embed "a blue bicycle" "青い自転車" --json
  embedder embed --image cat.jpg --npy cat.npy
  embedder embed "at night" --image street.jpg --together --json
  embedder embed --role document < captions.txt     a vector per line
"""
MODELS_EXAMPLES = """
Examples:

  embedder models
  embedder models --json
"""
INFO_EXAMPLES = """
Examples:

  embedder info
  embedder info --model starter --json
"""
SERVE_EXAMPLES = """
Examples:

  embedder serve
  embedder serve --model intfloat/mmE5-mllama-11b-instruct --device cuda
  POLYLENS_SERVE_API_KEY=secret embedder serve --host 0.0.0.0 --port 80
  indexer ingest ~/Pictures --model http://localhost:8100/v1
"""

app = make_app(HELP, EXAMPLES)


@app.command(epilog=MODELS_EXAMPLES)
def models(as_json: Json = False) -> None:
    """List the known models and rerankers."""
    print_models(as_json=as_json)


def print_models(name: str | None = None, *, as_json: bool) -> None:
    """Print the cards of all models, or of the one called `name`."""
    found = [find_card(name)] if name else list_models()
    rerankers = [] if name else list_rerankers()
    if as_json:
        described = {"default": DEFAULT_MODEL, "models": [_describe_card(card) for card in found]}
        write_json(described | {"rerankers": [asdict(card) for card in rerankers]})
        return
    from embedder.hardware import detect_memory

    memory = detect_memory()
    rows = [_format_row(card, memory) for card in found]
    print_table(COLUMNS + MORE_COLUMNS, rows, optional=len(MORE_COLUMNS))
    for card in rerankers:
        size = f"{card.parameters / 1e9:.1f}B, {format_bytes(card.memory)}, {card.license}"
        print_note(f"reranker, for indexer search --rerank: {card.name} ({size})")
    if sys.stdout.isatty() and any(card.license_note for card in found):
        print_note("* see the note: embedder info --model NAME")
    for extra in sorted({_find_missing_extra(card) for card in found} - {""}):
        print_note(f"[{extra}] is not installed; type: {format_install_command(extra)}")


def find_card(name: str, settings: Settings | None = None) -> ModelCard:
    """The card called `name`; for other models, what their files or their server describe."""
    return find_model(name) or describe_model(name, settings)


def _describe_card(card: ModelCard) -> dict[str, object]:
    """Everything that --json tells of a model; `extra` is what it needs, null for the core."""
    return {
        **asdict(card),
        "short_name": shorten_name(card.name),
        "extra": find_family(card.name)[0].extra,
        "installed": not _find_missing_extra(card),
    }


def _find_missing_extra(card: ModelCard) -> str:
    extra = find_family(card.name)[0].extra
    return extra if extra and find_missing_module(extra) else ""


def _format_row(card: ModelCard, memory: MachineMemory) -> tuple[str, ...]:
    from embedder.hardware import choose_placement

    placement, missing_extra = choose_placement(card.memory, memory), _find_missing_extra(card)
    if missing_extra and placement != "no":
        placement = f"[{missing_extra}]"
    return (
        card.name,
        shorten_name(card.name),
        str(card.dim),
        placement,
        format_bytes(card.memory),
        f"{card.license} *" if card.license_note else card.license,
        "yes" if card.composes else "no",
        ", ".join(card.modalities),
        f"{card.parameters / 1e9:.1f}B" if card.parameters >= 5e7 else "small",
    )


@app.command(epilog=INFO_EXAMPLES)
def info(model: Model = DEFAULT_MODEL, as_json: Json = False) -> None:
    """Show everything that is known about a model."""
    card = find_card(model)
    if as_json:
        write_json(_describe_card(card))
        return
    fields = {"short name": shorten_name(card.name)} if shorten_name(card.name) else {}
    fields |= {name.replace("_", " "): _format_value(value) for name, value in asdict(card).items()}
    if card.fingerprint == UNPINNED:
        fields |= dict.fromkeys(("revision", "fingerprint"), "known once its weights are here")
    if extra := _find_missing_extra(card):
        fields["needs"] = format_install_command(extra)
    fields["note"] = fields.pop("license note")
    fields["max images"] = str(card.max_images or "any number")
    fields["parameters"] = f"{card.parameters:,}" if card.parameters else "not known"
    fields["memory"] = format_bytes(card.memory) if card.memory else "not known"
    print_fields({name: value for name, value in fields.items() if value})


def _format_value(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


@app.command(epilog=EMBED_EXAMPLES)
@takes_model_settings()
def embed(
    settings: Settings,
    texts: Annotated[
        list[str] | None,
        Argument(metavar="TEXT", help="Texts; if there are none, the lines of stdin."),
    ] = None,
    image: Annotated[
        list[Path] | None, Option(metavar="PATH", help="An image; may be repeated.")
    ] = None,
    together: Annotated[
        bool, Option("--together", help="One vector for all texts and images.")
    ] = False,
    role: Annotated[
        str, Option(metavar="|".join(ROLES), help="What the vectors are for.")
    ] = "query",
    instruction: Annotated[
        str | None,
        Option(metavar="TEXT", help="What to look for, for models that follow instructions."),
    ] = None,
    npy: Annotated[
        Path | None, Option(metavar="PATH", help="Write an (n, dim) array to this file.")
    ] = None,
    as_int8: Annotated[
        bool, Option("--int8", help="Integers from -127 to 127 in that array.")
    ] = False,
    model: Model = DEFAULT_MODEL,
    as_json: Json = False,
) -> None:
    """Print the vectors of texts and images: texts first, in the order given."""
    if role not in ROLES:
        raise typer.BadParameter(f"--role is one of {', '.join(ROLES)}, not {role!r}")
    if as_int8 and npy is None:
        raise typer.BadParameter("--int8 needs --npy PATH")
    if not texts and not image:
        texts = _read_stdin_lines()
    side = find_card(model, settings).image_side if image else 0
    inputs = _build_inputs(texts or [], image or [], together=together, side=side)
    loaded = load(model, settings)
    vectors = loaded.embed(inputs, role, instruction)  # type: ignore[arg-type]
    labels = [*(texts or []), *map(str, image or [])]
    if npy is not None:
        _save_npy(vectors, npy, as_int8)
    _print_vectors(
        vectors, labels if not together else [" + ".join(labels)], loaded.card, npy, as_json
    )


def _read_stdin_lines() -> list[str]:
    if sys.stdin.isatty():
        raise typer.BadParameter("give a text, or a picture with --image")
    lines = [line.strip() for line in sys.stdin]
    if not any(lines):
        raise typer.BadParameter("stdin has no text")
    return [line for line in lines if line]


def _build_inputs(
    texts: Sequence[str], paths: Sequence[Path], *, together: bool, side: int
) -> list[Input]:
    from embedder.encoding import read_image
    from embedder.types import Input

    images = [read_image(path, side) for path in paths]
    if together:
        return [Input(" ".join(texts) or None, tuple(images))]
    return [*(Input(text=text) for text in texts), *(Input(images=(image,)) for image in images)]


def _save_npy(vectors: Vectors, npy: Path, as_int8: bool) -> None:
    import numpy as np

    rows = quantize_int8(vectors) if as_int8 else vectors
    with npy.open("wb") as file:
        np.save(file, rows)
    print_note(f"{rows.shape[0]} x {rows.shape[1]} {rows.dtype} written to {npy}")


def quantize_int8(rows: Vectors) -> NDArray[np.int8]:
    """Quantize (n, dim) unit rows to -127..127, each row by its own largest component.

    Cosines differ from those of the floats by about 1 / (127 sqrt(dim)).
    """
    import numpy as np

    scale = 127 / np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12)
    return np.asarray(np.rint(rows * scale), dtype=np.int8)


def _print_vectors(
    vectors: Vectors, labels: Sequence[str], card: ModelCard, npy: Path | None, as_json: bool
) -> None:
    if as_json:
        rows = [] if npy else [[round(float(v), 7) for v in row] for row in vectors]
        write_json({"model": card.name, "dim": card.dim, "labels": list(labels), "vectors": rows})
    elif npy is None:
        for label, row in zip(labels, vectors, strict=True):
            print_row((label.replace("\t", " "), *(f"{value:.6f}" for value in row)))


@app.command(epilog=SERVE_EXAMPLES)
@takes_model_settings()
def serve(
    settings: Settings,
    model: Model = DEFAULT_MODEL,
    host: Annotated[str, Option(metavar="HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, Option(metavar="N", min=0, max=65535, help="The port; 0 picks a free one.")
    ] = 8100,
    api_key: Annotated[
        str | None,
        Option(
            metavar="KEY", envvar="POLYLENS_SERVE_API_KEY", help="The key that clients must send."
        ),
    ] = None,
    served_name: Annotated[
        str | None, Option(metavar="NAME", help="The name of the model for clients.")
    ] = None,
    max_batch: Annotated[int, Option(metavar="N", min=1, help="Inputs per batch.")] = 32,
    max_queue: Annotated[int, Option(metavar="N", min=1, help="Inputs that may wait.")] = 512,
    max_wait: Annotated[
        float, Option(metavar="SECONDS", min=0, help="Seconds an input may wait.")
    ] = 60,
    max_bytes: Annotated[int, Option(metavar="N", min=1, help="Bytes per request.")] = 32 << 20,
    max_pixels: Annotated[int, Option(metavar="N", min=1, help="Pixels per image.")] = 50_000_000,
    max_inputs: Annotated[int, Option(metavar="N", min=1, help="Inputs per request.")] = 256,
    max_characters: Annotated[
        int, Option(metavar="N", min=1, help="Characters per text.")
    ] = 100_000,
) -> None:
    """Serve a model to other programs, with the API of OpenAI's embeddings."""
    from embedder.server.run import run_server
    from embedder.server.schemas import ServerLimits
    from embedder.server.service import Service

    limits = ServerLimits(max_bytes, max_pixels, max_inputs, max_characters, max_queue, max_wait)
    run_server(
        lambda: load(model, settings),
        Service(limits, max_batch=max_batch, name=served_name),
        host=host,
        port=port,
        api_key=api_key or None,
        notify=print_note,
    )


def main() -> None:
    """The console script."""
    sys.exit(run_program(app, "embedder", (EmbedderError,)))
