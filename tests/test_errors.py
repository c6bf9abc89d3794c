import pytest

from jaxgen.errors import printable


@pytest.mark.parametrize(
    "odd", ["\u202e", "\u2066", "\u200f", "\u061c", "\x1b", "\x00", "\x7f", "\x9b", "\u2028", "\ufeff", "\udcff", "\n"]
)
def test_what_hides_or_steers_is_escaped_and_can_be_written(odd):
    said = printable(f"a{odd}b.png")
    assert odd not in said
    assert said.startswith("a\\")
    assert said.endswith("b.png")
    assert said.encode()


@pytest.mark.parametrize("text", ["", "a b.png", "Müller 日本", "שלום", "1/2 – ↑", "\\u202e"])
def test_all_else_stays(text):
    assert printable(text) == text
