"""The app as a person meets it: the real server and a real browser."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

pytest.importorskip("selenium")
from PIL import ExifTags, Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tools.browser import BROWSER, DRIVER, start_browser

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"
)


@pytest.fixture(scope="module")
def data_home(tmp_path_factory) -> Path:
    """The data folder of the app's process, where it looks for runs."""
    return tmp_path_factory.mktemp("data-home")


@pytest.fixture(scope="module")
def address(library, data_home, tmp_path_factory):
    """The app's URL, served by `polylens app`; started once for all tests."""
    log = tmp_path_factory.mktemp("log") / "log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "app", "app", "--store", library, "--port", "0"],
            cwd=ROOT,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("POLYLENS_")},
                "XDG_DATA_HOME": str(data_home),
                "POLYLENS_LIBRARY_ROOTS": str(tmp_path_factory.getbasetemp()),
            },
            stdout=stream,
            stderr=stream,
        )
    try:
        yield until(None, lambda: re.search(r"Polylens is at (\S+)", log.read_text())[1], 60)
    finally:
        server.terminate()
        assert server.wait(20) == 0
        assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium):
    """One window, of its usual size and on an empty page."""
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.set_window_size(1360, 980)
    chromium.get("about:blank")
    return chromium


@pytest.fixture
def run_folder(run_folder, data_home):
    """The run, in the folder of runs of the app's process."""
    folder = data_home / "polylens" / "runs" / run_folder.name
    shutil.copytree(run_folder, folder)
    yield folder
    shutil.rmtree(folder)


def until(browser, true, seconds=30):
    return WebDriverWait(browser, seconds, ignored_exceptions=[Exception]).until(lambda _: true())


def find(browser, selector: str) -> list:
    return browser.find_elements(By.CSS_SELECTOR, selector)


def names(browser) -> list[str]:
    """The names of the files in the grid, in order."""
    tiles = "return [...document.querySelectorAll('.pl-tile')].map((tile) => tile.dataset.name)"
    return browser.execute_script(tiles)


def open_item(browser, name: str | None = None):
    """Open the item of a file, or the first; returns the viewer."""
    tile = f".pl-tile[data-name='{name}']" if name else ".pl-tile"
    until(browser, lambda: find(browser, f"{tile} .pl-link"))[0].click()
    return until(browser, lambda: find(browser, ".pl-viewer[open]"))[0]


def settled(browser) -> list[str]:
    """The names, once the page has ended its run and they change no more."""
    state = "return document.querySelector('.stApp').dataset.testScriptState"

    def same() -> list[str] | None:
        first = names(browser)
        time.sleep(1)
        rests = browser.execute_script(state) == "notRunning"
        return first if rests and first and first == names(browser) else None

    return until(browser, same)


def type_words(browser, words: str) -> None:
    """Type over what is in the search box."""
    box = until(browser, lambda: find(browser, ".pl-input"))[0]
    box.send_keys(Keys.CONTROL, "a", Keys.NULL, words, Keys.ENTER)


def press(browser, label: str) -> None:
    def pressed() -> bool:
        for button in browser.find_elements(By.TAG_NAME, "button"):
            if label in button.text:
                button.click()
                return True
        return False

    until(browser, pressed)


def all_pictures_show(browser) -> bool:
    """Every thumbnail on the screen came over the wire and was decoded."""
    script = (
        "return [...document.querySelectorAll('.pl-tile img')]"
        ".filter(i => i.getBoundingClientRect().top < innerHeight)"
        ".every(i => i.complete && i.naturalWidth > 0)"
    )
    return bool(names(browser)) and browser.execute_script(script)


