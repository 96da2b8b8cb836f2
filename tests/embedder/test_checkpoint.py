"""Folders, ids and adapters: detected and loaded, or refused with a clear message."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file

import embedder
from embedder.checkpoint import Checkpoint, compute_digest, compute_fingerprint, detect_family
from embedder.errors import EmbedderError, UnknownModelError
from embedder.families import vlm2vec
from embedder.types import Input, Settings

CPU = Settings(device="cpu")
ITEMS = [Input(text="a cat"), Input(images=(tiny.picture("wide"),))]


@pytest.fixture
def copy(checkpoint, tmp_path):
    """A copy of a tiny model's folder that a test may damage."""

    def copied(family: str, form: str | None = None) -> Path:
        return Path(shutil.copytree(checkpoint(family, form), tmp_path / "copy"))

    return copied


@pytest.mark.parametrize(
    ("family", "form", "served"),
    [
        ("e5v", None, "e5v"),
        ("mme5", None, "mme5"),
        ("vlm2vec-llava", "V1", "vlm2vec"),
        ("vlm2vec-qwen2vl", "V2", "vlm2vec"),
        ("vlm2vec-qwen25vl", "V2", "vlm2vec"),
    ],
)
def test_the_family_is_detected_from_the_folder(copy, family, form, served):
    folder = copy(family, form)
    (folder / "polylens.json").unlink(missing_ok=True)
    assert detect_family(folder) == served


MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "custom_st.MultiModalTransformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def add_modules(folder: Path) -> None:
    """What mmE5's folder on Hugging Face holds besides the model: modules of
    sentence-transformers, code that comes with the weights, an adapter in a folder of its own."""
    (folder / "modules.json").write_text(json.dumps(MODULES))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
    (folder / "custom_st.py").write_text("raise SystemExit('code from elsewhere ran')\n")
    (folder / "lora").mkdir()
    (folder / "lora" / "adapter_config.json").write_text('{"base_model_name_or_path": "other"}')


@pytest.mark.parametrize("family", ["mme5", "e5v"])
def test_a_downloaded_folder_loads_by_itself(copy, model, family):
    """Without a hint, without its code, and with the vectors that it has by its name."""
    folder = copy(family)
    add_modules(folder)
    loaded = embedder.load(str(folder), CPU)
    assert (loaded.card.family, loaded.card.name) == (family, str(folder))
    np.testing.assert_array_equal(
        loaded.embed(ITEMS, "document"), model(family).embed(ITEMS, "document")
    )


def test_modules_around_qwen2_vl_are_another_model_unless_named(copy, tmp_path):
    """GME, for one."""
    folder = copy("vlm2vec-qwen2vl", "V2")
    (folder / "polylens.json").unlink()
    add_modules(folder)
    assert detect_family(folder) == "sentence_transformer"
    folder = folder.rename(tmp_path / "VLM2Vec-V2.0")
    assert detect_family(folder) == "vlm2vec"
    cached = tmp_path / "models--VLM2Vec--VLM2Vec-V2.0" / "snapshots" / "1f0b"
    assert detect_family(Path(shutil.copytree(folder, cached))) == "vlm2vec"


def test_gme_is_detected_from_its_own_folder_alone(copy, tmp_path):
    parent = tmp_path / "gme-Qwen2-VL-2B-Instruct"
    cached = tmp_path / "models--Alibaba-NLP--gme-Qwen2-VL-2B-Instruct" / "snapshots" / "1f0b"
    for family, folder, served in (
        ("vlm2vec-qwen2vl", cached, "gme"),
        ("e5v", parent, "e5v"),
        ("vlm2vec-qwen2vl", parent / "tuned", "vlm2vec"),
    ):
        copied = copy(family)
        shutil.copytree(copied, folder)
        shutil.rmtree(copied)
        assert detect_family(folder) == served


