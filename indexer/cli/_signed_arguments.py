"""Lets a part of a query begin with a minus: `indexer search beach -people --limit 5`."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from typer.core import TyperCommand, TyperOption


class SignedArgumentsCommand(TyperCommand):
    """A command whose arguments may begin with `-`; only its own options are options.

    A word with one dash is an option if it is spelled exactly so (`-v`), else a part. Everything
    behind `--` is a part. Long options are read as ever, so a mistyped one is still an error.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if not ctx.resilient_parsing:
            options = [p for p in self.get_params(ctx) if isinstance(p, TyperOption)]
            flags = {name for o in options if o.is_flag for name in (*o.opts, *o.secondary_opts)}
            valued = {name for o in options if not o.is_flag for name in o.opts}
            args = put_options_first(args, flags, valued)
        return super().parse_args(ctx, args)


def put_options_first(args: Sequence[str], flags: set[str], valued: set[str]) -> list[str]:
    """`args` with the options in front, then `--`, then the parts, each in its order."""
    options: list[str] = []
    parts: list[str] = []
    left = iter(args)
    for arg in left:
        if arg == "--":
            parts += left
        elif arg in valued:
            value = next(left, None)
            if value is None:  # the parser will say that it is missing
                return [*options, arg]
            options += [arg, value]
        elif arg in flags or arg.startswith("--"):
            options.append(arg)
        else:
            parts.append(arg)
    return [*options, "--", *parts]
