"""The commands of docs/reproduce.md, on small imitations of the data in its published layout.

What their figures should be is in test_benchmarks.py, test_mmeb_rows.py and test_mteb_tasks.py.
"""

from __future__ import annotations

import json
import re
import shlex
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from finetune.evaluation.report import read_report
from tests.programs import ROOT, run_program

PAGE = (ROOT / "docs" / "reproduce.md").read_text("utf-8")
SECTION = PAGE.split("## Evaluate")[1].split("\n## ")[0]
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```sh\n(.*?)^```", SECTION, re.M | re.S)
    for line in block.splitlines()
]
TINY = {
    "e5-v": ("e5v", None),
    "mme5": ("mme5", None),
    "vlm2vec-llava-next": ("vlm2vec-llava", "V1"),
    "vlm2vec-qwen2vl-7b": ("vlm2vec-qwen2vl", "V1"),
    "TIGER-Lab/VLM2Vec-LoRA": ("vlm2vec-qwen2vl", "V1"),  # Phi's code comes with its weights
    "vlm2vec-v2": ("vlm2vec-qwen2vl", "V2"),
}


def picture(color):
    data = BytesIO()
    Image.new("RGB", (64, 64), color).save(data, "PNG")
    return {"bytes": data.getvalue(), "path": None}


def put_table(path: Path, rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


def put_images(folder: Path, *colors: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for color in colors:
        (folder / f"{color}.jpg").write_bytes(picture(color)["bytes"])


def put_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A home folder with every set that the page names."""
    home = tmp_path_factory.mktemp("home")
    put_e5v_tables(home / "sets/e5-v")
    put_cirr(home / "sets/cirr")
    put_sts(home / "sets/SentEval/data/downstream")
    put_mmeb(home / "sets")
    put_visual_documents(home / "sets/visdoc")
    put_table(home / "sets/XTD-10/it/test-00000-of-00001.parquet", [
        {"qry_text": "Find me an everyday image that matches the given caption: rosso\n",
         "qry_img_path": "", "tgt_text": ["<|image_1|>\nRepresent the given image.\n"] * 2,
         "tgt_img_path": ["red.jpg", "blue.jpg"]},
    ])  # fmt: skip
    put_images(home / "sets/XTD-10/images", "red", "blue")
    return home


def put_e5v_tables(folder: Path) -> None:
    captions = [{"image": picture(color), "text": [f"a {color} thing"] * 5}
                for color in ("red", "blue")]  # fmt: skip
    for name in ("flickr30k_test", "coco_test"):
        put_table(folder / name / "data/test-00000-of-00001.parquet", captions)
    images, changes = [], []
    for category in ("dress", "shirt", "toptee"):
        images += [{"category": category, "id": color, "img": picture(color)}
                   for color in ("red", "blue")]  # fmt: skip
        changes.append({"category": category, "candidate": picture("red"), "target_id": "blue",
                        "caption": ["is blue.", "is not red"]})  # fmt: skip
    put_table(folder / "fashioniq_val_imgs/data/val-00000-of-00001.parquet", images)
    put_table(folder / "fashioniq_val/data/val-00000-of-00001.parquet", changes)


def put_cirr(folder: Path) -> None:
    names = {f"test1-{n}": color for n, color in enumerate(("red", "green", "blue"))}
    put_json(folder / "image_splits/split.rc2.test1.json", {n: f"./test1/{n}.png" for n in names})
    change = {"pairid": 12063, "reference": "test1-0", "caption": "make it blue"}
    put_json(folder / "captions/cap.rc2.test1.json", [
        {**change, "img_set": {"id": 1, "members": list(names), "reference_rank": 0}},
    ])  # fmt: skip
    (folder / "img_raw/test1").mkdir(parents=True)
    for name, color in names.items():
        (folder / f"img_raw/test1/{name}.png").write_bytes(picture(color)["bytes"])


def put_sts(folder: Path) -> None:
    (folder / "STS/STS12-en-test").mkdir(parents=True)
    pairs = "a dog\ta dog runs\na dog\ta cat\nred\tblue\n"
    (folder / "STS/STS12-en-test/STS.input.MSRpar.txt").write_text(pairs)
    (folder / "STS/STS12-en-test/STS.gs.MSRpar.txt").write_text("5\n2\n1\n")


def put_mmeb(sets: Path) -> None:
    """V1's rows, and V2's with instructions in columns."""
    asked = "Represent the given image with the following question:"
    scene = "Identify the scene shown in the image"
    for dataset, first, second in (("A-OKVQA", asked, " What color?"), ("SUN397", scene, "")):
        row = {"qry_img_path": f"{dataset}/red.jpg", "tgt_text": ["red", "blue"],
               "tgt_img_path": ["", ""]}  # fmt: skip
        table = f"{dataset}/test-00000-of-00001.parquet"
        put_table(
            sets / "MMEB-eval" / table, [{"qry_text": f"<|image_1|>\n{first}{second}\n", **row}]
        )
        columns = {"qry_inst": f"<|image_1|>\n{first}", "qry_text": second.strip(), "tgt_inst": ""}
        put_table(sets / "MMEB_Test_Instruct" / table, [{**columns, **row}])
        for images in ("MMEB-eval/images", "MMEB-V2/image-tasks/MMEB"):
            put_images(sets / images / dataset, "red")


def put_visual_documents(folder: Path) -> None:
    root = folder / "arxivqa_test_subsampled_beir"
    tables = {
        "corpus": [{"corpus-id": n, "image": picture(c)} for n, c in enumerate(("red", "blue"))],
        "queries": [{"query-id": 0, "query": "Which page is blue?"}],
        "qrels": [{"query-id": 0, "corpus-id": 1, "score": 1}],
    }
    for name, rows in tables.items():
        put_table(root / name / "test-00000-of-00001.parquet", rows)


def test_the_page_has_a_command_for_every_table():
    assert len(COMMANDS) == 14
    assert {words[words.index("--model") + 1] for words in COMMANDS} == set(TINY)


def test_the_commands_run_and_have_the_metrics_of_the_page(home, checkpoint, font):
    """With tiny models, and captions drawn in a font of the tests."""
    metrics = set()
    for words in COMMANDS:
        values = dict(pairwise(words))
        model = str(checkpoint(*TINY[values["--model"]]))
        given = [model if word == values["--model"] else word for word in words[1:]]
        given = [word.replace("~", str(home)) for word in given]
        out = home / values["--out"]
        given[given.index(values["--out"])] = str(out)
        given += ["--font", str(font)] if values["--benchmark"].endswith("-drawn") else []
        done = run_program("finetune", *given, "--device", "cpu", cwd=home)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
        if values["--benchmark"] == "cirr-test":
            assert {path.name for path in out.glob("*.json")} == {
                "cirr-test-recall.json", "cirr-test-recall-subset.json"}  # fmt: skip
            continue
        report = read_report(out)
        assert report.results and (out / "report.html").is_file()
        metrics |= report.metrics.keys()
    named = set(re.findall(r"`((?:hit|recall|precision|ndcg)@\d+|spearman)`", SECTION))
    assert named and named <= metrics
