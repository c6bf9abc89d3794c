"""A tokenizer of words for small models of text: what a training set's captions say is its vocabulary."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgen import prompts
from jaxgen.config import nearest
from jaxgen.errors import UserError
from jaxgen.interop import json_files

PAD, BEGIN, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<begin>", "<end>", "<unknown>")
_WORD = re.compile(r"\w+|[^\w\s]")
_MOST_WORDS = 2**20


class Vocabulary(NamedTuple):
    """The words that a model knows.

    Attributes:
        words: by token, from token 4 on; 0 to 3 are padding, begin, end and the unknown word.
        length: tokens of a prompt, begin and end included.
    """

    words: tuple[str, ...]
    length: int

    @property
    def size(self) -> int:
        """The number of tokens."""
        return len(SPECIAL) + len(self.words)


def split(text: str) -> list[str]:
    """The words and punctuation marks of a text, in lower case.

    Example:
        >>> split("No pleural effusion, left-sided.")
        ['no', 'pleural', 'effusion', ',', 'left', '-', 'sided', '.']
    """
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def learn(captions: Iterable[str], *, length: int = 16, least: int = 1) -> Vocabulary:
    """The vocabulary of a training set's captions, the most frequent word first and equals by the alphabet.

    Args:
        captions: of the training set.
        length: tokens of a prompt, begin and end included, 3 or more.
        least: how often a word must occur; a rarer one is unknown.

    Returns:
        The vocabulary.

    Raises:
        ValueError: if the length is less than 3, or no caption has a word.

    Example:
        >>> learn(["A red disc.", "a blue disc"]).words
        ('a', 'disc', '.', 'blue', 'red')
    """
    if length < 3:
        raise ValueError(f"length must be at least 3, for a word between begin and end, got {length}")
    counts = Counter(word for caption in captions for word in split(caption))
    kept = [word for word, count in counts.items() if count >= least]
    if not kept:
        raise ValueError("the captions have no words: there is nothing to learn a vocabulary from")
    return Vocabulary(tuple(sorted(kept, key=lambda word: (-counts[word], word))), length)


def encode(vocabulary: Vocabulary, texts: Sequence[str], *, cut: bool = False) -> np.ndarray:
    """Tokens of texts: begin, the words, end, and padding.

    Args:
        vocabulary: the words.
        texts: of any number; an empty one is begin and end alone, the prompt of classifier-free guidance.
        cut: whether a text that is too long is cut, with a warning that says what was lost; else it is an error.

    Returns:
        ``[len(texts), length]`` in int32.

    Raises:
        UserError: if a text is too long and not to be cut.

    Example:
        >>> encode(learn(["a red disc"], length=6), ["A RED square", ""]).tolist()
        [[1, 4, 6, 3, 2, 0], [1, 2, 0, 0, 0, 0]]
    """
    number = {word: i for i, word in enumerate(vocabulary.words, len(SPECIAL))}
    most = vocabulary.length - 2
    tokens = np.full((len(texts), vocabulary.length), PAD, np.int32)
    for row, text in zip(tokens, texts, strict=True):
        found = split(text)
        if len(found) > most:
            prompts.too_long(text, len(found) + 2, vocabulary.length, " ".join(found[most:]), cut=cut)
        kept = [BEGIN, *(number.get(word, UNKNOWN) for word in found[:most]), END]
        row[: len(kept)] = kept
    return tokens


def refuse_unknown(vocabulary: Vocabulary, prompts: Sequence[str]) -> None:
    """Say of prompts which word of theirs is not known.

    Args:
        vocabulary: the words.
        prompts: what is asked for.

    Raises:
        UserError: if there is one; it names the nearest that is known.

    Example:
        >>> refuse_unknown(learn(["a red disc"]), ["a red disk"])
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: --prompt 'a red disk': no training caption has the word 'disk'; did you mean 'disc'?
    """
    for prompt in dict.fromkeys(prompts):
        for word in split(prompt):
            if word not in vocabulary.words:
                hint = nearest(word, vocabulary.words) or "; use words of the captions"
                raise UserError(f"--prompt {prompt!r}: no training caption has the word {word!r}{hint}")


def decode(vocabulary: Vocabulary, tokens: np.ndarray) -> list[str]:
    """Texts of tokens: the words between begin and end, with spaces.

    Args:
        vocabulary: the words.
        tokens: ``[n, length]``.

    Returns:
        One text per row.

    Raises:
        ValueError: if a token is none of the vocabulary's.

    Example:
        >>> vocabulary = learn(["a red disc"])
        >>> decode(vocabulary, encode(vocabulary, ["A red square"]))
        ['a red <unknown>']
    """
    rows = np.asarray(tokens)
    if rows.size and not 0 <= rows.min() <= rows.max() < vocabulary.size:
        raise ValueError(f"tokens must be from 0 to {vocabulary.size - 1}, got {rows.min()} to {rows.max()}")
    words = (*SPECIAL, *vocabulary.words)
    return [" ".join(words[i] for i in row if i not in (PAD, BEGIN, END)) for row in rows]


def save(path: Path, vocabulary: Vocabulary) -> None:
    """Write a vocabulary as JSON, to be kept with the run that it belongs to.

    Args:
        path: of the file.
        vocabulary: the words.
    """
    content = {"length": vocabulary.length, "words": list(vocabulary.words)}
    path.write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def load(path: Path) -> Vocabulary:
    """Read a vocabulary that `save` wrote.

    Args:
        path: of the file.

    Returns:
        The vocabulary.

    Raises:
        UserError: if the file is missing, damaged, or no vocabulary.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Path(folder, "words.json"), learn(["a red disc"]))
        ...     load(Path(folder, "words.json"))
        Vocabulary(words=('a', 'disc', 'red'), length=16)
    """
    content = json_files.read_object(path, "it is kept with the run whose captions it was learned from")
    words, length = content.get("words"), content.get("length")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        words = []
    once = 0 < len(words) <= _MOST_WORDS and len(set(words)) == len(words)
    if not once or type(length) is not int or not 3 <= length <= 2**16:
        raise UserError(f"{path}: no vocabulary: it must hold words, each once, and a length; copy it again")
    return Vocabulary(tuple(words), length)
