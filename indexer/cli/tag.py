"""`indexer tag`: give tags to points, and take them away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from embedder.cli.console import pluralize, print_note, write_json
from indexer.cli import _options
from indexer.cli.search import Where

if TYPE_CHECKING:
    from indexer.config import Config

app = typer.Typer()

EXAMPLES = """
Examples:

  indexer tag rome --where folder=/photos/Rome
  indexer tag best "to print" --where path=/photos/IMG_0123.jpg
  indexer tag --remove rome --where year=2019 --where camera!=Scanner

Tags are kept in the collection, and no file is changed. A moved or edited picture keeps its tags.
Those that came with a file or its captions can be removed too.
"""


@app.command(epilog=EXAMPLES)
@_options.takes_config(*_options.SHARED)
def tag(
    config: Config,
    tags: Annotated[list[str], Argument(metavar="TAG...", help="The tags.")],
    where: Where = None,
    remove: Annotated[bool, Option("--remove", help="Take the tags away.")] = False,
    as_json: _options.Json = False,
) -> None:
    """Give tags to images and texts, which searches and filters find."""
    from indexer.api import Collection
    from indexer.search.filter_syntax import parse_filters

    if not where:
        raise typer.BadParameter("say what to tag: --where KEY=VALUE, as in --where name=a.jpg")
    with Collection(config) as collection:
        filters = parse_filters(where)
        changed = collection.tag(
            add=() if remove else tags, remove=tags if remove else (), filters=filters
        )
    if as_json:
        write_json({"changed": len(changed), "ids": list(changed)})
    else:
        print_note(f"{pluralize(len(changed), 'point')} changed")
