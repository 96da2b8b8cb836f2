"""The Quality page in each of its states, run by Streamlit's own test runner."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys

import pytest
from streamlit.testing.v1 import AppTest
from typer.main import get_command

from app import jobs, votes
from app.permissions import Permissions, set_permissions
from app.state import Search
from app.views import quality_evaluation
from indexer.types import QueryTerm


@pytest.fixture
def page():
    """`page("Training", run=FOLDER)` runs the page and chooses a view."""

    def run(view: str | None = None, **address) -> AppTest:
        tested = AppTest.from_function(_quality, default_timeout=60)
        for key, value in address.items():
            tested.query_params[key] = value
        tested.run()
        if view:
            control(tested, "What to see").set_value(view).run()
        assert not tested.exception, tested.exception
        return tested

    return run


def problem(tested: AppTest) -> str:
    """The first message of a problem, without Markdown's backslashes."""
    return re.sub(r"\\(.)", r"\1", [*tested.error, *tested.warning][0].value)


def _quality() -> None:
    from app.views import quality

    quality.show()


def test_the_first_steps_are_commands_that_finetune_takes():
    from app.views.quality import FIRST_STEPS
    from finetune.cli import app

    for line in FIRST_STEPS.strip().splitlines():
        program, name, *arguments = shlex.split(line)
        assert program == "finetune"
        get_command(app).commands[name].make_context(name, arguments)  # else a usage error


def control(tested: AppTest, label: str):
    return next(c for c in tested.segmented_control if c.label == label)


def html(tested: AppTest) -> str:
    return "\n".join(element.proto.body for element in tested.get("html"))


def code(tested: AppTest) -> str:
    return "\n".join(element.value for element in tested.code)


def test_without_a_run_three_lines_say_how_to_make_one(empty_store, page):
    tested = page()
    lines = tested.code[0].value.splitlines()
    assert [line.split()[1] for line in lines] == ["pairs", "train", "evaluate"]


def test_a_run_shows_what_it_changed(empty_store, run_folder, page):
    tested = page()
    assert "Better, beyond chance: recall@10 rose by 25.0 points" in html(tested)
    assert "<b>40.0</b><span>before</span>" in html(tested)
    assert "<b>65.0</b><span>after</span>" in html(tested)
    headings = [m.value for m in tested.markdown]
    assert [h for h in headings if " to " in h] == [
        "##### Words to pictures",
        "##### Pictures to words",
    ]
    assert len(tested.get("vega_lite_chart") or tested.get("arrow_vega_lite_chart")) == 2
    assert f"indexer reindex --model {run_folder}" in code(tested)


def test_another_metric_may_be_no_better(empty_store, run_folder, page):
    tested = page()
    next(p for p in tested.pills if p.label == "Metric").set_value("mrr").run()
    assert "No difference beyond chance: mrr rose by 1.0 points" in html(tested)


def test_the_worst_queries_show_what_was_found(empty_store, run_folder, page):
    tested = page("Worst queries")
    page_html = html(tested)
    assert "place 1 → place 3" in page_html
    assert "&lt;b&gt;query&lt;/b&gt; a" in page_html, "a query's text is no HTML"
    assert "gone.jpg<br>cannot be shown" in page_html
    assert "something else" in page_html
    assert page_html.count("✓ right") == 1
    assert len(tested.image) == 2, "the red one, as it should be and as it was found"
    control(tested, "Which queries").set_value("Hardest now").run()
    assert not tested.exception


def test_a_report_shows_others_no_picture_outside_the_roots(
    empty_store, run_folder, tmp_path, page
):
    """A run that a visitor adds may name any file of the machine."""
    set_permissions(Permissions(roots=(str(tmp_path / "shop"),)))
    assert len(page("Worst queries").image) == 2
    set_permissions(Permissions(roots=(str(tmp_path / "other"),)))
    tested = page("Worst queries")
    assert not tested.image
    assert "red.jpg<br>cannot be shown" in html(tested)


def test_the_loss_curve_and_the_model_card(empty_store, run_folder, page):
    assert "Step 10 · loss 2.0000" in page("Training").caption[0].value
    card = page("Model card").markdown
    assert any("the card" in m.value and "![" not in m.value for m in card), "no foreign pictures"


def test_a_running_training_opens_with_its_loss(empty_store, run_folder, page):
    metadata = json.loads((run_folder / "run.json").read_text())
    (run_folder / "run.json").write_text(json.dumps({**metadata, "status": "training"}))
    tested = page()
    assert control(tested, "What to see").value == "Training"
    assert "indexer reindex" not in code(tested)


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "evaluation/held-out/comparison.json",
        "evaluation/held-out/before/report.json",
        "evaluation/held-out/after/report.json",
    ],
)
def test_damaged_files_are_a_readable_error(empty_store, run_folder, page, name):
    (run_folder / name).write_text('{"format": 1, ')
    tested = page()
    assert f"{name} is damaged or incomplete" in problem(tested)


