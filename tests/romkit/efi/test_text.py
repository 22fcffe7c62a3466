from hypothesis import given
from hypothesis import strategies as st

from romkit.efi.text import LONGEST, ascii_text, clean, utf16_run


def test_nothing_that_acts_on_a_terminal_survives() -> None:
    assert clean("a\x1b[2Jb\r\nc\u202ed\u200be\x9bf") == "a?[2Jb??c?d?e?f"


def test_what_has_no_character_becomes_a_question_mark() -> None:
    assert ascii_text(b".te\xffxt\0\0") == ".te?xt"


def test_blanks_and_excess_are_cut() -> None:
    assert clean("  x  ") == "x"
    assert len(clean("x" * 1000)) == LONGEST


def test_utf16_run_ends_at_the_first_other_character() -> None:
    text = "GOP 1.2".encode("utf-16-le")
    assert utf16_run(b"!!" + text + b"\0\0zz", 2) == "GOP 1.2"
    assert utf16_run(text[:-1], 0) == "GOP 1."
    assert utf16_run(text, 99) == ""
    assert utf16_run("é".encode("utf-16-le"), 0) == ""


@given(st.text(), st.binary())
def test_every_text_becomes_one_printable_line(text: str, raw: bytes) -> None:
    assert clean(text).isprintable()
    assert ascii_text(raw).isprintable()
    assert utf16_run(raw, 0).isprintable()
