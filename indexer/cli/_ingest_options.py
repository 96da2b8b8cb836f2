"""The options that say how files are read and embedded: those of `ingest` and of `reindex`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MaxBytes = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Skip larger files; such as 200MB.", show_default="200MiB"),
]
MaxPixels = Annotated[
    str | None,
    typer.Option(metavar="N", help="Skip larger pictures; such as 150M.", show_default="150M"),
]
Batch = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="Files in hand: half are embedded while half are written.",
        show_default="64",
    ),
]
Workers = Annotated[
    str | None,
    typer.Option(
        metavar="N|local:N|ray:auto|ray://HOST:PORT",
        help="Decoding threads, or where many workers are: N processes here, or a Ray cluster.",
        show_default="one thread a core",
    ),
]
Manifest = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="A CSV or JSONL file with captions for the pictures."),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Where the model runs: cpu, cuda, cuda:0,cuda:1."),
]
Dim = Annotated[
    str | None,
    typer.Option(metavar="N", help="Cut a new collection's vectors to this length."),
]
PixelBudget = Annotated[
    str | None,
    typer.Option(metavar="N", help="Pixels that a picture may cost the model; such as 250k."),
]
TrustRemoteCode = Annotated[
    bool | None,
    typer.Option("--trust-remote-code", help="Run code that comes with a model's weights."),
]
Frames = Annotated[bool, typer.Option("--frames", help="Look at several frames of an animation.")]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help="Follow links to folders.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST", help="Fetch pictures that lists point to on this host, too."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
