"""What the name of a file says in words, or the name of the folder that it is in.

A name is a weak caption: "rote_Katze-02.JPG" says "rote Katze", and IMG_0123.jpg says nothing.
Names of people and places are words like any others. What cameras, phones, programs and copying
write is left out: counters, dates, ids, "copy of". A word is a run of letters of any script.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from indexer.paths import ESCAPED_BYTE_PATTERN, is_web, split_path, url_scheme

MAX_CHARACTERS = 200
MAX_NAMES = 4  # of the files of one image
MAX_FOLDERS = 4  # nearest first; a trip's folder may have one for each camera and day
MAX_WORD_LETTERS = 40

EXTENSION_PATTERN = re.compile(r"\.[a-z][a-z0-9]{0,4}$", re.IGNORECASE)
SECOND_EXTENSION_PATTERN = re.compile(
    r"\.(jpe?g|png|gif|webp|tiff?|heic|heif|avif|bmp|jxl|raw|dng|cr2|nef|arw|psd|xcf|svg|pdf)$",
    re.IGNORECASE,
)
ARCHIVE_PATTERN = re.compile(r"\.(tar|parquet|arrow|csv|tsv|jsonl|ndjson|txt)$", re.IGNORECASE)
CAMERA_PATTERN = re.compile(r"(?=[A-Z]{0,3}[_0-9])[A-Z_][A-Z0-9_]{3}\d{4}(?!\d)")
"""The design rule for camera file systems (DCF 2.0): four characters and a number."""
HEX_PATTERN = re.compile(r"[0-9a-f]+", re.IGNORECASE)
VOWELLESS_PATTERN = re.compile(r"[^aeiouy]+", re.IGNORECASE)
CAMEL_CASE_PATTERN = re.compile(  # Latin, Greek and Cyrillic
    r"(?<=[a-zß-öø-ÿα-ωа-яё])(?<!\bMc)(?=[A-ZÀ-ÖØ-ÞΑ-ΩА-ЯЁ])|(?<=[A-ZА-ЯЁ])(?=[A-ZА-ЯЁ][a-zа-яё])"
)
JOINERS = "'’\u200c\u200d"
UUID_PATTERN = re.compile(r"\b[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE)
MONTHS = (
    r"(jan|feb|mar|apr|mai|may|jun|jul|aug|sep|oct|okt|nov|dec|dez|janvier|f[ée]v|avr|juin|juil|"
    r"ao[uû]t|enero|febrero|abril|mayo|agosto|gen|mag|giu|lug|ago|set|ott|dic|m[äa]rz)[a-zéûä]*"
)
DATE_PATTERN = re.compile(
    # 14 July 2023, July 2023, 2023 July 14, 3rd
    rf"\b\d{{1,2}}(st|nd|rd|th)?\.?[\s_-]*{MONTHS}\.?[\s_-]*(\d{{4}})?(?!\w)|"
    rf"\b{MONTHS}\.?[\s_-]*\d{{4}}(?!\d)|\b\d{{4}}[\s_-]*{MONTHS}(?![^\W\d_])|"
    r"\b\d+(st|nd|rd|th)\b|"
    # 2023年7月14日, 2023년 7월; at 10.30.05 PM
    r"\d+\s*[年月日時时点點分秒号年년월일시분초]|(午前|午後|上午|下午|오전|오후)(?=\s*\d)|"
    r"\b(at|um|à|às|a la\(?s\)?|kl\.?|om|alle( ore)?|o|в|saat|klo|v)[\s_]+(?=\d)|"
    r"(?<=\d)[\s_.\u202f]*([ap]\.?\s?m\.?|uhr)(?![^\W\d_])",
    re.IGNORECASE,
)
PHONE_PATTERN = re.compile(r"\b(PXL|MVIMG|IMG|VID|BURST)_?\d{8}_?\d+[A-Z0-9~._-]*")
PROGRAM_PATTERN = re.compile(
    r"screen[ _-]?(shot|capture|grab)s?|screenrecord(er|ing)?|snipaste|bildschirmfotos?|"
    r"capture (d.[ée]cran|plein [ée]cran)|captura de (pantalla|tela|ecrã)|schermata|istantanea|"
    r"schermafbeelding|schermafdruk|zrzut ekranu|ekran (görüntüsü|resmi|alıntısı)|skärmbild|"
    r"skärmavbild|skjermbilde|skærmbillede|näyttökuva|snímek obrazovky|képernyőkép|"
    r"captură de ecran|снимок экрана|скриншот|знімок екрана|スクリーンショット|屏幕截图|屏幕快照|"
    r"螢幕擷取畫面|螢幕快照|截屏|截图|截圖|스크린샷|لقطة شاشة|ภาพหน้าจอ|"
    r"whats ?app[ _-]*(image|video|bild|imagen|imagem|immagine|kép)?|signal(?=[-_ ]\d)|"
    r"received(?=_\d)|snapchat(?=-\d)|fb_img|image (uploaded )?from ios|"
    r"(max|hq|sd|mq)(res)?default|"
    r"ohne titel|sans titre|sin título|senza titolo|sem título|без названия|без имени|bez názvu|"
    r"bez tytułu|名称未設定",
    re.IGNORECASE,
)
COPY_PATTERN = re.compile(
    r"^(a )?(copy|kopie|copie|copia|cópia|kopia|kopi|копия|копія)( \d+)? (of|von|de|di|van|av|af) |"
    r"[\s_—–-]*(の)?コピー\s*(\(?\d+\)?)?$|^复件\s*|[\s_—–-]*(副本|拷贝|拷貝|複製|复制|複本)\s*\(?\d*\)?$|"
    r"[\s_—–-]*(의 )?(사본|복사본)\s*\(?\d*\)?$|^نسخة من ",
    re.IGNORECASE,
)

_NOISE = (
    # cameras, phones and programs
    "img image images imag imgp mvimg dsc dscn dscf dscs dcim pxl vid mov gopr dji cimg hpim pict "
    "picture pictures pic pics photo photos foto fotos bild bilder photograph hdr cof jpg jpeg "
    "png gif webp tif tiff heic heif raw dng px dpi cmyk rgb srgb wa scan scans scanned "
    "numérisation download clipboard untitled unbenannt unnamed obraz immagine imagen imagem "
    "afbeelding billede bilde kuva kép fénykép изображение фото фотография картинка зображення "
    "画像 写真 無題 图片 圖片 照片 图像 相片 未命名 이미지 사진 제목없음 صورة صور รูปภาพ ภาพ फोटो "
    # sites
    "unsplash pexels pixabay shutterstock istockphoto istock adobestock depositphotos dreamstime "
    "gettyimages flickr instagram facebook pinterest imgur www com http https "
    # versions
    "thumb thumbs thumbnail thumbnails tmp temp resized compressed optimized lowres hires "
    "fullsize"
)
NOISE = frozenset(_NOISE.split())
"""Words that say nothing wherever they are."""

_TRAILING_NOISE = (
    "final finale copy kopie copie copia cópia kopia kopi копия копія kopio kopya másolat edit "
    "edited bearbeitet modifié editado modificato edytowane new neu nuevo nouveau version ver rev "
    "draft entwurf original orig web hd uhd full crop cropped scaled collage burst"
)
TRAILING_NOISE = frozenset(_TRAILING_NOISE.split())
"""Words that say nothing at the end: a copy, an edited version, a size."""

_INNER_FOLDERS = (
    "camera cameras dcim canon nikon olymp panasonic msdcf apple import imports export exports "
    "originals original edited edits raw raws jpg jpeg png jpegs selection best favorites "
    "favourites web small large hires lowres thumbs thumbnails misc sonstiges divers other others "
    "various new neu todo sorted unsorted backup kamera kameras appareil cámara камера カメラ "
    "相机 相機 카메라"
)
INNER_FOLDERS = frozenset(_INNER_FOLDERS.split())
"""Words that say nothing in the name of a folder."""

_ROOT_FOLDERS = (
    "pictures photos images bilder fotos photographs photo foto imagenes imágenes imagens "
    "immagini afbeeldingen billeder obrazy zdjęcia kuvat bilde изображения фотографии фото "
    "картинки 画像 写真 ピクチャ 图片 照片 圖片 相簿 사진 그림 الصور รูปภาพ my album albums "
    "gallery galleries galerie library media medien downloads download desktop documents "
    "dokumente documentos home users mnt volumes tmp temp var srv opt root data dataset datasets "
    "usr work onedrive dropbox drive icloud googledrive nextcloud whatsapp telegram screenshots "
    "bildschirmfotos"
)
ROOT_FOLDERS = frozenset(_ROOT_FOLDERS.split())
"""Folders of everything; what is above them says nothing about an image either."""

ACCOUNT_PATTERN = re.compile(r"/((home|users)/)?[^/]*", re.IGNORECASE)
"""What an absolute path begins with that is not about its files: an account, or a first folder."""


def describe_paths(paths: Iterable[str]) -> list[str]:
    """Say what the names of an image's files say; nothing twice, and at most `MAX_NAMES`."""
    names = dict.fromkeys(map(describe_path, paths))
    return [name for name in names if name][:MAX_NAMES]