def test_an_adapter_in_an_old_file(copy, checkpoint, tmp_path):
    """VLM2Vec's are published as adapter_model.bin; a pickle that holds code is refused."""
    import torch
    from peft import LoraConfig, get_peft_model

    base = copy("vlm2vec-qwen2vl", "V1")
    (base / "polylens.json").unlink()
    folder = tmp_path / "VLM2Vec-Qwen2VL-2B"
    config = LoraConfig(
        r=4, target_modules=r".*language_model.*\.q_proj", init_lora_weights=False,
        base_model_name_or_path=str(base),
    )  # fmt: skip
    get_peft_model(embedder.load(str(base), CPU).backbone.model, config).save_pretrained(folder)
    expected = embedder.load(str(folder), CPU).embed(ITEMS, "document")
    saved = folder / "adapter_model.safetensors"
    weights = {name: torch.tensor(value) for name, value in load_file(saved).items()}
    torch.save(weights, folder / "adapter_model.bin")
    saved.unlink()
    loaded = embedder.load(str(folder), CPU)
    assert loaded.card.family == "vlm2vec"
    np.testing.assert_array_equal(loaded.embed(ITEMS, "document"), expected)
    torch.save({"weight": Path("somewhere")}, folder / "adapter_model.bin")
    with pytest.raises(EmbedderError, match="cannot be loaded: Weights only load failed"):
        embedder.load(str(folder), CPU)


def test_a_card_without_its_weights(checkpoint, model):
    folder = str(checkpoint("e5v"))
    card = embedder.describe_model(folder, CPU)
    assert card == model("e5v").card
    assert (card.name, card.family, card.dim) == (folder, "e5v", 32)


def test_a_family_may_be_named(checkpoint):
    """LLaVA-NeXT on Llama is E5-V, unless the name or the metadata says otherwise."""
    folder = checkpoint("e5v")
    card = embedder.describe_model(f"vlm2vec:{folder}", CPU)
    assert card.family == "vlm2vec"
    assert embedder.describe_model(card.name, CPU) == card


def test_what_changes_vectors_changes_the_fingerprint(copy):
    folder = copy("e5v")
    before = embedder.describe_model(str(folder), CPU).fingerprint
    assert embedder.describe_model(str(folder), Settings(dtype="bfloat16")).fingerprint == before
    assert embedder.describe_model(str(folder), Settings(pixel_budget=5000)).fingerprint != before
    weights = load_file(folder / "model.safetensors")
    name = next(n for n in weights if "q_proj" in n)
    save_file({**weights, name: weights[name] * 1.01}, folder / "model.safetensors")
    assert embedder.describe_model(str(folder), CPU).fingerprint != before


def test_the_vlm2vec_recipe_is_detected_from_name_or_metadata(copy, tmp_path):
    folder = copy("vlm2vec-qwen2vl", "V2")
    before = embedder.describe_model(str(folder), CPU).fingerprint
    (folder / "polylens.json").unlink()
    newest = vlm2vec.detect_recipe(str(folder), Checkpoint(folder))
    assert newest == vlm2vec.QWEN_V2
    named = folder.rename(tmp_path / "VLM2Vec-Qwen2VL-2B")
    assert vlm2vec.detect_recipe(str(named), Checkpoint(named)) == vlm2vec.QWEN_V1
    metadata = {"family": "vlm2vec", "version": 2, "square": 56, "pixels": [784, 7840]}
    (named / "polylens.json").write_text(json.dumps(metadata))
    recipe = vlm2vec.detect_recipe(str(named), Checkpoint(named))
    assert recipe == vlm2vec.Recipe(2, 56, (784, 7840), "readme")
    assert embedder.describe_model(str(named), CPU).fingerprint != before