def test_search_in_japanese_open_a_result_and_compose(browser, address):
    browser.get(address)
    until(browser, lambda: all_pictures_show(browser))

    type_words(browser, "猫")
    until(browser, lambda: "query=%E7%8C%AB" in browser.current_url)
    until(browser, lambda: "chelsea.jpg" in names(browser)[:3])
    until(browser, lambda: "read as “cat”" in find(browser, ".pl-head [role=status]")[0].text)
    until(browser, lambda: all_pictures_show(browser))
    viewer = open_item(browser, "chelsea.jpg")
    until(browser, lambda: find(browser, ".pl-viewer .pl-original"))
    until(browser, lambda: "Why it was found" in viewer.text)
    until(browser, lambda: "has “猫”" in viewer.text)
    until(browser, lambda: "chelsea.jpg" in viewer.text)
    until(browser, lambda: "Similar" in viewer.text)
    press(browser, "Show where")
    until(browser, lambda: find(browser, ".pl-located .pl-original"))
    press(browser, "Show where")
    until(browser, lambda: not find(browser, ".pl-located"))
    steps, first = browser.execute_script("return history.length"), browser.current_url
    browser.execute_script("document.querySelector('.pl-strip a').click()")
    until(browser, lambda: browser.current_url != first)
    assert browser.execute_script("return history.length") == steps, "back closes the viewer"
    browser.execute_script("location.hash = arguments[0]", first.partition("#")[2])
    until(browser, lambda: "has “猫”" in viewer.text)

    press(browser, "Add words to this picture")
    until(browser, lambda: "query=%E7%8C%AB+id" in browser.current_url)
    until(browser, lambda: not find(browser, ".pl-viewer[open]"))
    box = find(browser, ".pl-input")[0]
    until(browser, lambda: browser.switch_to.active_element == box)
    assert box.get_attribute("value") == "猫", "the words of the search stay"
    until(browser, lambda: find(browser, ".st-key-pieces img"))
    type_words(browser, "虎")
    until(browser, lambda: "%E8%99%8E" in browser.current_url)
    assert "query=id" in browser.current_url, "the picture stays, the words are new"
    until(browser, lambda: any("tiger" in name for name in names(browser)[:3]))

    loaded = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    assert {urlsplit(url).netloc for url in browser.execute_script(loaded)} <= {
        urlsplit(address).netloc,
        "",  # of data: and blob:
    }

    again = browser.current_url
    before = settled(browser)
    browser.get("about:blank")
    browser.get(again)
    until(browser, lambda: names(browser) == before)


def test_it_fits_a_phone(browser, address):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True},
    )
    browser.get(f"{address}/?query=dog")
    until(browser, lambda: all_pictures_show(browser))
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= 390
    tiles = [tile.rect for tile in find(browser, ".pl-tile")]
    assert all(tile["x"] >= 0 and tile["x"] + tile["width"] <= 390 for tile in tiles)
    viewer = open_item(browser)
    until(browser, lambda: "Why it was found" in viewer.text)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


SCROLLER = "document.querySelector('[data-testid=stMain]')"


def test_scrolling_loads_more_and_back_returns_to_the_place(browser, address):
    browser.get(f"{address}/?w=kind%3Dimage")
    until(browser, lambda: len(names(browser)) == 60)
    browser.execute_script(f"{SCROLLER}.scrollTop = {SCROLLER}.scrollHeight")
    until(browser, lambda: len(names(browser)) == 93)
    assert len(set(names(browser))) == 93
    browser.execute_script(f"{SCROLLER}.scrollTop = 2400")

    def find_top() -> float:
        return browser.execute_script(f"return {SCROLLER}.scrollTop")

    kept = "return history.state?.position?.top"
    until(browser, lambda: abs(browser.execute_script(kept) - 2400) < 4)

    browser.refresh()
    until(browser, lambda: len(names(browser)) == 93 and abs(find_top() - 2400) < 4)
    tile = browser.find_element(By.CSS_SELECTOR, ".pl-tile:nth-child(2) .pl-link")
    browser.execute_script("arguments[0].click()", tile)
    until(browser, lambda: find(browser, ".pl-viewer[open]"))
    assert "#open=" in browser.current_url
    press(browser, "More like this")
    until(browser, lambda: "query=id" in browser.current_url and find_top() < 100)
    browser.back()
    until(browser, lambda: len(names(browser)) == 93 and abs(find_top() - 2400) < 4)


