"""Language tags (BCP 47) as people write them in file names, columns and XMP."""

from __future__ import annotations

import re

# ISO 639-1, and those three-letter codes that have no shorter form and many readers
_LANGUAGE_LIST = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy "
    "da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu "
    "hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb "
    "lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om "
    "or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw "
    "ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu "
    "ast bho ceb ckb cmn fil fur gsw haw hmn kab lij mai mni nds nso pap pcm sat scn tpi tzm wuu "
    "yue"
)
LANGUAGE_CODES = frozenset(_LANGUAGE_LIST.split())
TAG_PATTERN = re.compile(
    r"(?P<language>[a-z]{2,3})(-[a-z]{4})?(-([a-z]{2}|\d{3}))?(-([a-z\d]{5,8}|\d[a-z\d]{3}))*"
)


def parse_language_tag(text: str) -> str | None:
    """`text` as a BCP 47 tag in lower case ("zh-Hans" -> "zh-hans"), or None if it is none."""
    tag = text.strip().lower().replace("_", "-")
    match = TAG_PATTERN.fullmatch(tag)
    return tag if match and match["language"] in LANGUAGE_CODES else None
