"""The languages that samples are written in, how often each is drawn, and its script.

XLM-R's list (https://arxiv.org/abs/1911.02116, appendix A), as in mmE5; what many people write is
drawn more often than what few do.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetune.synthesis.sampling_weights import parse_weights


@dataclass(frozen=True, slots=True)
class Language:
    """`code` is a BCP 47 tag in lower case; `scripts` begin the Unicode names of its letters."""

    code: str
    name: str
    weight: float
    scripts: tuple[str, ...]


HAN, KANA = "CJK", ("HIRAGANA", "KATAKANA", "CJK", "KATAKANA-HIRAGANA", "IDEOGRAPHIC")

# weight, scripts, and languages as code:name
LANGUAGE_GROUPS: tuple[tuple[float, tuple[str, ...], str], ...] = (
    (20, ("LATIN",), "en:English"),
    (5, ("LATIN",), "de:German es:Spanish fr:French it:Italian pt:Portuguese"),
    (5, (HAN, "IDEOGRAPHIC"), "zh:Chinese"),
    (5, KANA, "ja:Japanese"),
    (5, ("HANGUL",), "ko:Korean"),
    (5, ("CYRILLIC",), "ru:Russian"),
    (5, ("ARABIC",), "ar:Arabic"),
    (5, ("DEVANAGARI",), "hi:Hindi"),
    (
        3,
        ("LATIN",),
        "cs:Czech da:Danish fi:Finnish hu:Hungarian id:Indonesian nl:Dutch no:Norwegian pl:Polish "
        "ro:Romanian sv:Swedish tr:Turkish vi:Vietnamese",
    ),
    (3, ("CYRILLIC",), "bg:Bulgarian uk:Ukrainian"),
    (3, ("ARABIC",), "fa:Persian"),
    (3, ("GREEK",), "el:Greek"),
    (3, ("HEBREW",), "he:Hebrew"),
    (3, ("THAI",), "th:Thai"),
    (3, ("BENGALI",), "bn:Bengali"),
    (
        2,
        ("LATIN",),
        "ca:Catalan et:Estonian fil:Filipino hr:Croatian lt:Lithuanian lv:Latvian ms:Malay "
        "sk:Slovak sl:Slovenian sw:Swahili",
    ),
    (2, ("CYRILLIC", "LATIN"), "sr:Serbian"),
    (2, ("ARABIC",), "ur:Urdu"),
    (2, ("TAMIL",), "ta:Tamil"),
    (2, ("TELUGU",), "te:Telugu"),
    (2, ("DEVANAGARI",), "mr:Marathi"),
    (
        1,
        ("LATIN",),
        "af:Afrikaans az:Azerbaijani br:Breton bs:Bosnian cy:Welsh eo:Esperanto eu:Basque "
        "fy:Western_Frisian ga:Irish gd:Scottish_Gaelic gl:Galician ha:Hausa is:Icelandic "
        "jv:Javanese la:Latin mg:Malagasy om:Oromo so:Somali sq:Albanian su:Sundanese xh:Xhosa",
    ),
    (1, ("LATIN", "CYRILLIC"), "uz:Uzbek"),
    (1, ("LATIN", "ARABIC"), "ku:Kurdish"),
    (1, ("CYRILLIC",), "be:Belarusian kk:Kazakh ky:Kyrgyz mk:Macedonian mn:Mongolian"),
    (1, ("ARABIC",), "ps:Pashto sd:Sindhi ug:Uyghur"),
    (1, ("DEVANAGARI",), "ne:Nepali sa:Sanskrit"),
    (1, ("BENGALI",), "as:Assamese"),
    (1, ("HEBREW",), "yi:Yiddish"),
    (1, ("ETHIOPIC",), "am:Amharic"),
    (1, ("ARMENIAN",), "hy:Armenian"),
    (1, ("GEORGIAN",), "ka:Georgian"),
    (1, ("GUJARATI",), "gu:Gujarati"),
    (1, ("GURMUKHI",), "pa:Punjabi"),
    (1, ("KANNADA",), "kn:Kannada"),
    (1, ("KHMER",), "km:Khmer"),
    (1, ("LAO",), "lo:Lao"),
    (1, ("MALAYALAM",), "ml:Malayalam"),
    (1, ("MYANMAR",), "my:Burmese"),
    (1, ("ORIYA",), "or:Odia"),
    (1, ("SINHALA",), "si:Sinhala"),
)

LANGUAGES = {
    code: Language(code, name.replace("_", " "), weight, scripts)
    for weight, scripts, named in LANGUAGE_GROUPS
    for code, name in (word.split(":") for word in named.split())
}


def parse_language_weights(text: str | None) -> dict[str, float]:
    """Code -> weight: of `en=3,ja,de=0.5`, or of all languages; raises `FinetuneError`."""
    if text is None:
        return {code: language.weight for code, language in LANGUAGES.items()}
    return parse_weights(text, LANGUAGES, "--languages")