def test_the_keyboard_alone_finds_looks_and_selects(browser, address):
    def act(*keys) -> None:
        browser.switch_to.active_element.send_keys(*keys)

    def find_active() -> int:
        script = "return Number(document.activeElement.closest('.pl-tile')?.dataset.index ?? -1)"
        return browser.execute_script(script)

    browser.get(address)
    box = until(browser, lambda: find(browser, ".pl-input"))[0]
    until(browser, lambda: browser.switch_to.active_element == box)
    act("dog", Keys.ENTER)
    until(browser, lambda: "query=dog" in browser.current_url)
    settled(browser)
    while find_active() < 0:
        act(Keys.TAB)
    act(Keys.ARROW_RIGHT)
    assert find_active() == 1
    act(Keys.ARROW_DOWN)
    below = find_active()
    assert below > 2, "the tile in the row below"
    act(Keys.ARROW_UP)
    act(Keys.ENTER)
    until(browser, lambda: find(browser, ".pl-viewer[open]"))
    first = browser.current_url
    act(Keys.ARROW_RIGHT)
    until(browser, lambda: browser.current_url != first and "#open" in browser.current_url)
    act(Keys.ESCAPE)
    until(browser, lambda: "#open" not in browser.current_url)
    place = until(browser, lambda: find_active() > 0 and find_active())
    act(Keys.SPACE)
    act(Keys.ARROW_RIGHT)
    act(Keys.SHIFT, Keys.SPACE)
    until(browser, lambda: "2 selected" in find(browser, ".pl-selection")[0].text)
    assert find_active() == place + 1
    act(Keys.ESCAPE)
    until(browser, lambda: not find(browser, ".pl-selection")[0].is_displayed())
    act("/")
    until(browser, lambda: browser.switch_to.active_element == find(browser, ".pl-input")[0])
    value = find(browser, ".pl-input")[0].get_attribute("value")
    assert value == "dog", "the slash is not typed"
    act(Keys.CONTROL, "a", Keys.NULL, "dgo", Keys.ENTER)
    until(browser, lambda: "query=dgo" in browser.current_url)
    assert "dog" not in browser.current_url, "a search replaces the one before"


def test_a_search_is_saved_and_tells_what_is_new(browser, address):
    browser.get(f"{address}/?query=dog")
    settled(browser)
    find(browser, "[aria-label='Save this search']")[0].click()
    until(browser, lambda: "Saved in this browser" in find(browser, ".pl-toast")[0].text)
    browser.execute_script(
        "const saved = JSON.parse(localStorage['polylens-saved']);"
        "saved[0].seen = '2020-01-01T00:00:00+00:00';"
        "localStorage['polylens-saved'] = JSON.stringify(saved)"
    )
    browser.get(address)
    until(browser, lambda: " new" in find(browser, ".pl-start [aria-label=Saved]")[0].text)
    browser.execute_script("performance.clearResourceTimings()")
    type_words(browser, "dgo")
    until(browser, lambda: "query=dgo" in browser.current_url and settled(browser))
    type_words(browser, Keys.DELETE)
    until(browser, lambda: " new" in find(browser, ".pl-start [aria-label=Saved]")[0].text)
    requests = browser.execute_script("return performance.getEntriesByType('resource')")
    assert requests, "of the search"
    assert not any("api/new" in one["name"] for one in requests), "it was counted a moment ago"
    press(browser, "How to write a search")
    until(browser, lambda: find(browser, ".pl-help[open]"))
    press(browser, "beach -people")
    until(browser, lambda: "query=beach+-people" in browser.current_url)
    browser.get(address)
    until(browser, lambda: find(browser, ".pl-start [aria-label=Saved] button"))[0].click()
    until(browser, lambda: "query=dog" in browser.current_url)
    seen = "return JSON.parse(localStorage['polylens-saved'])[0].seen"
    until(browser, lambda: browser.execute_script(seen) > "2026")
    browser.execute_script("localStorage.clear()")


def test_the_plus_adds_to_the_search(browser, address):
    browser.get(f"{address}/?query=dog")
    settled(browser)
    find(browser, "[aria-label='Add to this search']")[0].click()
    browser.switch_to.active_element.send_keys("-two puppies", Keys.ENTER)
    until(browser, lambda: "query=dog+-two+puppies" in browser.current_url)


RUN_AXE = """
    const done = arguments[arguments.length - 1];
    const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"];
    axe.run(document, { runOnly: rules }).then(({ violations }) =>
        done(violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.html)])));
"""


