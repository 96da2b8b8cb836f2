"""Pictures to see by whether a model has forgotten anything: `python -m bench.stamps FOLDER`.

Writes Tux Paint's stamps of things (Debian `tuxpaint-stamps-default`, GPL-2; photographs, cut-outs
and drawings) into FOLDER, each with a sidecar that has its caption in twenty languages. The starter
is measured on them, and was never trained on any. It needs apt-get, dpkg-deb and rsvg-convert.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from finetune.starter.material import MEASURED
from finetune.starter.pictures import open_picture, stamp_pictures
from finetune.starter.sources import PACKAGES, SourceError, fetch

SYMBOLS = "symbols/"  # letters, digits, coins and signs: nothing that the starter could find


def write(folder: Path, work: Path) -> int:
    """The pictures and their sidecars; how many there are. Raises `SourceError`."""
    work.mkdir(parents=True, exist_ok=True)
    wanted = [package for package in PACKAGES if package.name == "stamps"]
    count = 0
    for picture in stamp_pictures(fetch(work, wanted)["stamps"], work, MEASURED):
        if not picture.concept.startswith(SYMBOLS):
            _put(folder / picture.concept, picture.path, picture.words)
            count += 1
    return count


def _put(place: Path, path: Path, words: tuple[tuple[float, str, str], ...]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    open_picture(path).save(place.with_suffix(".png"))
    caption = {language: text for _, language, text in words}
    place.with_suffix(".json").write_text(
        json.dumps({"caption": caption}, ensure_ascii=False), "utf-8"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stamps", description=__doc__)
    cache = Path.home() / ".cache" / "polylens" / "starter"
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--work", type=Path, default=cache, help="where the package is kept")
    options = parser.parse_args()
    try:
        count = write(options.folder, options.work)
    except SourceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count} stamps in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
