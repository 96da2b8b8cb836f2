"""`synthesize`: pairs that a multimodal language model writes about one's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from embedder.cli.console import FAILED, INTERRUPTED, replace_unprintable, write_json
from finetune.cli.synthesize_output import (
    ProgressPrinter,
    confirm_cost,
    print_destination,
    print_plan,
    print_report,
)
from indexer.cli import _options

app = typer.Typer()

LLM_PANEL = "The language model"
COST_PANEL = "Time and money"
EXIT_CODES = {"incomplete": FAILED, "interrupted": INTERRUPTED}

EXAMPLES = """
Examples:

  finetune synthesize --count 1000 --out pairs.jsonl --dry-run
  finetune synthesize --count 1000 --out pairs.jsonl --endpoint http://localhost:8000/v1 --llm NAME
  finetune synthesize --count 200 --out pairs.jsonl --llm FOLDER --languages "en=3,ja=1,de=1"
  finetune synthesize --write-prompts prompts       to edit, then: --prompts prompts
"""


@app.command(epilog=EXAMPLES)
@_options.takes_flags("device", "dtype", "store", "collection")
def synthesize(
    flags: dict[str, Any],
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="How many samples to ask for.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="The pairs; a journal and a report lie beside it."
        ),
    ] = None,
    tasks: Annotated[
        str, typer.Option(metavar="NAME=WEIGHT,...", help="How often each task comes.")
    ] = "classification=1,vqa=1,retrieval=2",
    languages: Annotated[
        str | None,
        typer.Option(
            metavar="CODE=WEIGHT,...",
            help="How often each language comes.",
            show_default="93 languages, common ones more often",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another plan.")] = 0,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Prompts of your own; ours where a file is missing."),
    ] = None,
    write_prompts: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Copy our prompts there, and do no more.")
    ] = None,
    unfiltered: Annotated[
        bool, typer.Option("--no-filter", help="Keep samples whose words do not fit the picture.")
    ] = False,
    agreement: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Words must fit their picture better than they fit this share of all pictures.",
        ),
    ] = 0.5,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="An OpenAI-compatible server; pictures are sent there.",
            rich_help_panel=LLM_PANEL,
        ),
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            help="The server's name for it; without --endpoint, a folder or Hugging Face id.",
            rich_help_panel=LLM_PANEL,
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--llm-api-key",
            metavar="KEY",
            envvar=["POLYLENS_LLM_API_KEY", "OPENAI_API_KEY"],
            help="The server's key; better in POLYLENS_LLM_API_KEY.",
            rich_help_panel=LLM_PANEL,
        ),
    ] = None,
    picture_side: Annotated[
        int,
        typer.Option(
            min=28,
            metavar="PIXELS",
            help="Pictures are scaled down to this longer side.",
            rich_help_panel=LLM_PANEL,
        ),
    ] = 768,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="The most tokens of an answer.", rich_help_panel=LLM_PANEL)
    ] = 3000,
    temperature: Annotated[
        float,
        typer.Option(min=0.0, max=2.0, help="How freely it writes.", rich_help_panel=LLM_PANEL),
    ] = 1.0,
    parallel: Annotated[
        int, typer.Option(min=1, max=256, help="Requests at once.", rich_help_panel=COST_PANEL)
    ] = 4,
    per_minute: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="NUMBER",
            help="The most requests a minute; 0: any.",
            rich_help_panel=COST_PANEL,
        ),
    ] = 0.0,
    timeout: Annotated[
        float,
        typer.Option(
            min=1.0,
            metavar="SECONDS",
            help="How long an answer may take.",
            rich_help_panel=COST_PANEL,
        ),
    ] = 180.0,
    price_in: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="MONEY",
            help="Of a million tokens read.",
            rich_help_panel=COST_PANEL,
        ),
    ] = None,
    price_out: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="MONEY",
            help="Of a million tokens written.",
            rich_help_panel=COST_PANEL,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="MONEY",
            help="The most that FILE may cost, all runs together; needs both prices.",
            rich_help_panel=COST_PANEL,
        ),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help="Begin even if all would cost more.", rich_help_panel=COST_PANEL
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Tell the cost and show a prompt.", rich_help_panel=COST_PANEL
        ),
    ] = False,
    as_json: _options.Json = False,
) -> None:
    """Let a multimodal language model write pairs about a collection's pictures."""
    if write_prompts is not None:
        _copy_prompts(write_prompts, as_json)
        return
    if count is None or out is None:
        raise typer.BadParameter("--count and --out are needed")
    if budget is not None and (price_in is None or price_out is None):
        raise typer.BadParameter("--budget needs --price-in and --price-out")
    if not (dry_run or llm or (endpoint and "#" in endpoint)):
        raise typer.BadParameter(
            "--llm is needed: a server's model, or a folder without --endpoint"
        )

    from finetune.synthesis.cost import Prices
    from finetune.synthesis.languages import parse_language_weights
    from finetune.synthesis.llm_factory import LLMOptions, open_llm
    from finetune.synthesis.pipeline import SynthesisOptions, open_session
    from finetune.synthesis.sampling_weights import parse_weights
    from finetune.synthesis.tasks import COMBINATIONS
    from indexer.cli._progress import stop_on_signal

    config = _options.resolve_flags(**flags)
    synthesis_options = SynthesisOptions(
        out=out,
        count=count,
        tasks=parse_weights(tasks, COMBINATIONS, "--tasks"),
        languages=parse_language_weights(languages),
        seed=seed,
        prompts=prompts,
        image_side=picture_side,
        parallel=parallel,
        min_agreement=None if unfiltered else agreement,
        prices=Prices(price_in, price_out),
        budget=budget,
    )
    llm_options = LLMOptions(
        endpoint,
        llm or "",
        api_key,
        max_tokens=max_tokens,
        temperature=temperature,
        requests_per_minute=per_minute,
        timeout=timeout,
        device=flags["device"],
        dtype=flags["dtype"],
    )
    with open_session(config, synthesis_options, dry_run=dry_run) as synthesis_session:
        if dry_run:
            print_plan(synthesis_session, as_json)
            return
        if synthesis_session.pending_jobs:
            print_destination(llm_options)
        confirm_cost(synthesis_session, yes)
        with stop_on_signal() as stop:
            language_model = open_llm(llm_options, stop) if synthesis_session.pending_jobs else None
            report = synthesis_session.run(language_model, stop, ProgressPrinter(synthesis_session))
    print_report(report, synthesis_options, as_json)
    if report.status in EXIT_CODES:
        raise typer.Exit(EXIT_CODES[report.status])


def _copy_prompts(folder: Path, as_json: bool) -> None:
    from finetune.synthesis.prompt_templates import copy_default_prompts

    paths = [str(path) for path in copy_default_prompts(folder)]
    if as_json:
        write_json({"prompts": paths})
    else:
        print("\n".join(map(replace_unprintable, paths)))
