"""Whether searches find what they should: `python -m bench.quality --samples [--write]`.

`--samples` asks the queries of bench/sample_queries.csv of the sample pictures, as shipped and
without their captions.
"""

from __future__ import annotations

import argparse

from bench.quality_samples import measure_samples
from bench.report import DOCS, publish


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("--samples", action="store_true", help="ask about the sample pictures")
    parser.add_argument("--write", action="store_true", help="into docs/quality.md")
    options = parser.parse_args()
    if not options.samples:
        parser.error("say what to measure: --samples")
    publish("The sample pictures", measure_samples(), write=options.write, page=DOCS / "quality.md")


if __name__ == "__main__":
    main()
