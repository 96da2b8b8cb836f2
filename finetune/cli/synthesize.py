"""`finetune synthesize`: pairs that a multimodal language model writes about a collection."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from embedder.cli.console import (
    FAILED,
    INTERRUPTED,
    PeriodicNotes,
    confirm,
    is_flag,
    pluralize,
    print_line,
    print_note,
    print_table,
    print_text,
    write_json,
)
from finetune.errors import FinetuneError
from indexer.cli import _options

if TYPE_CHECKING:
    from finetune.synthesis.journal import JobOutcome
    from finetune.synthesis.session import CostEstimate, SynthesisReport, SynthesisSession

app = typer.Typer()

MAX_JOBS_SHOWN = 8
EXIT_CODES = {"incomplete": FAILED, "interrupted": INTERRUPTED}
STATUS_ADVICE = {
    "incomplete": "run the command again for the rest",
    "interrupted": "stopped; run the command again to continue",
    "budget": "the budget is spent; raise --budget to continue",
}
EXAMPLES = """
Examples:

  finetune synthesize --count 1000 --out pairs.jsonl --dry-run
  finetune synthesize --count 1000 --out pairs.jsonl --endpoint http://localhost:8000/v1 --llm NAME
  finetune synthesize --count 200 --out pairs.jsonl --llm FOLDER --languages "en=3,ja=1,de=1"
  finetune synthesize --write-prompts prompts       to edit, then: --prompts prompts
