"""Text files: encodings, chunks, and files that are not text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import UnusableFileError
from indexer.ingest.chunking import MAX_CHUNK_CHARS, MAX_CHUNKS, chunk_document


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Grüße, schöne Welt", "utf-8"),
        ("Grüße, schöne Welt", "utf-8-sig"),
        ("猫が窓辺で眠っている", "utf-16"),
        ("Grüße, schöne Welt", "cp1252"),
        ("Un été à la plage — déjà vu", "cp1252"),
        ("猫が窓辺で眠っている", "cp932"),
        ("カタカナ", "cp932"),
        ("안녕하세요, 오늘은 날씨가 참 좋습니다. " * 4, "euc_kr"),
        ("Съешь же ещё этих мягких французских булок, да выпей чаю. " * 3, "cp1251"),
        ("猫は好きですか、それとも犬が好きですか。" * 5, "euc_jp"),
        ("我喜欢在海边散步，也喜欢看书和听音乐。" * 5, "gb18030"),
    ],
)
def test_encodings(text, encoding):
    assert " ".join(chunk_document(text.encode(encoding))) == text.strip()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"--- *** ---", "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not-text"),
        (b"MZ\x90\0\x03\0\0\0", "not-text"),
        (b"\xff\xfe\x00", "not-text"),
        (bytes(range(256)), "not-text"),
    ],
)
def test_other_files_are_refused(data, reason):
    with pytest.raises(UnusableFileError) as caught:
        chunk_document(data)
    assert caught.value.reason == reason


def test_a_short_text_is_one_chunk():
    assert chunk_document(b"One.\n\nTwo.\r\n\r\nThree.") == ["One.\n\nTwo.\n\nThree."]


def test_chunks_end_between_paragraphs():
    paragraphs = [f"{i} " + "word " * 80 + "end." for i in range(10)]
    chunks = chunk_document("\n\n".join(paragraphs).encode())
    assert len(chunks) == 5
    assert all(chunk.endswith("end.") and chunk[0].isdigit() for chunk in chunks)


def test_a_long_paragraph_is_split_between_sentences():
    sentences = [f"Sentence number {i} says something of its own." for i in range(60)]
    chunks = chunk_document(" ".join(sentences).encode())
    assert all(chunk.startswith("Sentence") and chunk.endswith("own.") for chunk in chunks)
    assert " ".join(chunks) == " ".join(sentences)


@pytest.mark.parametrize(
    ("sentence", "end"),
    [
        ("吾輩は猫である。名前はまだ無い。", "。"),
        ("今天天气很好！我们去海边散步吧？", ("！", "？")),
        ("यह एक वाक्य है। ", "।"),
        ("هل هذا سؤال؟ ", "؟"),
    ],
)
def test_other_scripts_are_split_between_sentences(sentence, end):
    chunks = chunk_document((sentence * 200).encode())
    assert len(chunks) > 2
    assert all(chunk.endswith(end) and len(chunk) > 900 for chunk in chunks[:-1])


def test_thai_without_spaces_is_split_to_size_but_not_before_its_marks():
    chunks = chunk_document(("ที่นี่มีน้ำใสและปลาตัวใหญ่" * 100).encode())
    assert all(900 < len(chunk) <= MAX_CHUNK_CHARS for chunk in chunks[:-1])
    assert "".join(chunks) == "ที่นี่มีน้ำใสและปลาตัวใหญ่" * 100
    assert not any(chunk[0] in "ี่้ำัใ่็ุู๊๋" and chunk[0] != "ใ" for chunk in chunks)


def test_a_book_is_cut_off_at_the_limit():
    chunks = chunk_document(("A sentence of a long book. " * 40 + "\n\n").encode() * 1000)
    assert len(chunks) == MAX_CHUNKS


def test_control_characters_are_dropped():
    assert chunk_document("a\x1bb\ufeffc\x7f d".encode()) == ["abc d"]


@given(st.text(max_size=5000))
def test_any_text_gives_chunks_that_fit(text):
    try:
        chunks = chunk_document(text.encode("utf-8", "surrogatepass"))
    except UnusableFileError:
        return
    assert all(0 < len(chunk) <= MAX_CHUNK_CHARS for chunk in chunks)


@given(st.binary(max_size=3000))
def test_any_bytes_give_chunks_or_a_reason(data):
    try:
        assert chunk_document(data)
    except UnusableFileError as error:
        assert error.reason in {"empty", "not-text"}
