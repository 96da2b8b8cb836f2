"""Shared fixtures: pairs, recipes for tiny models, runs."""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch.distributed import TCPStore

import embedder
from embedder.types import Settings
from finetune.data.pairs import ContentKeys, Pair, Side
from finetune.run_dir import RunDir
from finetune.training import trainer
from finetune.training.data_loading import Collator, StepInputs
from finetune.training.loading import load_trainable
from finetune.training.losses import CachedContrastiveLoss, KnownPositives
from finetune.training.presets import Recipe, resolve_recipe
from finetune.training.trainable import TrainableModule
from finetune.training.trainer import train
from tests.finetune.training.worker import Job, NormLoggingCallback, work

CPU = Settings(device="cpu")
ROOT = Path(__file__).parents[3]


def _module(file: Path):
    spec = importlib.util.spec_from_file_location(f"loaded_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# Tiny models that sentence-transformers loads are made where they are tested.
_TINY = _module(ROOT / "tests" / "embedder" / "test_sentence_transformer.py")
qwen, bert = _TINY.qwen, _TINY.bert  # fixtures: folders
WORDS = ["cat", "dog", "red", "blue", "tree", "house", "sun", "moon", "car", "boat", "fish", "bird"]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The models are so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def texts() -> list[Pair]:
    """Twelve pairs of texts with one hard negative, or two, or none."""
    wrong = [tuple(Side(f"no {word}{n}") for n in range(i % 3)) for i, word in enumerate(WORDS)]
    return [
        Pair(Side(f"a {word} {'indeed ' * (i % 5)}"), Side(word), wrong[i])
        for i, word in enumerate(WORDS)
    ]


@pytest.fixture
def mixed(tmp_path, photo) -> list[Pair]:
    """Pairs of texts, images and both, of several lengths and sizes, from two data sets."""
    sizes = [(90, 90), (180, 70), (60, 150), (120, 90)]
    images = [str(photo(tmp_path / f"{n}.png", n, size)) for n, size in enumerate(sizes)]
    wrong = str(photo(tmp_path / "wrong.png", 9, (90, 90)))
    return [
        Pair(Side("a cat"), Side(image=images[0]), dataset="pictures"),
        Pair(Side(image=images[1]), Side("a dog that sleeps in the snow"), dataset="words"),
        Pair(
            Side("at night", images[2]),
            Side(image=images[3]),
            (Side(image=wrong),),
            dataset="words",
        ),
        Pair(Side("what is it?", instruction="cirr"), Side("a boat"), (Side("a car"),)),
    ]


@pytest.fixture
def contrast() -> Callable[..., CachedContrastiveLoss]:
    """`contrast(pairs, temperature=.., hard_negatives=..)` is the loss of a recipe, without a model
    or around `model`."""

    def make(pairs: Sequence[Pair] = (), model: torch.nn.Module | None = None, **options):
        known = KnownPositives(pairs, ContentKeys())
        recipe = Recipe(**{"temperature": 1.0, "hard_negatives": "all", **options})
        return CachedContrastiveLoss(model or torch.nn.Identity(), known, lambda: None, recipe)

    return make


@pytest.fixture
def step_of(model) -> Callable[..., StepInputs]:
    """`step_of(pairs)` is a batch as the collator of a tiny model gives it."""

    def make(pairs, hard="all", family="e5v", form=None, tokens=4096, rows=None, negatives=0):
        backbone = model(family, form).backbone
        collator = Collator(pairs, backbone, ContentKeys(), hard, tokens, negatives=negatives)
        return collator([{"row": row} for row in (range(len(pairs)) if rows is None else rows)])

    return make


@pytest.fixture(scope="session")
def recipe(checkpoint) -> Callable[..., Recipe]:
    """`recipe(preset, family, form, **changes)`: six pairs a step, a rate at which much happens."""

    def make(preset="e5v", family="e5v", form=None, **changes) -> Recipe:
        settings = {"preset": preset, "batch": 6, "sub_batch": 0, "steps": 4, "rate": 3e-3}
        settings |= {"warmup": 0, "quantize": "none", "save_every": 100, "log_every": 1}
        return resolve_recipe(settings, {"model": str(checkpoint(family, form)), **changes})

    return make


PRESETS = {"vlm2vec-qwen2vl": ("vlm2vec", "V2"), "mme5": ("mme5", None), "e5v": ("e5v", None)}


@pytest.fixture
def training_setup(recipe, tmp_path, texts, mixed):
    """`training_setup(family, **changes)`: a model, its form in sentence-transformers, pairs."""

    def make(family: str, settings: Settings = CPU, **changes):
        preset, form = PRESETS[family]
        pairs = [pair for pair in mixed if not pair.query.instruction]
        run_recipe = recipe(preset, family, form, **{"checkpointing": False, **changes})
        torch.manual_seed(3)
        model = load_trainable(run_recipe, settings, tmp_path)
        for name, weight in model.module.named_parameters():
            if "lora_B" in name:  # zero at first, and with it the gradient of lora_A
                torch.nn.init.normal_(weight, std=0.1)
        device = str(model.backbone.device)
        wrapped = SentenceTransformer(modules=[TrainableModule(model)], device=device).train()
        return model, wrapped, texts[:6] if run_recipe.text_only else pairs

    return make


@pytest.fixture
def gradients() -> Callable[..., dict[str, torch.Tensor]]:
    """`gradients(model, loss)`, of all that is trained."""

    def made(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
        model.module.zero_grad()
        loss.backward()
        trained = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
        assert trained and all(parameter.grad is not None for parameter in trained.values())
        return {name: parameter.grad.clone() for name, parameter in trained.items()}

    return made


@pytest.fixture(scope="session")
def train_in() -> Callable[..., RunDir]:
    """`train_in(folder, pairs, recipe)` trains, and is the run in this folder."""

    def make(folder: Path, pairs, recipe, progress=lambda _: None, settings=CPU) -> RunDir:
        run = RunDir(folder)
        run.start(recipe.to_dict(), {"status": "training", "data": []})
        train(pairs, recipe, run, settings, progress, ContentKeys())
        return run

    return make


@pytest.fixture
def trained(tmp_path, train_in) -> Callable[..., RunDir]:
    """`trained(pairs, recipe, name)` trains, and is the run."""

    def make(pairs, recipe, name="run", progress=lambda _: None, settings=CPU) -> RunDir:
        return train_in(tmp_path / name, pairs, recipe, progress, settings)

    return make


@pytest.fixture
def norm_logging(monkeypatch) -> None:
    """Runs in this process log their gradient norms, as those of the worker do."""
    monkeypatch.setattr(trainer, "LogCallback", NormLoggingCallback)


@pytest.fixture
def train_in_processes(tmp_path) -> Callable[..., list[RunDir]]:
    """`train_in_processes(pairs, (recipe, name, signal), ..)`: see worker.py."""
    context = multiprocessing.get_context("forkserver")  # forks without the tests' threads
    context.set_forkserver_preload([work.__module__])

    def make(pairs, *runs: tuple[Recipe, str, dict], processes: int = 1, status: int = 0):
        jobs = [Job(recipe, RunDir(tmp_path / name), **more) for recipe, name, more in runs]
        # Hosted here, as torchrun's agent does it, so that no other program can take the port.
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        master = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        workers = []
        for rank in map(str, range(processes)):
            ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(processes)}
            variables = {**master, **ranks} if processes > 1 else {}
            workers.append(context.Process(target=work, args=(pairs, jobs, variables)))
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(300)
            worker.kill()
        assert [worker.exitcode for worker in workers] == [status] * processes
        return [job.run for job in jobs]

    return make


@pytest.fixture
def loaded() -> Callable[[Path], embedder.Embedder]:
    return lambda folder: embedder.load(str(folder), CPU)
