"""Record what VLM2Vec's own code makes of MMEB's rows, on the tiny Qwen2-VL.

    python record_rows.py CHECKOUT

CHECKOUT is github.com/TIGER-AI-Lab/VLM2Vec at 6e1e1d4; README.md tells the environment, which needs
`datasets` and `peft<0.16` too. Its code runs as it is, from the columns of a row to the vector: the
data sets make the prompts, the collators and the processor the tensors, and its copy of Qwen2-VL
the state that is pooled. What it imports for other models is left empty. Writes `rows.json` and
`rows.npz`.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import tiny
import torch
import transformers
from safetensors.numpy import load_file, save_file

VERSION = "4.52.3"
FAMILY = "vlm2vec-qwen2vl"
UNIT = 28 * 28
FORMS = {  # the side of the square that images are made first; the least and the most pixels
    "V1": {"square": 1344, "pixels": [8 * UNIT, 40 * UNIT]},
    "V2": {"square": 0, "pixels": [4 * UNIT, 64 * UNIT]},
}
OTHERS = ("colpali", "llava_next", "phi3_v", "phi3_v.modeling_phi3_v", "internvideo2", "gme",
          "internvideo2.modeling_internvideo2", "gme.gme_inference", "lamra",
          "lamra.lamra_inference", "lamra.lamra_qwen25_inference")  # fmt: skip
EMPTY = (
    *(f"src.model.baseline_backbone.{name}" for name in OTHERS),
    *(f"src.model.vlm_backbone.{n}" for n in ("qwen2_5_vl", "qwen2_vl_tokenselection")),
    *("src.model.vlm_backbone.qwen2_5_vl_tokenselection", "qwen_vl_utils"),
)
PACKAGES = ("src.data", "src.data.collator", "src.data.dataset", "src.data.eval_dataset")
IMAGE = "<|image_1|>\n"
CROPPED = "Represent the given cropped image of the object"
RELATED = "Represent the given Wikipedia image with related text information:"
OBJECT = "Select the portion of the image that isolates the object labeled as"
DIALOGUE = "Represent the given dialogue about an image, which is used for image retrieval:"
QUESTION = "Represent the given image with the following question:"
FIND = "Find me an everyday image that matches the given caption:"
CHANGE = "Given an image, find a similar everyday image with the described changes:"
WIKIPEDIA = "Find a Wikipedia image that answers this question:"
TALK = "Q:is it a dog\nA:yes\nQ:is there snow\nA:no"
# MMEB-eval: data set, query, its image, targets, their images; with the line ends of the real rows
FIRST = (
    ("ImageNet-1K", f"{IMAGE}Represent the given image for classification\n", "wide",
     ["tabby, tabby cat", "tiger"], ["", ""]),
    ("A-OKVQA", f"{IMAGE}{QUESTION} What is in the grass?\n", "narrow", ["a cat", "a dog"],
     ["", ""]),
    ("MSCOCO_i2t", f"{IMAGE}Find an image caption describing the given everyday image.\n", "tiny",
     ["A dog sitting in the grass.", "A cat."], ["", ""]),
    ("MSCOCO_t2i", f"{FIND} A cat standing in the snow.\n", "",
     [f"{IMAGE}Represent the given image.\n"] * 2, ["tall", "large"]),
    ("VisDial", f"{DIALOGUE} {TALK}\n\n", "", [f"{IMAGE}Represent the given image\n"] * 2,
     ["wide", "narrow"]),
    ("WebQA", f"{IMAGE}{WIKIPEDIA} Which snow?\n", "",
     [f"{IMAGE}{RELATED} White: snow.\n", f"{IMAGE}{RELATED} A tiger.\n"], ["small", "wide"]),
    ("CIRR", f"{IMAGE}{CHANGE} make it a cat.\n", "tall",
     [f"{IMAGE}Represent the given image.\n"] * 2, ["square", "wide"]),
    ("MSCOCO", f'{IMAGE}{OBJECT} "dog"\n', "large", [IMAGE + CROPPED] * 2, ["square", "tiny"]),
)  # fmt: skip
# MMEB-V2: data set, instruction, query, its image, instruction of targets, targets, their images
SECOND = (
    ("ImageNet-1K", f"{IMAGE}Represent the given image for classification", "", "wide", None,
     ["tabby, tabby cat", "tiger"], None),
    ("N24News", f"{IMAGE}Represent the given news image with the following caption for domain "
     "classification:", "A dog. \n It sits.", "tall", None, ["Pets", "Art"], None),
    ("A-OKVQA", f"<|image_1|> {QUESTION}", "What is in the grass?", "narrow", None,
     ["a cat", "a dog"], None),
    ("MSCOCO_i2t", f"{IMAGE}Find an image caption describing the given everyday image.", "", "tiny",
     None, ["A dog sitting in the grass.", "A cat."], None),
    ("MSCOCO_t2i", FIND, "A cat standing in the snow.", "", f"{IMAGE}Represent the given image.",
     ["", ""], ["tall", "large"]),
    ("VisDial", DIALOGUE, TALK, "", f"{IMAGE}Represent the given image", ["", ""],
     ["wide", "narrow"]),
    ("WebQA", f"{IMAGE}{WIKIPEDIA}", "Which snow?", "", f"{IMAGE}{RELATED}",
     ["White: snow.", "A tiger."], ["small", "wide"]),
    ("CIRR", f"{IMAGE}{CHANGE}", "make it a cat.", "tall", f"{IMAGE}Represent the given image.",
     ["", ""], ["square", "wide"]),
    ("MSCOCO", f"{IMAGE}{OBJECT}", '"dog"', "large", IMAGE + CROPPED, ["", ""], ["square", "tiny"]),
    ("RefCOCO-Matching", f"{IMAGE}Select the portion of the image that follows the language "
     "expressions:", '"dog"', "large", f"{IMAGE}Select the portion of the image that follows the "
     "language expressions:", ['"dog"', '"cat"'], ["square", "square"]),
)  # fmt: skip
PARSERS = {  # the kinds of MMEB-V2's data sets, as in experiments/public/eval/image.yaml
    "ImageNet-1K": "image_cls_dataset",
    "N24News": "image_cls_dataset",
    "A-OKVQA": "image_qa_dataset",
    "MSCOCO_i2t": "image_i2t_eval",
    "MSCOCO_t2i": "image_t2i_eval",
    "VisDial": "image_t2i_eval",
    "WebQA": "image_t2i_eval",
    "CIRR": "image_i2i_vg_dataset",
    "MSCOCO": "image_i2i_vg_dataset",
    "RefCOCO-Matching": "image_i2i_vg_dataset",
}
# several pictures in one input, which the authors' function of a row takes as a list
SEVERAL = (
    (f"{IMAGE}{IMAGE}Represent the given image.\n", ["wide", "square"]),
    (f"{IMAGE}{IMAGE}{IMAGE}{QUESTION} What is in the grass?\n", ["tall", "tiny", "large"]),
)


class Authors:
    """The authors' code around the tiny model, for one form of images."""

    def __init__(self, built: Path, images: Path, form: str) -> None:
        from src.arguments import DataArguments, ModelArguments
        from src.model.model import MMEBModel
        from src.model.processor import QWEN2_VL, backbone2model, load_processor

        plan = FORMS[form]
        self.images = images
        self.model_args = ModelArguments(
            model_name=str(built), model_backbone=QWEN2_VL, pooling="eos", normalize=True
        )
        self.data_args = DataArguments(
            image_dir=str(images),
            image_resolution="high" if plan["square"] else None,
            resize_use_processor=not plan["square"],
            resize_min_pixels=plan["pixels"][0],
            resize_max_pixels=plan["pixels"][1],
        )
        self.collators = importlib.import_module("src.data.collator.eval_collator")
        self.processor = load_processor(self.model_args, self.data_args)
        self.processor.tokenizer.padding_side = "left"
        body, report = backbone2model[QWEN2_VL].from_pretrained(
            built,
            torch_dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
        assert not any(report.values()), report
        self.model = MMEBModel(body.eval(), pooling="eos", normalize=True)

    def embed(self, inputs: dict[str, Any]) -> tuple[np.ndarray, list[list[int]]]:
        with torch.no_grad():
            vectors = self.model.encode_input(dict(inputs))
        rows = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
        ids = [row[mask.bool()].tolist() for row, mask in rows]
        return vectors.numpy().astype(np.float32), ids

    def embed_first(self, row: dict[str, Any], side: str) -> tuple[list[str], np.ndarray, list]:
        """A row of MMEB-eval, through `EvalDataset` and `EvalCollator`."""
        from datasets import Dataset

        data_sets = importlib.import_module("src.data.dataset.mmeb_dataset")
        data = object.__new__(data_sets.EvalDataset)
        data.data_args, data.model_args = self.data_args, self.model_args
        data.backbone, data.eval_data = self.model_args.model_backbone, [row]
        found = data.get_paired_data(f"{side}_text", f"{side}_img_path")
        names = ("text", "img_path")
        data.paired_dataset = Dataset.from_dict({n: [f[n] for f in found] for n in names})
        pairs = [data[index] for index in range(len(found))]
        collate = self.collators.EvalCollator(self.data_args, self.model_args, self.processor)
        vectors, ids = self.embed(collate(pairs))
        return [text for text, _ in pairs], vectors, ids

    def embed_second(self, row: dict[str, Any], side: str) -> tuple[list[str], np.ndarray, list]:
        """A row of MMEB-V2, through its data set's `data_prepare` and the collator."""
        module = importlib.import_module(f"src.data.eval_dataset.{PARSERS[row['dataset']]}")
        columns = {name: [value] for name, value in row.items() if name != "dataset"}
        prepared = module.data_prepare(
            columns,
            image_resolution=self.data_args.image_resolution,
            model_backbone=self.model_args.model_backbone,
            image_root=str(self.images),
            dataset_name=row["dataset"],
        )
        example = {name: values[0] for name, values in prepared.items()}
        collate = self.collators.MultimodalEvalDataCollator(
            self.processor, self.model_args, self.data_args, side
        )
        vectors, ids = self.embed(collate([example])[0])
        return example["query_text" if side == "qry" else "cand_text"], vectors, ids

    def embed_several(self, text: str, names: list[str]) -> tuple[list[str], np.ndarray, list]:
        from src.model.processor import QWEN2_VL, VLM_IMAGE_TOKENS, process_vlm_inputs_fns

        text = text.replace("<|image_1|>", VLM_IMAGE_TOKENS[QWEN2_VL])
        pictures = [tiny.picture(name) for name in names]
        if self.data_args.image_resolution:
            pictures = [picture.resize((1344, 1344)) for picture in pictures]
        inputs = {"text": [text], "images": [pictures]}
        vectors, ids = self.embed(process_vlm_inputs_fns[QWEN2_VL](inputs, self.processor))
        return [text], vectors, ids


def first_rows() -> list[dict[str, Any]]:
    names = ("dataset", "qry_text", "qry_img_path", "tgt_text", "tgt_img_path")
    return [_with_files(dict(zip(names, row, strict=True))) for row in FIRST]


def second_rows() -> list[dict[str, Any]]:
    names = ("dataset", "qry_inst", "qry_text", "qry_img_path", "tgt_inst", "tgt_text",
             "tgt_img_path")  # fmt: skip
    rows = [_with_files(dict(zip(names, row, strict=True))) for row in SECOND]
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def _with_files(row: dict[str, Any]) -> dict[str, Any]:
    row["qry_img_path"] = row["qry_img_path"] and f"{row['qry_img_path']}.png"
    if row["tgt_img_path"]:
        row["tgt_img_path"] = [name and f"{name}.png" for name in row["tgt_img_path"]]
    return row


def main(checkout: Path) -> None:
    assert transformers.__version__ == VERSION, transformers.__version__
    sys.path.insert(0, str(checkout))
    for name in EMPTY:
        sys.modules[name] = MagicMock()
    for name in PACKAGES:  # their own files import what films need
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [str(checkout / name.replace(".", "/"))]
    cases: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        built, images = build(Path(folder) / "model"), Path(folder) / "images"
        images.mkdir()
        for name in tiny.SIZES | tiny.NARROW:
            tiny.picture(name).save(images / f"{name}.png")
        for form in FORMS:
            authors = Authors(built, images, form)
            rows = [("first", row, authors.embed_first) for row in first_rows()]
            rows += [("second", row, authors.embed_second) for row in second_rows()]
            for number, (edition, row, embed) in enumerate(rows):
                case = {"form": form, "edition": edition, "row": row}
                for side in ("qry", "tgt"):
                    case[side], vectors, ids = embed(row, side)
                    arrays |= _arrays(f"{form}_{number}_{side}", vectors, ids)
                cases.append(case)
            for number, (text, names) in enumerate(SEVERAL):
                prompts, vectors, ids = authors.embed_several(text, names)
                arrays |= _arrays(f"{form}_several_{number}", vectors, ids)
                cases.append({"form": form, "prompt": text, "pictures": names, "qry": prompts})
    recorded = {"transformers": VERSION, "forms": FORMS, "cases": cases}
    text = json.dumps(recorded, ensure_ascii=False, indent=1)
    (tiny.HERE / "rows.json").write_text(text + "\n", encoding="utf-8")
    np.savez_compressed(tiny.HERE / "rows.npz", **arrays)
    print(len(cases), "cases")


def build(folder: Path) -> Path:
    """The tiny checkpoint with the names of tensors that the authors' copy of Qwen2-VL knows."""
    file = tiny.build(FAMILY, folder) / "model.safetensors"
    old = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): tensor
        for name, tensor in load_file(file).items()
    }
    save_file(old, file, metadata={"format": "pt"})
    return folder


def _arrays(name: str, vectors: np.ndarray, ids: list[list[int]]) -> dict[str, Any]:
    each = {f"{name}__ids_{n}": np.array(row, np.int32) for n, row in enumerate(ids)}
    return {name: vectors, **each}


if __name__ == "__main__":
    torch.manual_seed(0)
    main(Path(sys.argv[1]))
