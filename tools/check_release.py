"""Build the wheel, install it in an empty environment, and search the samples with it.

`make release-check` runs this before a release, and CI after the tests. It needs Python, git and
pip's access to a package index, and works in a temporary folder with what git tracks, so that
neither the checkout nor the environment that it is developed in can fill a gap in the wheel.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = "Scripts" if os.name == "nt" else "bin"
APP_TIMEOUT = 60  # seconds until the app answers
MAX_SIZES = {"": 450, "[app]": 800}  # MiB of an environment with the core, and with the app as well
BEST_HITS = {  # in two languages, and by a picture
    "a lighthouse": "lighthouse.jpg",
    "猫": "chelsea.jpg",
    "samples/animals/black-cat.webp": "black-cat.webp",
}
OURS = ("POLYLENS_", "QDRANT_", "PYTHON", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
PIP_ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}


def main() -> None:
    started = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {line}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="polylens-release-") as folder:
        work = Path(folder).resolve()
        copy_tracked_files(work / "source")
        shutil.move(work / "source" / "samples", work / "samples")
        pip = [sys.executable, "-m", "pip", "--quiet"]
        run([*pip, "wheel", "--no-deps", "--wheel-dir", ".", "./source"], work)
        (wheel,) = work.glob("*.whl")
        shutil.rmtree(work / "source")
        report(f"built {wheel.name}, {wheel.stat().st_size / 2**20:.1f} MiB")

        run([sys.executable, "-m", "venv", "environment"], work)
        scripts = work / "environment" / BIN
        report(f"the core takes {install(wheel, '', work)} MiB")
        check_searches(scripts / "indexer", work)
        report("the samples are found by words and by a picture")
        report(f"with the app it takes {install(wheel, '[app]', work)} MiB")
        check_app(scripts / "polylens", work)
        report("the app answers")


def copy_tracked_files(target: Path) -> None:
    """Copy what git tracks, as it is in the checkout now, to the new folder `target`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def clean_environment(work: Path) -> dict[str, str]:
    """The variables of a new user, whose home is in `work`."""
    return {**PIP_ENVIRONMENT, "HOME": str(work / "home"), "POLYLENS_STORE": str(work / "store")}


def run(words: list[str | Path], work: Path, env: Mapping[str, str] = PIP_ENVIRONMENT) -> str:
    """Run a command in `work`; return its stdout. Raises `SystemExit` with its messages."""
    done = subprocess.run(words, cwd=work, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        line = " ".join(map(str, words))
        raise SystemExit(f"release check: `{line}` ended with {done.returncode}\n{done.stderr}")
    return done.stdout


def install(wheel: Path, extra: str, work: Path) -> int:
    """Install `wheel` and return the size of the environment in MiB. Raises `SystemExit`."""
    environment = work / "environment"
    pip = [environment / BIN / "python", "-m", "pip", "--quiet", "install", "--no-compile"]
    run([*pip, f"{wheel}{extra}"], work)
    files = (path for path in environment.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in files) >> 20
    if size > MAX_SIZES[extra]:
        raise SystemExit(
            f"release check: an environment with polylens{extra} takes {size} MiB, more than "
            f"{MAX_SIZES[extra]}: see what its packages bring, or raise MAX_SIZES in {__file__}"
        )
    return size


def check_searches(indexer: Path, work: Path) -> None:
    """Ingest the samples and check the best hit of each query. Raises `SystemExit`."""
    env = clean_environment(work)
    run([indexer, "ingest", "samples", "--quiet"], work, env)
    for query, expected in BEST_HITS.items():
        hits = json.loads(run([indexer, "search", query, "--json", "--limit", "3"], work, env))
        found = [Path(hit["path"]).name for hit in hits["hits"]]
        if found[:1] != [expected]:
            raise SystemExit(f"release check: {query!r} should find {expected}, not {found}")


def check_app(polylens: Path, work: Path) -> None:
    """Start the app and wait for its first page. Raises `SystemExit`."""
    log = work / "app.log"
    with log.open("w") as output:
        app = subprocess.Popen(
            [polylens, "app", "--port", "0"],
            cwd=work,
            env=clean_environment(work),
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + APP_TIMEOUT
        while not (url := re.search(r"Polylens is at (\S+)", log.read_text())):
            if app.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"release check: the app does not start\n{log.read_text()}")
            time.sleep(0.2)
        with urllib.request.urlopen(url[1], timeout=30):
            pass  # any status but 200 raises
    finally:
        app.terminate()
        app.wait(30)


if __name__ == "__main__":
    main()
