"""Prompt templates: all placeholders are filled in, and custom files replace the defaults."""

from __future__ import annotations

import json

import pytest

from finetune.errors import FinetuneError
from finetune.synthesis.plan import COMBINATIONS, LANGUAGES, SampleJob
from finetune.synthesis.prompt_templates import (
    DEFAULT_PROMPTS,
    FILES,
    answer_schema,
    copy_default_prompts,
    find_mismatch,
    load_prompts,
    sketch_schema,
)

ALL = [kind for kinds in COMBINATIONS.values() for kind in kinds]
EACH = pytest.mark.parametrize("kind", ALL, ids=lambda kind: f"{kind.task} {kind.name}")


def job(kind, language="ja", seed=3) -> SampleJob:
    return SampleJob(
        number=0, combination=kind, language=LANGUAGES[language], anchor_id="", seed=seed
    )


@EACH
def test_every_placeholder_is_filled_in(kind):
    prompts = load_prompts()
    for seed in range(20):
        text = prompts.build_request(job(kind, seed=seed))
        assert "{{" not in text + prompts.system
        assert "Japanese" in text
        assert text.count("- picture ") == len(kind.image_roles)
        assert sketch_schema(answer_schema(kind)) in text
        assert "## " not in text


@EACH
def test_prompts_differ_by_combination(kind):
    others = {load_prompts().build_request(job(other)) for other in ALL if other != kind}
    assert load_prompts().build_request(job(kind)) not in others


def test_the_default_files_are_complete():
    assert {path.name for path in DEFAULT_PROMPTS.iterdir()} == set(FILES)


def test_copied_prompts_can_be_edited(tmp_path):
    folder = tmp_path / "prompts"
    assert len(copy_default_prompts(folder)) == len(FILES)
    assert load_prompts(folder).digest == load_prompts().digest
    for path in folder.iterdir():
        if path.name != "vqa.md":
            path.unlink()
    (folder / "vqa.md").write_text(
        "Ask in {{language}}, riddles only.\n\n## IT->T\n\nOne riddle.\n"
    )
    mine = load_prompts(folder)
    assert mine.digest != load_prompts().digest
    kind = COMBINATIONS["vqa"][0]
    assert mine.build_request(job(kind)).startswith("Ask in Japanese, riddles only.\n\nOne riddle.")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("request.md", "{{task}} {{color}}", "request.md has an unknown placeholder {{color}}"),
        ("vqa.md", "no heading", "vqa.md has no section '## IT->T'"),
        ("vqq.md", "a slip", "an unknown file vqq.md"),
        (None, "", "has no prompts"),
    ],
)
def test_an_error_in_a_prompt_is_named(file, text, words, tmp_path):
    if file:
        (tmp_path / file).write_text(text)
    with pytest.raises(FinetuneError) as caught:
        load_prompts(tmp_path)
    assert words in str(caught.value)


def test_existing_files_are_not_overwritten(tmp_path):
    (tmp_path / "vqa.md").write_text("mine")
    with pytest.raises(FinetuneError, match=r"vqa\.md already exists"):
        copy_default_prompts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["vqa.md"]
    with pytest.raises(FinetuneError, match="--write-prompts"):
        load_prompts(tmp_path / "nowhere")


def objects(schema):
    yield schema
    for part in schema.get("properties", {}).values():
        yield from objects(part)


@EACH
def test_schemas_stay_in_the_strict_subset(kind):
    """OpenAI: all properties required, none additional; only keywords that vLLM knows too."""
    schema = answer_schema(kind)
    assert list(schema["properties"]) == [
        "interpretation",
        "draft",
        "evaluation",
        "revised",
        "usable",
    ]
    for part in objects(schema):
        assert set(part) <= {"type", "properties", "required", "additionalProperties"}
        if part["type"] == "object":
            assert part["required"] == list(part["properties"])
            assert part["additionalProperties"] is False
    assert json.loads(json.dumps(schema)) == schema


def test_schema_mismatches():
    schema = answer_schema(COMBINATIONS["retrieval"][4])  # I->I: an instruction alone
    good = {
        "interpretation": dict.fromkeys(("general", "objects", "context", "brainstorm"), "x"),
        "draft": {"instruction": "x"},
        "evaluation": dict.fromkeys(
            ("relevance", "hard_negative", "clarity", "diversity", "improvements"), "x"
        ),
        "revised": {"instruction": "x"},
        "usable": True,
    }
    assert find_mismatch(good, schema) is None
    assert find_mismatch([good], schema) == "the answer is not an object"
    assert find_mismatch({**good, "usable": "yes"}, schema) == "usable is not a boolean"
    assert find_mismatch({**good, "usable": 1}, schema) == "usable is not a boolean"
    assert find_mismatch({**good, "revised": {}}, schema) == "revised lacks instruction"
    more = {**good, "revised": {"instruction": "x", "query": "y"}}
    assert find_mismatch(more, schema) == "revised has 'query', which is not in the schema"
    assert find_mismatch({k: v for k, v in good.items() if k != "draft"}, schema) == (
        "the answer lacks draft"
    )
