"""The field's words: what is kept out of docstrings, help texts and pages."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What is said elsewhere by a word of the field. Several of them are right in one meaning: see ALLOWED.
WORDS = {
    r"laws?\b": "distribution; Gaussian for a normal law",
    r"judg(e|es|ed|ing|ement|ements)\b": "evaluate, evaluation; a feature extractor",
    r"(two|three|five|several) keys\b": "seeds (of a run that is repeated)",
    r"had back\b": "reconstructed",
    r"what (it|a model|the model) makes of\b": "the reconstruction",
    r"beside\b": "compared with, or in addition to",
    r"(?<!standard )deviations?\b": "standard deviation",
    r"readers (of an image|agree|disagree|who)\b": "raters",
    r"(in|of|after|for) so many\b": "the number, or the name of the thing",
    r"numbers? (that|which) an image is squeezed into\b": "latent dimension",
}
# Phrases in which a word of the list is right.
ALLOWED = (
    "power law",
    "scaling law",
    "law of large numbers",
    "Beer-Lambert law",
    "absolute deviation",
    "beside it",  # of files and folders: where they lie
    "beside its other",
    "beside the folders",
    "holds several keys",
)
# Pages whose words are still to be swept. To be emptied, then deleted.
UNSWEPT: tuple[str, ...] = ()
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments").rglob("*.md")]
MODULES = [*(ROOT / "jaxgen").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]


def prose(source):
    """``(line, text)`` of docstrings, of strings after a name, and of all strings with a space that code is given.

    Names in code and the code of examples are left out.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            text = re.sub(r"^ *(>>>|\.\.\.) .*$", "", node.value, flags=re.M)
            text = re.sub(r"^ +[*]*\w+: ", " ", text, flags=re.M)  # the names of arguments
            yield node.lineno, re.sub(r"``[^`]*``|`[^`]*`", "``", text)


def wrong(text):
    """The words of the list in a text, with what to say."""
    for phrase in ALLOWED:
        text = text.replace(phrase, "")
    text = re.sub(r"\s+", " ", text)
    for word, instead in WORDS.items():
        for match in re.finditer(rf"\b{word}" if word[0] not in "(" else rf"(?<!\w){word}", text, re.I):
            around = text[max(0, match.start() - 25) : match.end() + 25]
            yield f"{match.group()!r} in '...{around}...': say {instead}"


def unswept(path):
    name = str(path.relative_to(ROOT))
    return any(name == page or name.startswith(page + "/") for page in UNSWEPT)


def found_in(path):
    text = path.read_text(encoding="utf-8")
    parts = [(0, re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S))] if path.suffix == ".md" else prose(text)
    return [f"{path.relative_to(ROOT)}:{line}: {message}" for line, part in parts for message in wrong(part)]


@pytest.mark.parametrize("paths", [PAGES, MODULES], ids=["pages", "modules"])
def test_the_words_are_those_of_the_field(paths):
    assert [message for path in sorted(paths) if not unswept(path) for message in found_in(path)] == []


def test_the_check_sees_each_word_and_lets_the_phrases_pass():
    for text in (
        "a normal law of",
        "images that are judged",
        "the mean of three keys",
        "images had back from a code",
        "ours beside theirs",
        "the deviation of the samples",
        "the readers disagree",
        "one step in so many",
    ):
        assert list(wrong(text)), text
    for text in ("a power law", "the standard\ndeviation of it", "file readers", "besides", "a flawed draw"):
        assert not list(wrong(text)), text
    assert next(prose('def f(law):\n    """One thing.\n\n    >>> law = 1 + 1\n    """\n'))[1].count("law") == 0