def test_axe_finds_nothing_wrong(browser, address):
    """The accessibility checker of Deque, on the first page, a search, its dialogs, the viewer."""
    script = (resources.files("selenium_axe_python") / "axe-core" / "axe.min.js").read_text("utf-8")
    browser.set_window_size(1360, 2600)  # what is out of sight has no contrast that can be measured

    def check() -> None:
        browser.execute_script(script)
        end = time.monotonic() + 20  # what fades in has little contrast at first
        while (found := browser.execute_async_script(RUN_AXE)) and time.monotonic() < end:
            time.sleep(0.5)
        assert found == []

    browser.get(address)
    until(browser, lambda: find(browser, ".pl-facets .pl-value"))
    until(browser, lambda: all_pictures_show(browser))
    check()
    browser.get(f"{address}/?query=dog&w=kind%3Dimage")
    settled(browser)
    until(browser, lambda: find(browser, ".pl-facets [aria-pressed=true]"))
    browser.execute_script("arguments[0].click()", find(browser, ".pl-tile .pl-select")[0])
    check()
    press(browser, "Tags")
    until(browser, lambda: find(browser, ".pl-dialog[open]"))
    check()
    find(browser, ".pl-dialog .pl-close")[0].click()
    press(browser, "Clear")
    find(browser, "[aria-label='How to write a search']")[0].click()
    until(browser, lambda: find(browser, ".pl-help[open]"))
    check()
    find(browser, ".pl-dialog .pl-close")[0].click()
    viewer = open_item(browser)
    until(browser, lambda: "Similar" in viewer.text)
    until(browser, lambda: find(browser, ".pl-viewer .pl-original"))
    check()


DROP = """
    const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], arguments[1], { type: arguments[2] }));
    const event = arguments[3] === "paste"
        ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
    document.querySelector(".pl-results").dispatchEvent(event);
"""


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted_anywhere(browser, address, way):
    data = base64.b64encode((ROOT / "samples" / "animals" / "chelsea.jpg").read_bytes()).decode()
    browser.get(address)
    settled(browser)
    browser.execute_script(DROP, data, "cat.jpg", "image/jpeg", way)
    until(browser, lambda: "query=img" in browser.current_url)
    until(browser, lambda: names(browser)[0] == "chelsea.jpg")
    assert "You searched with this" in find(browser, ".pl-tile")[0].text


def test_a_broken_picture_leaves_the_page_as_it_is(browser, address):
    browser.get(f"{address}/?query=dog")
    before = settled(browser)
    browser.execute_script(
        DROP, base64.b64encode(b"no image").decode(), "x.jpg", "image/jpeg", "drop"
    )
    toast = until(browser, lambda: find(browser, ".pl-toast"))[0]
    assert "not in a known image format" in toast.text
    assert names(browser) == before


def test_arabic_is_shown_from_its_beginning(browser, address):
    browser.get(f"{address}/?query=%D9%82%D8%B7%D8%A9")
    cat = ".pl-tile[data-name='chelsea.jpg'] .pl-caption span"
    caption, box = until(browser, lambda: find(browser, cat))[0], find(browser, ".pl-input")[0]
    assert caption.text.startswith("قطة برتقالية")
    for element in (caption, box):
        assert element.value_of_css_property("direction") == "rtl"
    assert caption.get_attribute("lang") == "ar"


def test_an_ingest_in_a_terminal_shows_in_the_open_app(browser, address, library, tmp_path, photo):
    def run_indexer(*words: str) -> None:
        command = [sys.executable, "-m", "indexer", *words, "--store", str(library)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=120, capture_output=True)

    ingest = ("ingest", "--collection", "terminal")
    arabic = "قطة برتقالية.jpg"
    run_indexer(*ingest, str(photo(tmp_path / "Naples" / arabic, 4).parent))
    try:
        browser.get(f"{address}/?c=terminal")
        until(browser, lambda: names(browser) == [arabic])
        name = find(browser, ".pl-caption .pl-name")[0]
        stem = name.find_element(By.TAG_NAME, "bdi")
        assert stem.value_of_css_property("direction") == "rtl"
        assert stem.rect["x"] <= name.rect["x"] + 1, "the extension is at the end"
        run_indexer(*ingest, str(photo(tmp_path / "Rome, [2019]" / "new.jpg", 5).parent))
        browser.get(f"{address}/?c=terminal&w=name%3Dnew.jpg")
        until(browser, lambda: names(browser) == ["new.jpg"])
        browser.get(f"{address}/?c=terminal")
        press(browser, "Rome, [2019]")
        until(browser, lambda: "folder" in browser.current_url and names(browser) == ["new.jpg"])
        press(browser, "Clear the filters")
        until(browser, lambda: len(names(browser)) == 2)
    finally:
        run_indexer("collections", "delete", "terminal", "--yes")


HOLD_ANSWER = """
    const [text] = arguments, ask = window.fetch;
    window.fetch = (url, options) => {
        if (!String(url).includes(`contains=${text}`)) return ask(url, options);
        window.fetch = ask;
        const answer = new Promise((resolve) => {
            window.release = () => (resolve(ask(url, options)), answer);
        });
        return answer;
    };
"""


