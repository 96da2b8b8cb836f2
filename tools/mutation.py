"""Mutation testing of the code that decides what is found: python -m tools.mutation [--sample N].

mutmut (https://mutmut.readthedocs.io) changes one thing in a function, and runs the tests that call
it: a mutant that no test notices has survived. What is changed and which tests run is in
pyproject.toml; docs/testing.md has the scores. It needs `pip install` of `REQUIREMENT`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

REQUIREMENT = "mutmut==3.8.1"  # of which functions are called that it does not document
SEED = 0
MUTANTS = Path("mutants")  # mutmut's folder: the code with all mutants, and what became of each
SURVIVED = {0: "survived", 5: "no test", 33: "no test"}  # exit codes; all others are noticed
HEADER = (
    "| module | mutants | tried | killed | survived | no test | score |\n"
    "|---|--:|--:|--:|--:|--:|--:|"
)


def generate_mutants() -> None:
    """Write the code with all its mutants below `MUTANTS`; unchanged files are kept."""
    from mutmut.__main__ import CatchOutput, create_mutants
    from mutmut.mutation.trampoline import set_mutant_under_test
    from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir

    set_mutant_under_test("mutant_generation")
    MUTANTS.mkdir(exist_ok=True)
    with CatchOutput():
        copy_src_dir()
        copy_also_copy_files()
        create_mutants(1)


def read_results() -> dict[str, dict[str, int | None]]:
    """Module -> mutant -> the exit code of its tests; None where it was not tried."""
    results = {}
    for path in sorted(MUTANTS.rglob("*.py.meta")):
        module = str(path.relative_to(MUTANTS)).removesuffix(".meta")
        results[module] = json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    return {module: mutants for module, mutants in results.items() if mutants}


def draw_sample(results: Mapping[str, Iterable[str]], size: int, seed: int) -> list[str]:
    """`size` mutants of each module, or all of a smaller one."""
    names = []
    for module, mutants in results.items():
        ordered = sorted(mutants)
        generator = random.Random(f"{seed} {module}")  # a module's sample is its own
        names += generator.sample(ordered, min(size, len(ordered)))
    return names


def render_scores(results: Mapping[str, Mapping[str, int | None]], tried: Iterable[str]) -> str:
    """The table of docs/testing.md: the score is the share of the tried mutants that a test kills.

    `tried` are the mutants that count, of those with a result.
    """
    counted = set(tried)
    rows, sums = [HEADER], defaultdict(int)
    for module, mutants in results.items():
        codes = [code for name, code in mutants.items() if name in counted and code is not None]
        fates = [SURVIVED.get(code, "killed") for code in codes]
        row = {"mutants": len(mutants), "tried": len(codes)}
        row |= {fate: fates.count(fate) for fate in ("killed", "survived", "no test")}
        for column, value in row.items():
            sums[column] += value
        rows.append(_render_row(f"`{module}`", row))
    return "\n".join([*rows, _render_row("all", sums)])


def _render_row(name: str, row: Mapping[str, int]) -> str:
    score = f"{row['killed'] / row['tried']:.0%}" if row["tried"] else "-"
    return f"| {name} | {' | '.join(str(value) for value in row.values())} | {score} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, help="mutants of each module; without it, all")
    parser.add_argument("--seed", type=int, default=SEED, help="of the sample")
    parser.add_argument("--only", default="", help="modules whose path contains this")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--survivors", action="store_true", help="try those again that survived")
    parser.add_argument("--report", action="store_true", help="run nothing, and show what is known")
    options = parser.parse_args()
    if not options.report:
        generate_mutants()
    results = {module: r for module, r in read_results().items() if options.only in module}
    size = options.sample or max(map(len, results.values()))
    names = draw_sample(results, size, options.seed)
    again = (None, *SURVIVED) if options.survivors else (None,)
    untried = [name for name in names if _find_result(results, name) in again]
    if untried and not options.report:
        os.environ["OMP_NUM_THREADS"] = "1"
        run_mutants(untried, options.jobs)
        results = {module: r for module, r in read_results().items() if module in results}
    for name in names:
        code = _find_result(results, name)
        if code in SURVIVED:
            print(f"{SURVIVED[code]}: {name}")
    print(render_scores(results, names))


def run_mutants(names: list[str], jobs: int) -> None:
    """Run the tests of each mutant; mutmut writes down what became of it."""
    from mutmut.__main__ import _run

    _run(names, jobs)


def _find_result(results: Mapping[str, Mapping[str, int | None]], name: str) -> int | None:
    return next((mutants[name] for mutants in results.values() if name in mutants), None)


if __name__ == "__main__":
    main()
