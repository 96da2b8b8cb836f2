"""Tells instruction and words apart where MMEB has written both into one text.

A text of MMEB-train is `<|image_1|>\\n{instruction} {words}\\n`. Put together again by a family's
prompt, the parts give what its authors trained on.
"""

from __future__ import annotations

import re

# as they stand in MMEB (https://arxiv.org/abs/2410.05160), without the stop or colon at the end,
# which some rows have and others have not
KNOWN_INSTRUCTIONS = (
    "Represent the given image",
    "Represent the given image with related text information",
    "Represent the given Wikipedia image with related text information",
    "Represent the given cropped image of the object",
    "Represent the given image for classification",
    "Represent the given image for binary classification to determine whether it constitutes "
    "hateful speech or not",
    "Represent the given news image with the following caption for domain classification",
    "Represent the given image with the following question",
    "Represent the given dialogue about an image, which is used for image retrieval",
    "Identify the object shown in the image",
    "Identify the scene shown in the image",
    "Identify the country depicted in the image",
    "Find me an everyday image that matches the given caption",
    "Find an image caption describing the given everyday image",
    "Find a caption for the news in the given photo",
    "Find a day-to-day image that looks similar to the provided image",
    "Find a Wikipedia image that answers this question",
    "Find a news image that matches the provided caption",
    "Find an image to match the fashion image and style note",
    "Find the document image that can answer the given query",
    "Given an image, find a similar everyday image with the described changes",
    "Retrieve an image of this news caption",
    "Retrieve a Wikipedia image-description pair that provides evidence for the question of this "
    "image",
    "Select the portion of the image that isolates the object labeled as",
    "Select the portion of the image that follows the language expressions",
    "Select the portion of the image that answers the question",
    "Crop the image to to isolate the object labeled as",
)
IMAGE_TOKEN = re.compile(  # VLM2Vec's for each backbone, and mmE5's
    r"\A\s*(?:<\|image_\d+\|>|<image>|<\|image_pad\|>|<\|image\|>)\s*(?:<\|begin_of_text\|>\s*)?"
)
INSTRUCTION_STEMS = "|".join(
    re.escape(stem) for stem in sorted(KNOWN_INSTRUCTIONS, key=len, reverse=True)
)
INSTRUCTION = re.compile(rf'(?:{INSTRUCTION_STEMS})(?:[.:](?=\s|$)|(?=\s*$|\s*\n|\s*"))')
OTHER_INSTRUCTION = re.compile(
    r"([^\n]*?:)[^\S\n]+(?=\S)|([^\n]+)\n\s*(?=\S)"
)  # `...: words`, or a line


def has_mmeb_markup(text: str) -> bool:
    """Whether a text is written as MMEB's are: with a picture's token or a known instruction."""
    return bool(IMAGE_TOKEN.match(text) or INSTRUCTION.match(text))


def split_instruction(text: str, *, has_image: bool, is_query: bool) -> tuple[str, str]:
    """The instruction in `text`, and the words; either may be "".

    An instruction that is not MMEB's ends at the first colon or with the first line; beside a
    picture, a text with neither is all instruction. A text that is looked for by itself has no
    instruction but a known one: its colons are its own.
    """
    text = IMAGE_TOKEN.sub("", text).rstrip("\n")
    match = INSTRUCTION.match(text)
    if match is None and (has_image or is_query):
        match = OTHER_INSTRUCTION.match(text)
    if match:
        return text[: match.end()].strip(), text[match.end() :].strip()
    return (text.strip(), "") if has_image else ("", text)