def test_filters_are_chosen_left_out_and_cleared(browser, address):
    def count() -> str:
        return find(browser, ".pl-head span")[0].text

    browser.get(address)
    until(browser, lambda: count() == "94 items")
    press(browser, "webp")
    until(browser, lambda: count() == "24 items")
    button = find(browser, "[aria-label='Leave out animals']")[0]
    browser.execute_script("arguments[0].click()", button)
    until(browser, lambda: "folder%21%3D" in browser.current_url)
    until(browser, lambda: count() != "24 items")
    until(browser, lambda: find(browser, ".pl-excluded [aria-label='Show animals again']"))
    press(browser, "samples")
    until(browser, lambda: "samples/**" in unquote(browser.current_url))
    until(browser, lambda: 0 < int(count().split()[0]) < 24)
    press(browser, "Clear the filters")
    until(browser, lambda: "w=" not in browser.current_url)
    until(browser, lambda: count() == "94 items")

    def folders() -> str:
        return find(browser, ".pl-facets [aria-label=Folder] ul")[0].text

    browser.execute_script(HOLD_ANSWER, "food")
    search = until(browser, lambda: find(browser, "[aria-label='Find in Folder']"))[0]
    search.send_keys("food")
    until(browser, lambda: browser.execute_script("return Boolean(window.release)"))
    search.send_keys(Keys.CONTROL, "a", Keys.NULL, "animals")
    until(browser, lambda: "animals" in folders() and "food" not in folders())
    browser.execute_async_script("release().then(() => setTimeout(arguments[0], 200))")
    assert "animals" in folders(), "a late answer does not replace a newer one"


@pytest.fixture
def dated(library, tmp_path, photo):
    """A collection of nine pictures of five months, and of two without a date."""
    days = ["2018-12-31", "2019-07-01", "2019-07-14", "2019-07-31", "2019-08-01", "2021-01-05"]
    for number, day in enumerate([*days, *["2021-03-03"] * 3, None, None]):
        exif = Image.Exif()
        if day:
            exif.get_ifd(ExifTags.IFD.Exif)[0x9003] = f"{day.replace('-', ':')} 12:00:0{number}"
        photo(tmp_path / "dated" / f"{number}.jpg", number, exif=exif)
    command = [sys.executable, "-m", "indexer"]
    where = ["--store", str(library), "--collection", "dated"]
    subprocess.run(
        [*command, "ingest", str(tmp_path / "dated"), *where, "-q"], cwd=ROOT, check=True
    )
    yield
    delete = ["collections", "delete", "dated", "--yes", "--store", str(library)]
    subprocess.run([*command, *delete], cwd=ROOT, check=True, capture_output=True)


def test_pictures_by_month_year_and_day(browser, address, dated):
    def headings() -> list[str]:
        shown = "return [...document.querySelectorAll('.pl-heading')].map((one) => one.innerText)"
        return browser.execute_script(shown)

    def shows(*numbers: int) -> bool:
        return names(browser) == [f"{number}.jpg" for number in numbers]

    def order(value: str) -> None:
        script = (
            "const select = document.querySelector('.pl-order'); select.value = arguments[0];"
            "select.dispatchEvent(new Event('change'))"
        )
        until(browser, lambda: find(browser, ".pl-order"))
        browser.execute_script(script, value)
        until(browser, lambda: f"sort={value}" in browser.current_url)

    agent = browser.execute_script("return navigator.userAgent")
    german = {"userAgent": agent, "acceptLanguage": "de"}
    browser.execute_cdp_cmd("Emulation.setUserAgentOverride", german)
    browser.get(f"{address}/?c=dated")
    until(browser, lambda: names(browser)[:9] == [f"{n}.jpg" for n in reversed(range(9))])
    months = ["März 2021", "Januar 2021", "August 2019", "Juli 2019", "Dezember 2018", "No date"]
    assert headings() == months
    browser.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": ""})  # as it was
    order("oldest")
    until(browser, lambda: headings()[1:3] == ["July 2019", "August 2019"])
    assert names(browser)[:9] == [f"{n}.jpg" for n in range(9)]
    find(browser, ".pl-tile[data-name='1.jpg'] a")[0].send_keys(Keys.ARROW_DOWN)
    below = "return document.activeElement.closest('.pl-tile').getBoundingClientRect().top"
    first = find(browser, ".pl-tile[data-name='1.jpg']")[0].rect["y"]
    assert browser.execute_script(below) > first

    bars = "return [...document.querySelectorAll('.pl-year')].map((bar) => bar.title)"
    counts = ["2018: 1", "2019: 4", "2020: 0", "2021: 4"]
    assert until(browser, lambda: browser.execute_script(bars)) == counts
    until(browser, lambda: find(browser, ".pl-year[title='2019: 4']")[0].click() is None)
    until(browser, lambda: shows(1, 2, 3, 4))
    assert "w=year%3D2019" in browser.current_url
    chosen = ".pl-year[title='2019: 4'][aria-pressed=true]"
    until(browser, lambda: find(browser, chosen)[0].click() is None)
    until(browser, lambda: len(names(browser)) == 11)
    for label, day in (("From", "07102019"), ("To", "08012019")):
        field = f".pl-days [aria-label={label}]"
        until(browser, lambda f=field, d=day: find(browser, f)[0].send_keys(d) is None)
        until(browser, lambda day=day: f"{day[-4:]}-{day[:2]}" in browser.current_url)
    until(browser, lambda: shows(2, 3, 4))
    assert "taken%3D2019-07-10..2019-08-01" in browser.current_url
    browser.refresh()
    until(browser, lambda: shows(2, 3, 4))
    until(browser, lambda: len(find(browser, ".pl-within")) == 1)
    press(browser, "Clear the filters")
    until(browser, lambda: len(names(browser)) == 11)
    order("name")
    until(browser, lambda: headings() == [])
    assert shows(*range(11))


