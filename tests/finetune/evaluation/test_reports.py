"""Reports are one file each, and nothing in them is read as markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from finetune.data.pairs import Pair, Side
from finetune.errors import DataError
from finetune.evaluation.benchmark import benchmark_from_pairs
from finetune.evaluation.evaluate import compare, evaluate
from finetune.evaluation.render import _environment, render
from finetune.evaluation.report import iter_query_results, read_comparison, read_report

HOSTILE = "<script>alert('blue')</script> | `code` & a\nsecond line"


class Tags(HTMLParser):
    """Whether every tag is closed, and which links leave the page."""

    VOID = ("meta", "img", "line", "rect", "path")

    def __init__(self):
        super().__init__()
        self.open, self.outside, self.images = [], [], 0

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        values = dict(attributes)
        self.images += values.get("src", "").startswith("data:image/jpeg;base64,")
        self.outside += [v for k in ("src", "href") if (v := values.get(k, "data:"))[:5] != "data:"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()


@pytest.fixture
def folder(tmp_path, photo, colors):
    pairs = [
        Pair(Side(text=words), Side(image=str(photo(tmp_path / f"{look}.png", look))), language=tag)
        for words, look, tag in (
            (HOSTILE, "red", "en"), ("blue", "blue", "en"), ("green", "green", "de"),
        )
    ]  # fmt: skip
    report = evaluate(colors, benchmark_from_pairs(pairs, "a <b> set", "x"), tmp_path / "out")
    compare(report, report, tmp_path / "both")
    return tmp_path


@pytest.mark.parametrize("name", ["out/report", "both/comparison", "both/before/report"])
def test_html_is_well_formed_and_self_contained(folder, name):
    html = (folder / f"{name}.html").read_text("utf-8")
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert tags.outside == []
    assert "<script" not in html
    assert "prefers-color-scheme: dark" in html and "@media print" in html
    assert "<svg" in html


def test_the_hardest_query_is_shown_with_its_image(folder):
    html = (folder / "out" / "report.html").read_text("utf-8")
    assert "&lt;script&gt;alert(" in html
    tags = Tags()
    tags.feed(html)
    assert tags.images >= 1


def test_markdown_tables_are_well_formed(folder):
    text = (folder / "out" / "report.md").read_text("utf-8")
    assert "<script" not in text and "<b>" not in text
    assert re.search(r"ranked below it\.\n\n## Hardest queries\n\n\|", text)
    for table in re.split(r"\n\n+", text):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1


def test_a_model_compared_with_itself(folder):
    text = (folder / "both" / "comparison.md").read_text("utf-8")
    assert "no difference beyond chance (+0.0, 95 % interval +0.0 to +0.0, p 1)" in text


def test_bars_extend_below_zero():
    bars = [
        {"name": "de", "value": -0.02, "low": -0.05, "high": 0.01, "kind": "bad"},
        {"name": "ja", "value": 0.04, "low": 0.0, "high": 0.08, "kind": "plain"},
    ]
    drawn = str(_environment().get_template("macros.html.jinja").module.bars("difference", bars))
    widths = [float(w) for w in re.findall(r'<rect [^>]* width="([\d.]+)"', drawn)]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    assert ">-2.0<" in drawn


def test_a_comparison_reads_back(folder):
    comparison = read_comparison(folder / "both")
    report = read_report(folder / "both" / "after", with_results=False)
    assert report.results == ()
    assert comparison.after == report.model
    assert comparison.overall.keys() == report.metrics.keys()
    assert (comparison.overall["mrr"].sign, comparison.pairs) == (0, ())
    results = iter_query_results(folder / "out" / "queries.jsonl")
    assert {result.language for result in results} == {"en", "de"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged or incomplete"),
        ("{}", "is not what finetune writes"),
        ('{"format": 9}', "another version"),
    ],
)
def test_damaged_files(folder, content, message):
    (folder / "both" / "comparison.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_comparison(folder / "both")
    (folder / "out" / "queries.jsonl").write_text(content + "\n")
    with pytest.raises(DataError, match="evaluate again"):
        read_report(folder / "out")


def test_a_model_card_shows_hostile_names_as_text():
    """A file or a base may be named like an image on another server, or end a span of code."""
    image = "![x](http://example.org/x.png)"
    data = [{"path": f"a`` {image} `b\n# head", "blake3": "0"}]
    metadata = {"name": image, "preset": "p` " + image, "created": "2026-01-02", "pairs": 1}
    card = render(
        "model_card.md",
        folder=f"/runs/{image}\n```\n{image}",
        metadata={**metadata, "steps": 1, "seconds": 1, "data": data},
        base=image,
        source="https://example.org/a_b",
        license=image,
        version="1",
        languages=[(image, 1)],
        comparison=None,
    )
    outside_code = re.sub(r"(?s)```sh\n.*?\n```\n|(`+) .*? \1(?!`)", "", card)
    assert "![x]" not in outside_code
    assert "](https://example.org/a_b)" in card
    assert card.count("\n```") == 2 and "\n# head" not in card
    assert "``` a`` ![x](http://example.org/x.png) `b # head ``` (blake3 0)" in card
