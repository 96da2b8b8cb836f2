"""A headless Chromium, driven by Selenium, and the app in it: for tests, bench and screenshots."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-sync", "--disable-background-networking", "--disable-component-update"),
    "--disable-dev-shm-usage",
)
TIMEOUT = 60.0


def start_browser(profile: Path) -> Any:
    """Start Chromium with a profile folder of its own; the caller ends it with `quit()`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(DRIVER))


@contextmanager
def run_app(
    store: Path, scratch: Path, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Any, str, int]]:
    """Serve a store with `polylens app`: a browser, the app's URL, and its process id."""
    command = [sys.executable, "-m", "app", "app", "--store", str(store), "--port", "0"]
    log = scratch / "log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    try:
        browser = start_browser(scratch / "profile")
        try:
            url = wait_for(lambda: re.search(r"Polylens is at (\S+)", log.read_text()))[1]
            yield browser, url, server.pid
        finally:
            browser.quit()
    finally:
        server.terminate()
        server.wait(30)


def wait_for(find: Callable[[], Any]) -> Any:
    """Return what `find` returns, as soon as it is true; raises `TimeoutError`."""
    end = time.monotonic() + TIMEOUT
    while not (found := find()):
        if time.monotonic() > end:
            raise TimeoutError("the app did not show what was waited for")
        time.sleep(0.1)
    return found