def test_the_library_takes_the_name_of_any_model(
    browser, address, library, tmp_path, photo, checkpoint
):
    """Typed into the box, as one would type a Hugging Face id or a folder."""
    photo(tmp_path / "more" / "new.jpg", 5)
    browser.get(f"{address}/library")

    def find_box(label: str):
        box = f"input[type=text][aria-label='{label}']"
        return until(browser, lambda: find(browser, box))[0]

    folder, called = find_box("Folder on this machine"), find_box("Collection")
    folder.send_keys(str(tmp_path / "more"))
    called.send_keys(Keys.CONTROL, "a", Keys.NULL, "chosen")
    model = browser.find_element(By.CSS_SELECTOR, "[data-testid=stSelectbox] input")
    model.send_keys(str(checkpoint("e5v")), Keys.ENTER)
    press(browser, "Add pictures")
    made = library / "chosen" / "collection.json"
    until(browser, lambda: made.exists() and str(checkpoint("e5v")) in made.read_text(), 90)
    until(browser, lambda: "1 added" in browser.find_element(By.TAG_NAME, "body").text, 60)


def test_a_vote_survives_a_reload_and_can_be_withdrawn(browser, address, library):
    kept = library / "default" / "feedback.jsonl"

    def thumbs() -> list:
        return find(browser, ".pl-tile .pl-thumbs button")

    def pressed(place: int) -> bool:
        return thumbs()[place].get_attribute("aria-pressed") == "true"

    def votes() -> list[int]:
        lines = kept.read_text("utf-8").splitlines() if kept.exists() else []
        return [json.loads(line)["vote"] for line in lines]

    try:
        browser.get(f"{address}/?query=%E7%8C%AB")
        until(browser, lambda: len(thumbs()) == 120)
        thumbs()[0].send_keys(Keys.ENTER)  # it is a button, and the keyboard reaches it
        until(browser, lambda: votes() == [1])
        (line,) = map(json.loads, kept.read_text("utf-8").splitlines())
        assert line["query"]["parts"] == [{"text": "猫", "weight": 1.0}]
        assert Path(line["path"]).name == names(browser)[0]

        browser.get("about:blank")
        browser.get(f"{address}/?query=%E7%8C%AB")
        until(browser, lambda: pressed(0) and not pressed(1))
        open_item(browser)
        until(browser, lambda: find(browser, ".pl-about .pl-thumbs button"))[0].click()
        until(browser, lambda: votes() == [1, 0])
        assert not pressed(0), "the tile behind it knows"

        script = "for (const thumb of arguments) thumb.click()"
        browser.get(f"{address}/?query=dog")
        until(browser, lambda: len(thumbs()) == 120 and "dog" in browser.current_url)
        browser.execute_script(script, *thumbs()[::2][:6])  # faster than they can be kept
        until(browser, lambda: votes() == [1, 0] + [1] * 6)
    finally:
        kept.unlink(missing_ok=True)


