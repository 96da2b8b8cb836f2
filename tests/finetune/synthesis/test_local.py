"""A language model on this machine: a tiny random one writes rubbish, which is counted as such."""

from __future__ import annotations

import shutil
import threading

import pytest
from PIL import Image

from embedder.types import Settings
from finetune.synthesis.journal import Journal
from finetune.synthesis.languages import choose
from finetune.synthesis.local import LocalModel
from finetune.synthesis.opening import Choice, open_writer
from finetune.synthesis.plan import Plan
from finetune.synthesis.prompts import read_prompts
from finetune.synthesis.session import Session, Terms
from finetune.synthesis.writers import Request, WriterError

TEMPLATES = {
    "vlm2vec-qwen2vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "vlm2vec-llava": "<image>",
    "mme5": "<|image|>",
}
CHAT = """{% for message in messages %}{{ message.role }}:
{% for part in message.content %}{{ "PICTURE" if part.type == "image" else part.text }}
{% endfor %}{% endfor %}assistant:
"""


@pytest.fixture
def talkative(checkpoint, tmp_path):
    """A tiny checkpoint with a chat template."""

    def build(family):
        folder = tmp_path / family
        shutil.copytree(checkpoint(family), folder)
        template = CHAT.replace("PICTURE", TEMPLATES[family])
        (folder / "chat_template.jinja").write_text(template)
        return folder

    return build


@pytest.fixture
def short(tmp_path):
    """Prompts of a few words: a tiny model takes its time over long ones."""
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "system.md").write_text("Write JSON.")
    (folder / "request.md").write_text("{{task}} {{query}} {{document}}")
    (folder / "vqa.md").write_text("Ask.\n\n## IT->T\n\nOnce.")
    return read_prompts(folder)


@pytest.mark.parametrize("family", TEMPLATES)
def test_rubbish_is_no_json(talkative, family, gallery, short, tmp_path):
    terms = Terms(tmp_path / "out.jsonl", 2, {"vqa": 1.0}, choose("en"), side=56, floor=None)
    stop, plan = threading.Event(), Plan(gallery.ids, terms.tasks, terms.languages)
    jobs = list(plan.jobs(2))
    choice = Choice(None, str(talkative(family)), max_tokens=8, device="cpu")
    with Journal(terms.journal, plan.fingerprint) as journal:
        opened = Session(terms, gallery, None, short, plan, jobs, journal)
        report = opened.work(open_writer(choice, stop), stop)
    assert report.lost == {}
    assert (report.status, report.done, report.written) == ("complete", 2, 0)
    assert set(report.rejected) <= {"not JSON", "cut off"}
    assert report.tokens["in"] > 50
    assert 2 <= report.tokens["out"] <= 16


def test_a_model_that_was_not_taught_to_talk(checkpoint):
    with pytest.raises(WriterError, match="has no chat template"):
        LocalModel(str(checkpoint("vlm2vec-qwen2vl")), Settings(device="cpu"))


def test_a_seed_repeats_the_words(talkative, photo, tmp_path):
    model = LocalModel(str(talkative("vlm2vec-llava")), Settings(device="cpu"), max_tokens=12)
    with Image.open(photo(tmp_path / "a.png", 1)) as picture:
        words = [model.write(Request("s", "t", (picture,), {}, seed)).text for seed in (1, 1, 2)]
    assert words[0] == words[1] != words[2]
