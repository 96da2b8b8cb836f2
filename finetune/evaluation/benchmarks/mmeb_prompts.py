"""The prompts of MMEB-V2's rows (https://arxiv.org/abs/2507.04590), whose instructions are columns.

V1's rows are prompts already. V2's authors join a row's columns to the same prompts, in another way
for each kind of data set: `image_cls_dataset.py`, `image_qa_dataset.py`, `image_i2t_eval.py`,
`image_t2i_eval.py` and `image_i2i_vg_dataset.py` in src/data/eval_dataset of
https://github.com/TIGER-AI-Lab/VLM2Vec.
"""

from __future__ import annotations

from embedder.vlm.prompts import ROW_IMAGE_TOKEN

QUESTIONS = ("OK-VQA", "A-OKVQA", "DocVQA", "InfographicsVQA", "ChartQA", "Visual7W", "ScienceQA",
             "VizWiz", "GQA", "TextVQA")  # fmt: skip
IMAGE_TO_IMAGE = ("CIRR", "NIGHTS", "OVEN", "FashionIQ", "MSCOCO", "RefCOCO", "RefCOCO-Matching",
                  "Visual7W-Pointing")  # fmt: skip
TEXT_TO_IMAGE = ("VisDial", "MSCOCO_t2i", "VisualNews_t2i", "WebQA", "EDIS", "Wiki-SS-NQ")


def make_query_prompt(
    dataset: str, instruction: str, text: str, *, has_image: bool, finds_images: bool
) -> str:
    """Return the prompt of a query; of a data set that is not MMEB's, by what it is and finds."""
    if dataset in TEXT_TO_IMAGE or not has_image:
        return f"{instruction} {text}\n" + ("\n" if dataset == "VisDial" else "")
    instruction = instruction.replace(ROW_IMAGE_TOKEN, "")
    if dataset in (*QUESTIONS, *IMAGE_TO_IMAGE) or finds_images:
        instruction = "\n" + instruction.strip()
    return _join(instruction, text) + "\n"


def make_target_prompt(dataset: str, instruction: str, text: str, *, query_has_image: bool) -> str:
    """Return the prompt of an image that may be found, with its text."""
    text = text if text.strip() else ""
    prompt = _join(instruction.replace(ROW_IMAGE_TOKEN, ""), text)
    alone = dataset in IMAGE_TO_IMAGE or (query_has_image and dataset not in TEXT_TO_IMAGE)
    return prompt if alone and not text else prompt + "\n"


def _join(instruction: str, text: str) -> str:
    joined = f"{ROW_IMAGE_TOKEN} {instruction}" + (f" {text}" if text else "")
    return joined.replace(" \n", "\n")