def test_vlm2vec_with_the_prompts_of_the_readme(copy):
    """Its vectors and its fingerprint are those of versions that knew no other prompts, so that
    their collections and checkpoints go on; with the prompts of the rows, both change."""
    folder = copy("vlm2vec-qwen2vl", "V2")
    saved = json.loads((folder / "polylens.json").read_text())
    del saved["prompt_format"]
    (folder / "polylens.json").write_text(json.dumps(saved))
    old = embedder.load(str(folder), CPU)
    digest = Checkpoint(folder).digest
    made = "1 Recipe(version=2, square=0, pixels=(3136, 50176))"
    assert old.card.fingerprint == compute_fingerprint("vlm2vec", made, digest, None, old.card.dim)
    (folder / "polylens.json").unlink()  # as a checkpoint of the authors
    new = embedder.load(str(folder), CPU)
    readme = embedder.load(f"vlm2vec-readme:{folder}", CPU)
    assert readme.card.name == f"vlm2vec-readme:{folder}"
    assert embedder.describe_model(readme.card.name, CPU) == readme.card
    assert new.card.fingerprint != readme.card.fingerprint
    rows = [one.embed(ITEMS, "document") for one in (old, new, readme)]
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-6)
    assert np.abs(rows[1] - rows[2])[1].max() > 1e-3  # the picture's
    (folder / "polylens.json").write_text(json.dumps({**saved, "prompt_format": "none"}))
    with pytest.raises(EmbedderError, match="prompt_format is 'none', not 'mmeb' or 'readme'"):
        embedder.describe_model(str(folder), CPU)


def test_the_digest_reads_large_files_in_part(tmp_path):
    data = bytearray(40 << 20)
    (tmp_path / "model.safetensors").write_bytes(data)
    before = compute_digest(tmp_path)
    for start in range(0, len(data), 1 << 16):
        data[start] = 1
    (tmp_path / "model.safetensors").write_bytes(data)
    assert compute_digest(tmp_path) != before


@pytest.mark.parametrize("family", ["e5v", "vlm2vec-qwen2vl"])
@pytest.mark.parametrize("layout", ["today", "old"])
@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_is_merged(checkpoint, tmp_path, family, layout, dora):
    """The merged model and the adapted one agree; keys of old layouts are mapped."""
    from peft import LoraConfig, get_peft_model

    form = "V2" if "qwen" in family else None
    base = checkpoint(family, form)
    reference = embedder.load(str(base), CPU)
    plain = reference.embed(ITEMS, "document")
    body = reference.backbone.model
    config = LoraConfig(
        r=4, target_modules=r".*language_model.*\.(q_proj|v_proj)", use_dora=dora,
        init_lora_weights=False, base_model_name_or_path=str(base),
    )  # fmt: skip
    adapted = get_peft_model(body, config)
    adapted.save_pretrained(tmp_path)
    if layout == "old":
        file = tmp_path / "adapter_model.safetensors"
        old = {
            key.replace("model.language_model.layers", "model.model.layers"): value
            for key, value in load_file(file).items()
        }
        save_file(old, file)
    wanted = reference.embed(ITEMS, "document")
    assert np.abs(wanted - plain).max() > 1e-3
    if form:
        shutil.copy(base / "polylens.json", tmp_path)
    loaded = embedder.load(str(tmp_path), CPU)
    np.testing.assert_allclose(loaded.embed(ITEMS, "document"), wanted, atol=1e-5)
    assert loaded.card.fingerprint != embedder.describe_model(str(base), CPU).fingerprint
    assert loaded.card.name == str(tmp_path)


def test_an_adapter_of_another_model_is_refused(checkpoint, tmp_path):
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "base_model_name_or_path": str(checkpoint("e5v"))})
    )
    wrong = {"base_model.model.elsewhere.q_proj.lora_A.weight": np.zeros((2, 32), np.float32)}
    save_file(wrong, tmp_path / "adapter_model.safetensors")
    with pytest.raises(EmbedderError, match="made for another model"):
        embedder.load(str(tmp_path), CPU)