def describe_path(path: str) -> str | None:
    """Say in words what the name of a file says; where it says nothing, its nearest folder.

    Args:
        path: As payloads have it: of a local file, at a URL, or inside an archive.

    Returns:
        The words, in their order and case, with single spaces; None if there are none.
    """
    scheme = url_scheme(path)
    if scheme:
        rest = path[len(scheme) + 3 :].partition("/")[2]  # without the host or the bucket
        path = unquote(rest.partition("?")[0] if is_web(path) else rest)
    folder, name = split_path(path)
    if "#" not in name:  # else a row of a table, which has only a number
        words = _describe(_strip_extension(name))
        if words:
            return words
    return _describe_folder(folder)


def _describe_folder(folder: str) -> str | None:
    account = ACCOUNT_PATTERN.match(folder)
    names = [name for name in re.split("[/#]", folder[account.end() if account else 0 :]) if name]
    for name in names[: -MAX_FOLDERS - 1 : -1]:
        words = _describe(ARCHIVE_PATTERN.sub("", name))
        parts = set((words or name).casefold().split())
        if parts <= ROOT_FOLDERS:
            return None
        if words and not parts <= INNER_FOLDERS:
            return words
    return None


def _describe(name: str) -> str | None:
    text = ESCAPED_BYTE_PATTERN.sub(_decode_byte, CAMERA_PATTERN.sub(" ", name, count=1))
    text = unicodedata.normalize("NFKC", text)
    for pattern in (UUID_PATTERN, PHONE_PATTERN, PROGRAM_PATTERN, DATE_PATTERN):
        text = pattern.sub(" ", text)
    text = COPY_PATTERN.sub("", text.replace("_", " ").strip())
    words = [word for token in _iter_tokens(text) for word in _split_token(token)]
    words = [word for word in words if word.casefold() not in NOISE]
    while words and words[-1].casefold() in TRAILING_NOISE:
        words.pop()
    letters = sum(map(len, words))
    if not words or (letters <= 2 and words[0].isascii()):
        return None
    return " ".join(words)[:MAX_CHARACTERS].rstrip()


