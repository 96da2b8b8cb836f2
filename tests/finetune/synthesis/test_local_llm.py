"""A language model on this machine: a tiny random one writes text that is rejected as no JSON."""

from __future__ import annotations

import shutil
import threading

import pytest
from PIL import Image

from finetune.synthesis.journal import Journal
from finetune.synthesis.llm import LanguageModelError, LLMOptions, Request
from finetune.synthesis.local_llm import LocalLLM
from finetune.synthesis.pipeline import SynthesisOptions
from finetune.synthesis.plan import SynthesisPlan, parse_language_weights
from finetune.synthesis.prompt_templates import load_prompts
from finetune.synthesis.session import SynthesisSession

TEMPLATES = {
    "vlm2vec-qwen2vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "vlm2vec-llava": "<image>",
    "mme5": "<|image|>",
}
CHAT = """{% for message in messages %}{{ message.role }}:
{% for part in message.content %}{{ "PICTURE" if part.type == "image" else part.text }}
{% endfor %}{% endfor %}assistant:
"""


def choose(folder, **options) -> LLMOptions:
    return LLMOptions(endpoint=None, llm=str(folder), device="cpu", **options)


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
    """Short prompts: a tiny model is slow on long ones."""
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "system.md").write_text("Write JSON.")
    (folder / "request.md").write_text("{{task}} {{query}} {{document}}")
    (folder / "vqa.md").write_text("Ask.\n\n## IT->T\n\nOnce.")
    return load_prompts(folder)


@pytest.mark.parametrize("family", TEMPLATES)
def test_random_text_is_rejected(talkative, family, gallery, short, tmp_path):
    options = SynthesisOptions(
        out=tmp_path / "out.jsonl",
        count=2,
        tasks={"vqa": 1.0},
        languages=parse_language_weights("en"),
        image_side=56,
        min_agreement=None,
    )
    stop = threading.Event()
    plan = SynthesisPlan(ids=gallery.ids, tasks=options.tasks, languages=options.languages)
    jobs = list(plan.iter_jobs(2))
    choice = choose(talkative(family), max_tokens=8)
    with Journal(options.journal_path, plan.fingerprint) as journal:
        opened = SynthesisSession(
            options=options,
            images=gallery,
            load_embedder=None,
            prompts=short,
            plan=plan,
            jobs=jobs,
            journal=journal,
        )
        report = opened.run(choice, stop)
    assert report.lost == {}
    assert (report.status, report.done, report.written) == ("complete", 2, 0)
    assert set(report.rejected) <= {"not JSON", "cut off"}
    assert report.tokens["in"] > 50
    assert 2 <= report.tokens["out"] <= 16


def test_a_model_without_a_chat_template(checkpoint):
    with pytest.raises(LanguageModelError, match="has no chat template"):
        LocalLLM(choose(checkpoint("vlm2vec-qwen2vl")))


def test_a_seed_makes_generation_reproducible(talkative, photo, tmp_path):
    model = LocalLLM(choose(talkative("vlm2vec-llava"), max_tokens=12))
    with Image.open(photo(tmp_path / "a.png", 1)) as picture:
        requests = [
            Request(system="s", text="t", images=(picture,), schema={}, seed=seed)
            for seed in (1, 1, 2)
        ]
        words = [model.generate(request).text for request in requests]
    assert words[0] == words[1] != words[2]
