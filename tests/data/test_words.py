"""The small tokenizer of words: what captions teach it, what it makes of others, and the file it is kept in."""

import json

import numpy as np
import pytest

from jaxgen.data import words
from jaxgen.errors import UserError

CAPTIONS = ["A small nodule, right lung", "No nodule.", "Right-sided effusion: small", "no EFFUSION"]


@pytest.fixture(scope="module")
def vocabulary():
    return words.learn(CAPTIONS, length=8)


def test_the_most_frequent_words_come_first(vocabulary):
    assert vocabulary.words[:5] == ("effusion", "no", "nodule", "right", "small")
    assert set(vocabulary.words) == {word for caption in CAPTIONS for word in words.split(caption)}
    assert vocabulary.size == len(vocabulary.words) + 4
    assert words.learn(CAPTIONS[::-1], length=8) == vocabulary
    assert words.learn(CAPTIONS, least=2).words == vocabulary.words[:5]


def test_every_caption_of_the_training_set_comes_back(vocabulary):
    tokens = words.encode(vocabulary, CAPTIONS)
    assert tokens.shape == (4, 8)
    assert tokens.dtype == np.int32
    assert words.decode(vocabulary, tokens) == [" ".join(words.split(caption)) for caption in CAPTIONS]
    assert (tokens != words.UNKNOWN).all()
    assert words.encode(vocabulary, [""]).tolist() == [[words.BEGIN, words.END, *[words.PAD] * 6]]
    assert words.encode(vocabulary, []).shape == (0, 8)


def test_a_word_that_was_never_seen_is_unknown(vocabulary):
    tokens = words.encode(vocabulary, ["no pneumothorax."])
    assert (tokens[0] == words.UNKNOWN).sum() == 1
    assert words.decode(vocabulary, tokens) == ["no <unknown> ."]


def test_the_same_word_is_the_same_however_it_is_written(vocabulary):
    other = words.learn(["e\u0301panchement"])  # an accent of its own
    assert other.words == ("\u00e9panchement",)
    assert (words.encode(other, ["\u00c9PANCHEMENT"]) != words.UNKNOWN).all()


def test_a_text_that_is_too_long(vocabulary):
    exact, long = "no nodule no nodule no nodule", "no nodule no nodule no nodule right lung"
    assert (words.encode(vocabulary, [exact]) != words.PAD).all()
    with pytest.raises(UserError, match="has 10 tokens and the text encoder takes 8; leave out 'right lung'"):
        words.encode(vocabulary, [long])
    with pytest.warns(UserWarning, match="'right lung' was cut off"):
        np.testing.assert_array_equal(words.encode(vocabulary, [long], cut=True), words.encode(vocabulary, [exact]))


def test_the_file_is_read_as_it_was_written(vocabulary, tmp_path):
    words.save(tmp_path / "words.json", vocabulary)
    assert words.load(tmp_path / "words.json") == vocabulary


@pytest.mark.parametrize(
    "content",
    ['{"words": ["a", "a"], "length": 8}', '{"words": ["a"], "length": 2}', '{"words": [1], "length": 8}', "{}"],
)
def test_a_damaged_file_is_said(tmp_path, content):
    (tmp_path / "words.json").write_text(content)
    with pytest.raises(UserError, match="no vocabulary: it must hold words, each once, and a length"):
        words.load(tmp_path / "words.json")
    assert json.loads(content) is not None


def test_what_cannot_be_learned_or_read_back(vocabulary):
    with pytest.raises(ValueError, match="length must be at least 3"):
        words.learn(CAPTIONS, length=2)
    with pytest.raises(ValueError, match="the captions have no words"):
        words.learn(["", "  "])
    with pytest.raises(ValueError, match="tokens must be from 0 to"):
        words.decode(vocabulary, np.array([[99]]))