"""

LLMOption = partial(Option, rich_help_panel="The language model")
CostOption = partial(Option, rich_help_panel="Time and money")
OPENAI_URL = "https://api.openai.com/v1"

Money = partial(CostOption, min=0.0, metavar="MONEY")


@app.command(epilog=EXAMPLES)
@_options.takes_flags("device", "dtype", "store", "collection", "allow_model_hosts")
def synthesize(
    context: typer.Context,
    flags: dict[str, Any],
    count: Annotated[int | None, Option("--count", "-n", min=1, help="Samples to request.")] = None,
    out: Annotated[
        Path | None,
        Option("--out", "-o", metavar="FILE", help="The pairs; journal and report go beside it."),
    ] = None,
    tasks: Annotated[
        str, Option(metavar="NAME=WEIGHT,...", help="How often each task is drawn.")
    ] = "classification=1,vqa=1,retrieval=2",
    languages: Annotated[
        str | None,
        Option(
            metavar="CODE=WEIGHT,...",
            help="How often each language is drawn.",
            show_default="93 languages, common ones more often",
        ),
    ] = None,
    seed: Annotated[int, Option(help="Another seed gives another plan.")] = 0,
    prompts: Annotated[
        Path | None,
        Option(metavar="FOLDER", help="Your own prompts; a missing file is the default one."),
    ] = None,
    write_prompts: Annotated[
        Path | None, Option(metavar="FOLDER", help="Only copy the default prompts there.")
    ] = None,
    unfiltered: Annotated[
        bool, Option("--no-filter", help="Keep samples whose text does not fit the picture.")
    ] = False,
    agreement: Annotated[
        float,
        Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Text must fit its picture better than it fits this share of all pictures.",
        ),
    ] = 0.5,
    endpoint: Annotated[
        str | None,
        LLMOption(
            metavar="URL",
            envvar="POLYLENS_LLM_ENDPOINT",
            help="An OpenAI-compatible server; pictures are sent there.",
        ),
    ] = None,
    llm: Annotated[
        str | None,
        LLMOption(
            metavar="NAME|FOLDER",
            help="The server's model name; without --endpoint, a folder or Hugging Face id.",
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        LLMOption(
            "--llm-api-key",
            metavar="KEY",
            envvar="POLYLENS_LLM_API_KEY",
            help="The server's key.",
        ),
    ] = None,
    api_key_url: Annotated[
        str | None,
        LLMOption(
            "--llm-api-key-url",
            metavar="URL",
            envvar=["POLYLENS_LLM_API_KEY_URL", "POLYLENS_LLM_ENDPOINT"],
            show_envvar=False,
            help="The server that the key in the variable is for; it is sent to no other.",
            show_default="POLYLENS_LLM_ENDPOINT",
        ),
    ] = None,
    openai_api_key: Annotated[
        str | None,
        Option(envvar="OPENAI_API_KEY", hidden=True, help="The key where there is no other."),
    ] = None,
    openai_url: Annotated[
        str, Option(envvar="OPENAI_BASE_URL", hidden=True, help="The server of that key.")
    ] = OPENAI_URL,
    picture_side: Annotated[
        int,
        LLMOption(min=28, metavar="PIXELS", help="Pictures are scaled down to this longer side."),
    ] = 768,
    max_tokens: Annotated[int, LLMOption(min=1, help="Maximum tokens of an answer.")] = 3000,
    temperature: Annotated[float, LLMOption(min=0.0, max=2.0, help="Sampling temperature.")] = 1.0,
    parallel: Annotated[int, CostOption(min=1, max=256, help="Requests at once.")] = 4,
    per_minute: Annotated[
        float, CostOption(min=0.0, metavar="NUMBER", help="Maximum requests a minute; 0: any.")
    ] = 0.0,
    timeout: Annotated[
        float, CostOption(min=1.0, metavar="SECONDS", help="How long an answer may take.")
    ] = 180.0,
    price_in: Annotated[float | None, Money(help="Price of a million input tokens.")] = None,
    price_out: Annotated[float | None, Money(help="Price of a million output tokens.")] = None,
    budget: Annotated[
        float | None, Money(help="The most that FILE may cost in all runs; needs both prices.")
    ] = None,
    yes: Annotated[
        bool, CostOption("--yes", "-y", help="Start even if all samples would cost more.")
    ] = False,
    dry_run: Annotated[bool, CostOption("--dry-run", help="Show the cost and a prompt.")] = False,
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

    from finetune.synthesis.journal import Prices
    from finetune.synthesis.llm import LLMOptions, describe_destination
    from finetune.synthesis.pipeline import SynthesisOptions
    from finetune.synthesis.plan import COMBINATIONS, parse_language_weights, parse_weights
    from finetune.synthesis.session import open_session
    from indexer.cli._progress import stop_on_signal

    if not api_key:
        api_key, api_key_url = openai_api_key, openai_url
    elif is_flag(context, "api_key"):
        api_key_url = api_key_url if is_flag(context, "api_key_url") else None
    else:  # not for whatever server --endpoint names
        api_key_url = api_key_url or ""
    config = _options.resolve_flags(**flags)
    options = SynthesisOptions(
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
        endpoint=endpoint,
        llm=llm or "",
        api_key=api_key,
        api_key_url=api_key_url,
        max_tokens=max_tokens,
        temperature=temperature,
        requests_per_minute=per_minute,
        timeout=timeout,
        device=flags["device"],
        dtype=flags["dtype"],
    )
    try:
        with open_session(config, options, dry_run=dry_run) as session:
            if dry_run:
                _print_plan(session, as_json)
                return
            if session.pending_jobs:
                message, warning = describe_destination(llm_options)
                print_note(message)
                if warning:
                    print_note(f"warning: {warning}")
            _confirm_cost(session, yes)
            with stop_on_signal() as stop:
                report = session.run(llm_options, stop, _make_progress(session))
    except KeyboardInterrupt:  # the second Ctrl-C: do not wait for the requests in flight
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    _print_report(report, out, as_json)
    if report.status in EXIT_CODES:
        raise typer.Exit(EXIT_CODES[report.status])


def _copy_prompts(folder: Path, as_json: bool) -> None:
    from finetune.synthesis.prompt_templates import copy_default_prompts

    paths = [str(path) for path in copy_default_prompts(folder)]
    if as_json:
        write_json({"prompts": paths})
    else:
        for path in paths:
            print_line(path)


def _print_plan(session: SynthesisSession, as_json: bool) -> None:
    """Print the estimated cost, the first jobs, and the first prompt."""
    estimate, pending = session.estimate_remaining(), session.pending_jobs
    jobs = [
        {
            "job": str(job.number),
            "task": job.combination.task,
            "kind": job.combination.name,
            "language": job.language.code,
            "picture": session.images.display_path(job.anchor_id),
        }
        for job in pending[:MAX_JOBS_SHOWN]
    ]
    system = session.prompts.system
    prompt = session.prompts.build_request(pending[0]) if pending else ""
    if as_json:
        plan = {"estimate": asdict(estimate), "jobs": jobs, "system": system, "prompt": prompt}
        write_json(plan)
        return
    print_line(_describe_cost(estimate))
    columns = ("job", "task", "kind", "language", "picture")
    print_table(columns, [tuple(job.values()) for job in jobs])
    print_text(f"\n--- system\n{system}\n\n--- the first request\n{prompt}")


def _confirm_cost(session: SynthesisSession, yes: bool) -> None:
    """Print the cost; if it exceeds the budget, ask, or fail if nobody can answer."""
    estimate, budget = session.estimate_remaining(), session.options.budget
    if not estimate.jobs:
        print_note("every job of this plan is done")
        return
    print_note(_describe_cost(estimate))
    total = (estimate.cost or 0.0) + session.cost_so_far
    if budget is None or total <= budget or yes:
        return
    message = f"all samples would cost about {total:.2f}, above the budget of {budget:.2f}"
    if sys.stdin.isatty() and confirm(f"{message}. Start, and stop there?"):
        return
    raise FinetuneError(
        f"{message}; nothing was sent. Lower --count, or pass --yes to stop at the budget"
    )


def _describe_cost(estimate: CostEstimate) -> str:
    return (
        f"{pluralize(estimate.jobs, 'sample')}: about {estimate.tokens_in:,} tokens in, "
        f"{estimate.tokens_out:,} out"
        + ("" if estimate.cost is None else f", {estimate.cost:.2f} in all")
        + (" (measured so far)" if estimate.measured else " (a rough estimate)")
    )


def _make_progress(session: SynthesisSession) -> Callable[[JobOutcome], None]:
    """Report progress, and the cost of the rest once it can be measured."""
    print_progress = PeriodicNotes()
    measured = not session.pending_jobs or session.estimate_remaining().measured

    def report(_: JobOutcome) -> None:
        nonlocal measured
        if not measured and (estimate := session.estimate_remaining()).measured:
            measured = True
            print_note(f"remaining: {_describe_cost(estimate)}")
        outcomes = session.outcomes.values()
        kept = sum(outcome.sample is not None for outcome in outcomes)
        print_progress(f"{len(outcomes)} of {len(session.jobs)} done, {kept} kept")

    return report


def _print_report(report: SynthesisReport, out: Path, as_json: bool) -> None:
    if as_json:
        write_json({**asdict(report), "out": str(out)})
        return
    print_line(
        f"{pluralize(report.written, 'pair')} in {out}, from {pluralize(report.done, 'sample')}"
    )
    for reason, number in report.rejected.items():
        print_line(f"  {number} rejected: {reason}")
    if report.cost is not None:
        print_line(f"cost: {report.cost:.2f}")
    for error, number in report.lost.items():
        print_note(f"{pluralize(number, 'request')} failed: {error}")
    if report.status in STATUS_ADVICE:
        remaining = pluralize(report.planned - report.done, "sample")
        print_note(f"{STATUS_ADVICE[report.status]}; remaining: {remaining}")