def test_many_are_tagged_and_voted_on_and_it_is_undone(browser, address, library):
    kept = library / "default" / "feedback.jsonl"

    def page_text() -> str:
        return find(browser, "body")[0].text

    def undo(said: str) -> None:
        until(browser, lambda: said in find(browser, ".pl-toast")[0].text)
        find(browser, ".pl-toast button")[0].click()

    try:
        browser.get(f"{address}/?query=dog")
        settled(browser)
        for button in find(browser, ".pl-tile .pl-select")[:3]:
            browser.execute_script("arguments[0].click()", button)
        until(browser, lambda: "3 selected" in page_text())
        press(browser, "Tags")
        until(browser, lambda: browser.switch_to.active_element.get_attribute("list"))
        browser.switch_to.active_element.send_keys("On the wall", Keys.ENTER)
        until(browser, lambda: "3 of 3" in find(browser, ".pl-tags")[0].text)
        undo("Tagged “On the wall” (3)")
        until(browser, lambda: find(browser, ".pl-dialog")[0].text.count("wall") == 0)
        find(browser, ".pl-dialog .pl-close")[0].click()
        find(browser, "[aria-label='Thumbs down for all']")[0].click()
        undo("Thumbs down for 3")
        until(
            browser,
            lambda: [json.loads(line)["vote"] for line in kept.open()] == [-1, -1, -1, 0, 0, 0],
        )
        press(browser, "Download…")
        press(browser, "Contact sheet")
        until(browser, lambda: len(browser.window_handles) == 2)
        browser.switch_to.window(browser.window_handles[1])
        until(browser, lambda: len(find(browser, "figure img")) == 3)
        browser.close()
        browser.switch_to.window(browser.window_handles[0])
    finally:
        kept.unlink(missing_ok=True)


def test_the_quality_page_shows_a_run(browser, address, run_folder):
    browser.get(f"{address}/quality")

    def page_text() -> str:
        return browser.find_element(By.TAG_NAME, "body").text

    until(browser, lambda: "Better, beyond chance: recall@10 rose by 25.0 points" in page_text())
    until(
        browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, ".vega-embed svg, canvas")) >= 2
    )
    press(browser, "Worst queries")
    until(browser, lambda: "Was found" in page_text())
    script = (
        "const shown = [...document.querySelectorAll('[data-testid=stImage] img')];"
        "return shown.length === 2 && shown.every(i => i.complete && i.naturalWidth > 0)"
    )
    until(browser, lambda: browser.execute_script(script))


def test_a_running_training_is_refreshed(browser, address, run_folder):
    def note(status: str) -> None:
        metadata = json.loads((run_folder / "run.json").read_text())
        (run_folder / "run.json").write_text(json.dumps({**metadata, "status": status}))

    def page_text() -> str:
        return browser.find_element(By.TAG_NAME, "body").text

    note("training")
    browser.get(f"{address}/quality")
    until(browser, lambda: "Step 10 · loss 2.0000" in page_text())
    assert "indexer reindex" not in page_text()
    with (run_folder / "log.jsonl").open("a") as log:
        log.write('{"step": 11, "loss": 1.75}\n')
    until(browser, lambda: "Step 11 · loss 1.7500" in page_text())
    note("done")
    until(browser, lambda: f"indexer reindex --model {run_folder}" in page_text())


ELSEWHERE = "http://127.0.0.2:9"  # nobody answers there, and nobody may be asked
HOSTILE = (
    f"![a]({ELSEWHERE}/a.png)",
    f"![a](http:&#47;&#47;127.0.0.2:9&#47;b.png) <img src='{ELSEWHERE}/c.png' onerror='hacked=1'>",
    "<script>hacked = 1</script><style>body { display: none }</style>",
    ":red[warning] :material/delete: :streamlit: :smile: $x^2$ -> 1",
    f"[a](javascript:hacked=1) {ELSEWHERE}/d www.example.org a@example.org",
    "# head *bold* `code` &lt;b&gt; | 1) -",
)


