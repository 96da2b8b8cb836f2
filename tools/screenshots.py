"""Take the pictures of the app that the docs show: `python -m tools.screenshots`.

The real app, on a copy of the sample pictures, in a real Chromium. Writes `app.png` (a search),
`viewer.png`, `phone.png`, `dark.png`, and `app.webp`, a short animation of how one searches, into
docs/images.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from tools.browser import run_app, wait_for

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
SIZE = 1360, 850
ANIMATION_WIDTH = 900
LETTER_MS, REST_MS = 140, 1800  # how long a frame is shown


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="polylens-shots-") as scratch:
        store, pictures = Path(scratch) / "store", Path(scratch) / "Pictures"
        shutil.copytree(ROOT / "samples", pictures)
        environment = {**os.environ, "HOME": scratch, "PYTHONPATH": str(ROOT)}
        ingest = [sys.executable, "-m", "indexer", "ingest", str(pictures), "--store", str(store)]
        subprocess.run([*ingest, "--quiet"], env=environment, check=True)
        with run_app(store, Path(scratch), environment) as (browser, url, _):
            browser.set_window_size(*SIZE)
            take_pictures(browser, url)
            take_animation(browser, url)


def take_pictures(browser: Any, url: str) -> None:
    show(browser, f"{url}/?query=%E7%8C%AB")
    save(browser, "app.png")
    show(browser, f"{url}/?query=castle")
    open_item(browser)
    save(browser, "viewer.png")
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    show(browser, f"{url}/?query=Hund")
    save(browser, "phone.png")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    set_color_scheme(browser, "dark")
    show(browser, f"{url}/?query=flower")
    save(browser, "dark.png")
    set_color_scheme(browser, "light")


def take_animation(browser: Any, url: str) -> None:
    """Words in one language, words in another, words with a minus, and an item."""
    frames: list[tuple[bytes, int]] = []

    def record(milliseconds: int) -> None:
        frames.append((browser.get_screenshot_as_png(), milliseconds))

    def type_words(words: str) -> None:
        box = browser.find_element("css selector", ".pl-input")
        browser.execute_script("arguments[0].value = ''; arguments[0].focus()", box)
        for letter in words:
            box.send_keys(letter)
            record(LETTER_MS)
        before = browser.current_url
        box.send_keys("\n")
        wait_for(lambda: browser.current_url != before)
        settle(browser)
        record(REST_MS)

    show(browser, url)
    record(REST_MS)
    type_words("a castle")
    type_words("馬")
    type_words("fruit -banana")
    open_item(browser)
    record(REST_MS)
    pictures = [Image.open(BytesIO(data)).convert("RGB") for data, _ in frames]
    height = ANIMATION_WIDTH * pictures[0].height // pictures[0].width
    small = [picture.resize((ANIMATION_WIDTH, height)) for picture in pictures]
    small[0].save(
        IMAGES / "app.webp",
        save_all=True,
        append_images=small[1:],
        duration=[milliseconds for _, milliseconds in frames],
        loop=0,
        quality=60,
        method=6,
    )


def show(browser: Any, address: str) -> None:
    browser.get("about:blank")
    browser.get(address)
    settle(browser)


def settle(browser: Any) -> None:
    """Wait until the page rests and the pictures on the screen are there."""
    script = """
        const tiles = [...document.querySelectorAll(".pl-tile img")];
        const shown = tiles.filter((i) => i.getBoundingClientRect().top < innerHeight);
        return tiles.length > 0 && shown.every((i) => i.classList.contains("pl-loaded"))
            && document.querySelector(".stApp").dataset.testScriptState === "notRunning";
    """
    time.sleep(1.0)
    wait_for(lambda: browser.execute_script(script))
    time.sleep(0.7)  # the pictures fade in


def open_item(browser: Any) -> None:
    browser.find_element("css selector", ".pl-link").click()
    wait_for(lambda: browser.find_elements("css selector", ".pl-viewer .pl-original"))
    wait_for(lambda: browser.find_elements("css selector", ".pl-about .pl-facts"))
    time.sleep(1.0)


def set_color_scheme(browser: Any, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def save(browser: Any, name: str) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture = Image.open(BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
