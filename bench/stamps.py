"""Pictures to see by whether a model has forgotten anything: `python -m bench.stamps FOLDER`.

Writes Tux Paint's stamps of things (Debian `tuxpaint-stamps-default`, GPL-2; photographs, cut-outs
and drawings) into FOLDER, and FOLDER/pairs.jsonl, their captions in eight languages as pairs for
`finetune evaluate` and `compare`. The starter was never trained on any of them. It needs apt-get,
dpkg-deb and rsvg-convert.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.line_drawings import LANGUAGES
from finetune.data.files import write_pairs
from finetune.data.pairs import Pair, Side
from recipes.starter.labeled_images import LabeledImage, open_image, stamp_images
from recipes.starter.packages import PACKAGES, PackageError, fetch_packages

SYMBOLS = "symbols/"  # letters, digits, coins and signs: nothing that the starter could find


def write_images(folder: Path, work: Path) -> Iterator[Pair]:
    """Write each picture, and give its captions as pairs. Raises `SourceError`."""
    work.mkdir(parents=True, exist_ok=True)
    wanted = [package for package in PACKAGES if package.name == "stamps"]
    for stamp in stamp_images(fetch_packages(work, wanted)["stamps"], work, LANGUAGES):
        if not stamp.concept.startswith(SYMBOLS):
            place = _write_image(stamp, folder)
            for _, language, text in stamp.texts:
                yield Pair(
                    Side(text),
                    Side(image=place),
                    language=language,
                    item=stamp.concept,
                    dataset="stamps",
                )


def _write_image(stamp: LabeledImage, folder: Path) -> str:
    place = (folder / stamp.concept).with_suffix(".png").absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    open_image(stamp.path).save(place)
    return str(place)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stamps", description=__doc__)
    cache = Path.home() / ".cache" / "polylens" / "starter"
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--work", type=Path, default=cache, help="where the package is kept")
    options = parser.parse_args()
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        file = options.folder / "pairs.jsonl"
        count = write_pairs(file, write_images(options.folder, options.work))
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count} captions of stamps in {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