def _strip_extension(name: str) -> str:
    """Also a second one: some programs append theirs."""
    return SECOND_EXTENSION_PATTERN.sub("", EXTENSION_PATTERN.sub("", name))


def _decode_byte(match: re.Match[str]) -> str:
    """A byte that is not UTF-8 is one of Latin-1; other encodings leave no word."""
    return chr(int(match[1], 16))


def _iter_tokens(text: str) -> Iterator[str]:
    """Runs of letters and digits of any script, with marks and what joins parts of words."""
    token = ""
    for character in f"{text} ":
        if unicodedata.category(character)[0] in "LMN" or (token and character in JOINERS):
            token += character
        elif token:
            yield token.strip(JOINERS)
            token = ""


def _split_token(token: str) -> list[str]:
    """Its words: none of an id, several of "RedCar2"."""
    runs = [run for run in re.split(r"[\d\W]*\d[\d\W]*", token) if run]
    if _is_id(token, runs):
        return []
    if len(runs) > 1 or runs != [token]:  # "4x4", "10cm", "WA0001"
        runs = [run for run in runs if len(run) > 2 or not run.isascii()]
    return [word for run in runs for word in _split_camel_case(run) if _is_word(word)]


def _is_id(token: str, runs: list[str]) -> bool:
    """Whether it is a hash, or another id: letters, digits or cases that change all the time."""
    if not token.isascii():
        return False
    size, letters = len(token), sum(map(len, runs))
    parts = sum(len(CAMEL_CASE_PATTERN.findall(run)) + 1 for run in runs)
    if HEX_PATTERN.fullmatch(token) and (size >= 16 or (size >= 8 and len(runs) > 1)):
        return True
    if letters < size:  # with digits
        return size >= 6 and len(runs) > 1 and (letters < 3 * parts or len(runs) > 3)
    return size > MAX_WORD_LETTERS or (size >= 8 and letters < 3 * parts)


def _split_camel_case(run: str) -> list[str]:
    words = CAMEL_CASE_PATTERN.sub(" ", run).split()
    return [run] if any(len(word) < 2 for word in words) else words


def _is_word(word: str) -> bool:
    if len(word) == 1:
        return unicodedata.name(word, "").startswith(("CJK UNIFIED", "HANGUL SYLLABLE"))
    return not (word.isascii() and len(word) >= 6 and VOWELLESS_PATTERN.fullmatch(word))
