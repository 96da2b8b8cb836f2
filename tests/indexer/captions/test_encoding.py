"""Texts are read as they were written, whatever code page they are in."""

from __future__ import annotations

import pytest

from indexer.captions import encoding as encodings
from indexer.captions.encoding import decode_text

LONG = {
    "cp1252": [
        "Die Katze schläft auf dem Dach der alten Mühle, während draußen der Schnee fällt.",
        "Le chat dort sur le toit de la vieille église, où l’été dernier nous avons dîné.",
        "El niño juega con su perro en el jardín de la abuela, ¿dónde está la pelota?",
        "A criança está a brincar no jardim com o cão e não quer ir para casa hoje à noite.",
        "Il gatto è sul tetto della città più bella che ci sia, perché lì c’è il sole.",
        "De kat slaapt op het dak van de oude molen, één van de mooiste plekken in België.",
        "Katten sover på taget af det gamle hus, mens børnene leger i haven ved siden af åen.",
        "Katten sover på taket av det gamle huset mens barna leker i hagen ved siden av elva.",
        "Katten sover på taket på den gamla kvarnen medan barnen leker i trädgården vid ån.",
        "Kissa nukkuu vanhan myllyn katolla, kun lapset leikkivät pihalla järven rannalla.",
        "Kötturinn sefur á þakinu á gömlu myllunni meðan börnin leika sér í garðinum.",
        "El gat dorm a la teulada del molí vell mentre els nens juguen; què fa l’avi?",
        "Kass magab vana veski katusel, samal ajal kui lapsed mängivad õues järve ääres.",
        "“Seven miles – and then some…” said the sign above the gate of the old mill in the rain",
    ],
    "cp1254": [
        "Kedi eski değirmenin çatısında uyuyor, çocuklar ise bahçede gölün kıyısında oynuyor.",
        "İstanbul'da güneşli bir gün, Boğaz'ın kıyısında yürüyüş yapan insanlar.",
    ],
    "cp1250": [
        "Kočka spí na střeše starého mlýna, zatímco děti si hrají na zahradě u rybníka.",
        "Kot śpi na dachu starego młyna, podczas gdy dzieci bawią się w ogrodzie nad jeziorem.",
        "A macska a régi malom tetején alszik, miközben a gyerekek őszi szőlőt esznek.",
        "Mačka spí na streche starého mlyna, zatiaľ čo deti sa hrajú v záhrade pri rybníku.",
    ],
    "cp1257": ["Katė miega ant seno malūno stogo, o vaikai žaidžia sode prie ežero šiltą dieną."],
    "cp1251": [
        "Кошка спит на крыше старой мельницы, пока дети играют в саду у озера.",
        "Кіт спить на даху старого млина, поки діти граються в саду біля озера.",
    ],
    "koi8_r": ["Кошка спит на крыше старой мельницы, пока дети играют в саду у озера."],
    "cp866": ["Кошка спит на крыше старой мельницы, пока дети играют в саду у озера."],
    "cp1253": ["Η γάτα κοιμάται στη στέγη του παλιού μύλου, ενώ τα παιδιά παίζουν στον κήπο."],
    "cp1255": ["החתול ישן על גג הטחנה הישנה בזמן שהילדים משחקים בגינה ליד האגם."],
    "cp1256": ["القطة تنام على سطح الطاحونة القديمة بينما يلعب الأطفال في الحديقة قرب البحيرة."],
    "cp874": ["แมวนอนหลับบนหลังคาโรงสีเก่าในขณะที่เด็กๆ เล่นในสวนริมทะเลสาบ"],
    "cp850": ["Die Katze schläft auf dem Dach der alten Mühle, während draußen der Schnee fällt."],
    "gb18030": ["猫在老磨坊的屋顶上睡觉,孩子们在湖边的花园里玩耍,天气很好,我们一起去看看吧。"],
    "big5": ["貓在老磨坊的屋頂上睡覺,孩子們在湖邊的花園裡玩耍,天氣很好,我們一起去看看吧。"],
    "euc_kr": ["고양이가 오래된 방앗간 지붕에서 자고 있고 아이들은 호숫가 정원에서 놀고 있습니다."],
    "cp932": ["猫は古い水車小屋の屋根で眠り、子供たちは湖のほとりの庭で遊んでいる。"],
    "utf-16-le": ["A cat without a byte order mark"],
    "utf-16-be": ["A cat without a byte order mark"],
}
SHORT = {
    "cp1252": [
        "café",
        "Übersicht",
        "São Paulo",
        "það er gott",
        "Größe 12°",
        "naïve façade",
        "crème",
        "ný mynd í bænum",
        "Á ný með",
    ],
    "cp1254": ["Kırmızı araba", "Işık"],
    "cp1250": ["źdźbło", "příliš žluťoučký kůň"],
    "cp1251": ["Красный кот", "мама мыла раму", "Сербская буква ђ"],
    "euc_kr": ["가게"],
    "cp1255": [
        "שלום לכולם, בוקר טוב",
        "עטלף אבק נס דרך מזגן שהתפוצץ כי חם",
        "החתול ישן על גג הטחנה, by Anna",
    ],
    "cp1253": ["Κόκκινο αυτοκίνητο"],
    "gb18030": ["屋顶上的猫", "爸爸爱我", "鲜の果园在老城的中心广场"],
}
CASES = [
    (encoding, text)
    for texts_by_encoding in (LONG, SHORT)
    for encoding, texts in texts_by_encoding.items()
    for text in texts
]


@pytest.mark.parametrize(("encoding", "text"), CASES)
def test_texts_that_are_not_utf8(encoding, text):
    assert decode_text(text.encode(encoding)) == text


def test_a_damaged_character_of_utf8_leaves_the_rest():
    text = "屋根の上の猫が鳥を見ている"
    assert decode_text(text.encode()[:-1]) == text[:-1] + "\ufffd"


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n\0\0", b"\0\0\0", bytes(range(256)), b"A\0" * 4 + b"AB" * 6]
)
def test_what_is_no_text(data):
    with pytest.raises(ValueError, match="control bytes"):
        decode_text(data)


@pytest.mark.parametrize(
    ("system", "text"), [("UTF-8", "kõ"), ("cp1250", "kő"), ("Windows-1250", "kő")]
)
def test_of_equally_likely_code_pages_that_of_the_system_is_meant(monkeypatch, system, text):
    monkeypatch.setattr(encodings.locale, "getpreferredencoding", lambda _: system)
    assert decode_text(b"k\xf5") == text


@pytest.mark.parametrize(("encoding", "text"), [("cp1252", "café"), ("cp932", "屋根の上の猫")])
def test_the_character_delete_is_of_no_language(encoding, text):
    text += "\x7f" * 20
    assert decode_text(text.encode(encoding)) == text


def test_two_letters_of_utf16():
    assert decode_text("Hi".encode("utf-16-le")) == "Hi"


def test_utf16_that_is_cut_within_a_character():
    assert decode_text("A cat sat".encode("utf-16-le") + b"x") == "A cat sat\ufffd"


def test_utf16_with_a_byte_order_mark_must_be_whole():
    with pytest.raises(UnicodeDecodeError):
        decode_text(b"\xff\xfeA\0B")


def test_a_damaged_character_after_a_byte_order_mark():
    assert decode_text(b"\xef\xbb\xbfcaf\xe9 noir") == "caf\ufffd noir"