@pytest.fixture
def hostile(library, tmp_path, photo):
    """A collection whose names, captions, tags and columns are hostile."""
    for number, text in enumerate(HOSTILE):
        name = text.replace("/", "\N{FULLWIDTH SOLIDUS}")[:100]
        path = photo(tmp_path / f"folder {name}" / f"{name}.png", number)
        about = {"caption": text, "tags": [text], "camera": text, text[:60]: text}
        path.with_suffix(".json").write_text(json.dumps(about))
    command = [sys.executable, "-m", "indexer"]
    where = ["--store", str(library), "--collection", "hostile"]
    subprocess.run([*command, "ingest", str(tmp_path), *where, "--quiet"], cwd=ROOT, check=True)
    yield
    delete = ["collections", "delete", "hostile", "--yes", "--store", str(library)]
    subprocess.run([*command, *delete], cwd=ROOT, check=True, capture_output=True)


def check_page(browser, address) -> None:
    """Nothing came from elsewhere, and no text became an element."""
    browser.execute_script("return document.fonts.ready")
    made = """
        const bad = 'a[href*="127.0.0.2"], a[href*="example.org"], a[href^="javascript"],' +
            'img[src*="127.0.0.2"], .katex, em, code:not(dd code, pre code), main style';
        const names = performance.getEntriesByType('resource').map(entry => entry.name);
        const bodies = document.querySelectorAll('[data-testid=stMarkdownContainer]');
        return [
            [...document.querySelectorAll(bad)].map(e => e.outerHTML), names,
            window.hacked ?? null,
            [...bodies].filter(e => e.querySelector('img')).map(e => e.outerHTML),
        ]
    """
    elements, loaded, hacked, images = browser.execute_script(made)
    assert (elements, hacked, images) == ([], None, [])
    assert {urlsplit(url).netloc for url in loaded} <= {urlsplit(address).netloc, ""}


def page_text(browser) -> str:
    return browser.find_element(By.TAG_NAME, "body").text.replace("\u2060", "")


def test_hostile_text_is_shown_as_text(browser, address, hostile):
    browser.get(f"{address}/?c=hostile")
    until(browser, lambda: len(names(browser)) == len(HOSTILE))
    until(browser, lambda: all_pictures_show(browser))
    for text in HOSTILE:  # the captions on the cards, and the tags among the filters
        until(browser, lambda text=text: page_text(browser).count(text) >= 2)
    check_page(browser, address)
    # the counts of folders with long names are within the sidebar
    fits = """
        const counts = [...document.querySelectorAll(".pl-facets li li .pl-value small")];
        const edge = document.querySelector(".pl-facets").getBoundingClientRect().right;
        return counts.length > 0 && counts.every((c) => c.getBoundingClientRect().right <= edge);
    """
    assert browser.execute_script(fits)
    for text in HOSTILE[1:2]:
        viewer = open_item(browser)
        until(browser, lambda viewer=viewer: "About it" in viewer.text)
        check_page(browser, address)
        query = quote('"' + text.replace('"', "") + '"')
        browser.get(
            f"{address}/?c=hostile&query={query}&w=name%3D{quote(text)}&w={quote(text)}%3D1"
        )
        until(browser, lambda text=text: text[:20] in page_text(browser))
        check_page(browser, address)
        browser.get(f"{address}/?c=hostile")
        until(browser, lambda: len(names(browser)) == len(HOSTILE))


def test_a_hostile_run_is_shown_as_text(browser, address, run_folder):
    """A run that somebody sent: its names, metrics, languages and card."""
    plain = json.dumps(HOSTILE[0])[1:-1]
    for path in [*run_folder.rglob("*.json"), *run_folder.rglob("*.jsonl")]:
        text = path.read_text()
        for name in ('"mrr"', '"de"', '"t2i"', '"held-out"', '"shop"', '"something else"'):
            text = text.replace(name, f'"{name[1:-1]} {plain}"')
        path.write_text(text)
    image = HOSTILE[0]
    card = f"# card\n\n!{image}\n\n!!{image} \\!{image}\n\n![r][r]\n\n[r]: {ELSEWHERE}/r\n"
    (run_folder / "README.md").write_text(card)
    browser.get(f"{address}/quality")
    until(browser, lambda: f"mrr {HOSTILE[0]}" in page_text(browser))
    until(browser, lambda: "All figures" in page_text(browser))
    check_page(browser, address)
    press(browser, "Worst queries")
    until(browser, lambda: "Was found" in page_text(browser))
    check_page(browser, address)
    press(browser, "Model card")
    until(browser, lambda: "card" in page_text(browser))
    time.sleep(1)
    loaded = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    hosts = {urlsplit(url).netloc for url in browser.execute_script(loaded)}
    assert hosts <= {urlsplit(address).netloc, ""}