def test_missing_weights_are_reported(copy):
    folder = copy("e5v")
    weights = load_file(folder / "model.safetensors")
    save_file(dict(list(weights.items())[:-3]), folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EmbedderError, match="lacks 3 of the model's weights"):
        embedder.load(str(folder), CPU)


def test_a_damaged_file_is_reported(copy):
    folder = copy("e5v")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(EmbedderError, match=r"cannot be loaded"):
        embedder.load(str(folder), CPU)
    (folder / "tokenizer.json").write_text("{")
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(EmbedderError, match=r"tokenizer\.json"):
        embedder.load(str(folder), CPU)


@pytest.mark.parametrize("content", ["[]", '"x"', "null", "[" * 100_000])
@pytest.mark.parametrize("name", ["polylens.json", "adapter_config.json", "config.json"])
def test_json_of_another_kind_is_reported(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(EmbedderError, match=rf"{name} cannot be read"):
        embedder.describe_model(str(tmp_path), CPU)


@pytest.mark.parametrize(
    "config",
    [
        '{"model_type": "llava_next", "text_config": []}',
        '{"model_type": "siglip", "text_config": "x"}',
        '{"model_type": "siglip", "hidden_size": [1]}',
    ],
)
def test_a_value_of_another_kind_is_reported(tmp_path, config):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(EmbedderError, match="of another kind than expected"):
        embedder.describe_model(str(tmp_path), CPU)


def test_modules_of_another_kind_are_reported(tmp_path):
    (tmp_path / "modules.json").write_text('{"0": "Transformer"}')
    with pytest.raises(EmbedderError, match=r"modules\.json cannot be read"):
        embedder.describe_model(str(tmp_path), CPU)


def test_a_folder_without_a_model_is_reported(tmp_path):
    with pytest.raises(EmbedderError, match=r"no config\.json"):
        embedder.load(str(tmp_path), CPU)


def test_an_unknown_model_is_reported():
    with pytest.raises(UnknownModelError, match="known models: starter"):
        embedder.load("strater")


@pytest.mark.parametrize("name", ["royokong/e5-v", "somebody/something"])
def test_a_missing_network_is_reported(name, monkeypatch):
    """A known id and an unknown one, neither on this machine."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EmbedderError, match="cannot be downloaded") as error:
        embedder.load(name, CPU)
    assert f"hf download {name}" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_too_little_memory_is_reported(checkpoint, monkeypatch):
    import embedder.vlm.loading as loading

    monkeypatch.setattr(loading, "read_available_ram", lambda: 1000)
    with pytest.raises(EmbedderError, match=r"1.0 kB are free; choose a smaller model"):
        embedder.load(str(checkpoint("e5v")), CPU)


@pytest.mark.parametrize("device", ["cuda:9", "nonsense"])
def test_a_missing_device_is_reported(checkpoint, device):
    with pytest.raises(EmbedderError, match=device):
        embedder.load(str(checkpoint("e5v")), Settings(device=device))


def test_unsupported_dims_and_budgets_are_refused(checkpoint):
    with pytest.raises(EmbedderError, match="dim 32, not 16"):
        embedder.load(str(checkpoint("e5v")), Settings(dim=16))
    with pytest.raises(EmbedderError, match="saves nothing"):
        embedder.load(str(checkpoint("mme5")), Settings(pixel_budget=1000))


def test_a_pixel_budget_reduces_image_tokens(checkpoint, model):
    large = Input(images=(tiny.picture("large"),))
    for family, form, budget in (("e5v", None, 4000), ("vlm2vec-qwen2vl", "V2", 10_000)):
        small = embedder.load(str(checkpoint(family, form)), Settings("cpu", pixel_budget=budget))
        cheap = small.backbone.bucket(small.backbone.prepare(large, "document", None)).tokens
        whole = model(family, form).backbone
        assert cheap < whole.bucket(whole.prepare(large, "document", None)).tokens
        assert np.isfinite(small.embed([large], "document")).all()
        assert small.card.pixel_budget == budget