def test_only_runs_that_are_listed_are_read(empty_store, run_folder, tmp_path, page):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "run.json").write_text((run_folder / "run.json").read_text().replace("shop", "hid"))
    assert ">hid<" not in html(page(run=str(hidden)))


def test_another_run_can_be_selected(empty_store, run_folder, page):
    older = run_folder.parent / "older"
    older.mkdir()
    metadata = (
        (run_folder / "run.json").read_text().replace("2026", "2025").replace("shop", "older")
    )
    (older / "run.json").write_text(metadata)
    tested = page()
    assert '<h2 class="pl-run">shop</h2>' in html(tested)
    next(b for b in tested.button if b.label == "Show").click().run()
    assert not tested.exception
    assert '<h2 class="pl-run">older</h2>' in html(tested)
    assert "has not been evaluated yet" in html(tested)


def test_a_run_in_another_folder_is_added(empty_store, run_folder, tmp_path, page):
    moved = tmp_path / "moved"
    run_folder.rename(moved)
    tested = page()
    next(t for t in tested.text_input if t.label == "Folder of a run").set_value(str(moved))
    next(b for b in tested.button if b.label == "Add").click().run()
    assert not tested.exception
    assert ">shop<" in html(tested)
    next(b for b in tested.button if b.label == "Forget").click().run()
    assert ">shop<" not in html(tested)
    assert moved.is_dir()


def test_a_file_of_pairs_must_be_there(empty_store, run_folder, tmp_path, page):
    tested = page("Evaluate")
    for typed, message in (
        (str(tmp_path / "pairs.jsonl"), "there is no file or folder"),
        ("/etc/passwd", "may not be read: only what is in"),
        ("/nowhere/pairs.jsonl", "may not be read: only what is in"),
        ("", "type the name of a file of pairs"),
    ):
        tested.text_input[0].set_value(typed)
        next(b for b in tested.button if b.label == "Evaluate").click().run()
        assert not tested.exception
        assert message in problem(tested)


def test_both_models_of_an_evaluation_are_checked(
    empty_store, run_folder, tmp_path, page, monkeypatch
):
    asked: list[str] = []
    monkeypatch.setattr(
        quality_evaluation, "check_model", lambda name, also: asked.append(name) or name
    )
    monkeypatch.setattr(jobs, "start_evaluation", lambda run, request: None)
    (tmp_path / "pairs.jsonl").touch()
    tested = page("Evaluate")
    tested.text_input[0].set_value(str(tmp_path / "pairs.jsonl"))
    next(b for b in tested.button if b.label == "Evaluate").click().run()
    assert not tested.exception
    assert asked == [str(run_folder), "starter"]


def test_a_run_outside_the_roots_is_not_added(empty_store, run_folder, tmp_path, page):
    set_permissions(Permissions(roots=(str(tmp_path / "allowed"),)))
    tested = page()
    next(t for t in tested.text_input if t.label == "Folder of a run").set_value(str(tmp_path))
    next(b for b in tested.button if b.label == "Add").click().run()
    assert "may not be read" in tested.exception[0].message  # the frame of the page shows it
    set_permissions(Permissions())
    assert "Folder of a run" not in [text.label for text in page().text_input]


def test_without_the_packages_of_fine_tuning_it_names_the_command(
    empty_store, run_folder, page, monkeypatch
):
    """Runs are shown all the same."""
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    assert "pip install 'polylens[finetune]'" not in code(page())
    tested = page("Evaluate")
    assert "pip install 'polylens[finetune]'" in code(tested)
    assert "Evaluate" not in [button.label for button in tested.button]
    shutil.rmtree(run_folder)
    assert "pip install 'polylens[finetune]'" in code(page())


def test_it_counts_thumbs_and_says_what_to_do_with_them(app_store, page):
    from app.services import open_searcher

    records, _ = open_searcher("default").collection.store.scroll(limit=3)
    search = Search(collection="default", terms=(QueryTerm(text="counted"),))
    try:
        for record, vote in zip(records, (1, 1, -1), strict=True):
            votes.record_votes(search, [(record, vote)])
        tested = page()
        assert "<b>default</b> 2 up · 1 down" in html(tested)
        assert "finetune pairs --from-feedback" in code(tested)
    finally:
        (app_store / "default" / "feedback.jsonl").unlink()
