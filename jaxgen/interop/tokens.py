"""CLIP's tokenizer from a model's own files, by the `tokenizers` library.

The files are ``tokenizer.json``, or ``vocab.json`` with ``merges.txt``; of either the vocabulary and the merges are
taken, and the text is prepared as CLIP's tokenizer prepares it, whatever a file says of that.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgen import prompts
from jaxgen.errors import UserError
from jaxgen.interop import files, json_files
from jaxgen.interop.entries import shown

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_LENGTH = 77
_MOST_TOKENS = 2**20
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class Tokenizer(NamedTuple):
    """A tokenizer as pure functions.

    Attributes:
        encode: ``encode(texts, cut=False) -> [n, length]`` in int32: begin, the tokens, end, and padding. A text that
            is too long is an error, or with `cut` it is cut, with a warning that says what was lost.
        decode: ``decode(tokens [n, length]) -> texts``, without begin, end and padding.
        length: tokens of a prompt.
        size: number of tokens, those that were added included.
        added: the tokens of each name that was added.
    """

    encode: Callable[..., np.ndarray]
    decode: Callable[[np.ndarray], list[str]]
    length: int
    size: int
    added: Mapping[str, tuple[int, ...]]


def load(folder: str | Path, *, length: int | None = None, added: Mapping[str, int] | None = None) -> Tokenizer:
    r"""Read a tokenizer's folder, or the ``tokenizer`` in a pipeline's folder.

    Args:
        folder: as written by transformers' ``CLIPTokenizer.save_pretrained``.
        length: the most tokens of a prompt; None for what ``tokenizer_config.json`` says, or else 77. What the file
            says is not exceeded.
        added: new words of textual inversion, such as ``{"<my-token>": 1}``, and how many vectors each stands for;
            their tokens follow the last one of the file, in this order.

    Returns:
        A `Tokenizer` that gives the numbers that transformers gives.

    Raises:
        UserError: if the library is not installed, a file is missing or damaged, is no tokenizer of CLIP, or has a
            word that is to be added already.

    Example:
        >>> import json, tempfile
        >>> known = {"d": 0, "i": 1, "sc</w>": 2, "disc</w>": 3, "s": 4, "c</w>": 5, "di": 6, BEGIN: 7, END: 8}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "vocab.json").write_text(json.dumps(known))
        ...     _ = Path(folder, "merges.txt").write_text("d i\ns c</w>\ndi sc</w>")
        ...     tokenizer = load(folder, length=6)
        >>> tokenizer.encode(["Disc disc", ""]).tolist()
        [[7, 3, 3, 8, 8, 8], [7, 8, 8, 8, 8, 8]]
    """
    folder = Path(folder)
    if not _has_files(folder) and (folder / "tokenizer").is_dir():
        folder = folder / "tokenizer"
    file, vocabulary, merges, extra = _read(folder)
    settings = _settings(folder)
    for token in (BEGIN, END):
        if token not in vocabulary:
            raise UserError(f"{file}: has no token {token}; only tokenizers of CLIP are read")
    pad, announced = settings.get("pad_token", END), settings["model_max_length"]
    length = min(announced, length or announced)
    core = _core(file, vocabulary, merges, extra)
    if pad not in vocabulary and all(pad != entry["content"] for entry in extra):
        raise UserError(f"{file}: has no token {shown(pad)}, with which its folder says that prompts are filled up")
    core.add_special_tokens([BEGIN, END, pad])
    numbers = core.token_to_id(BEGIN), core.token_to_id(END), core.token_to_id(pad)
    return _tokenizer(core, length, numbers, _extend(core, added or {}, file))


def _has_files(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "merges.txt"))


def _read(folder: Path) -> tuple[Path, dict[str, int], list[tuple[str, str]], list[dict[str, Any]]]:
    """The file, its vocabulary, its merges, and the tokens that were added to them."""
    whole, vocab, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if whole.is_file():
        content = json_files.read_object(whole, "")
        model = content.get("model")
        if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
            raise UserError(f"{whole}: no byte-pair encoding; only tokenizers of CLIP are read")
        return whole, _vocabulary(whole, model.get("vocab")), _merges(whole, model.get("merges")), _extra(content)
    if not vocab.is_file() and not merges.is_file():
        raise UserError(
            f"{folder}: has neither tokenizer.json nor vocab.json with merges.txt; copy the tokenizer folder of the "
            "model there"
        )
    advice = "a tokenizer is both vocab.json and merges.txt: copy it again from where it came"
    content = json_files.read_object(vocab, advice)
    if not merges.is_file():
        raise UserError(f"{merges}: no such file; {advice}")
    with files.open_regular(merges, json_files.MOST_BYTES) as stream:
        lines = stream.read().decode("utf-8", "replace").splitlines()
    return vocab, _vocabulary(vocab, content), _merges(merges, [x for x in lines if x and x[:8] != "#version"]), []


def _extra(content: dict[str, Any]) -> list[dict[str, Any]]:
    added = content.get("added_tokens")
    entries = [entry for entry in (added if isinstance(added, list) else []) if isinstance(entry, dict)]
    good = [entry for entry in entries if type(entry.get("id")) is int and isinstance(entry.get("content"), str)]
    return sorted(good, key=lambda entry: entry["id"])


def _vocabulary(file: Path, content: Any) -> dict[str, int]:
    numbers = list(content.values()) if isinstance(content, dict) else [None]
    if not all(type(n) is int and 0 <= n < _MOST_TOKENS for n in numbers) or len(set(numbers)) < len(numbers):
        raise UserError(f"{file}: no vocabulary, which gives each token a number; copy it again from where it came")
    return content


def _merges(file: Path, content: Any) -> list[tuple[str, str]]:
    pairs = [tuple(x.split(" ") if isinstance(x, str) else x) for x in content] if isinstance(content, list) else None
    if pairs is None or any(len(pair) != 2 or not all(isinstance(x, str) for x in pair) for pair in pairs):
        raise UserError(f"{file}: no merges, which are pairs of tokens; copy it again from where it came")
    return [(pair[0], pair[1]) for pair in pairs]


def _settings(folder: Path) -> dict[str, Any]:
    """The length of a prompt and the token that fills it up, as the folder's other files say them."""
    found: dict[str, Any] = {"model_max_length": _LENGTH}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        file = folder / name
        if not file.is_file():
            continue
        content = json_files.read_object(file, "")
        length, pad = content.get("model_max_length"), content.get("pad_token")
        if isinstance(length, (int, float)) and 3 <= length <= 2**16:  # 1e30 stands for none
            found["model_max_length"] = int(length)
        pad = pad.get("content") if isinstance(pad, dict) else pad
        if isinstance(pad, str):
            found["pad_token"] = pad
    return found


def _core(
    file: Path, vocabulary: dict[str, int], merges: list[tuple[str, str]], extra: Sequence[dict[str, Any]]
) -> Any:
    try:
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers
    except ImportError as error:
        raise UserError(f"{file}: reading it needs the tokenizers library: pip install 'jaxgen[text]'") from error
    try:
        model = models.BPE(
            vocab=vocabulary, merges=merges, continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=END
        )
        core = tokenizers.Tokenizer(model)
        spaces = normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
        core.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
        split = pre_tokenizers.Split(tokenizers.Regex(_WORDS), behavior="removed", invert=True)
        core.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        core.decoder = decoders.ByteLevel()
        for entry in extra:
            flags = {name: entry.get(name) is True for name in _FLAGS}
            core.add_tokens([tokenizers.AddedToken(entry["content"], **flags)])
            if core.token_to_id(entry["content"]) != entry["id"]:
                raise ValueError(f"its added token {shown(entry['content'])} leaves a gap")
    except Exception as error:  # the library raises nothing more special
        raise UserError(f"{file}: no tokenizer ({str(error)[:200]}); copy it again from where it came") from error
    return core


def _extend(core: Any, added: Mapping[str, int], file: Path) -> dict[str, tuple[int, ...]]:
    numbers = {}
    for word, vectors in added.items():
        parts = [word, *(f"{word}_{i}" for i in range(1, vectors))]
        known = next((part for part in parts if core.token_to_id(part) is not None), None)
        if known is not None:
            raise UserError(f"{file}: has the token {shown(known)} already; give the new word another name")
        core.add_tokens(parts)
        numbers[word] = tuple(core.token_to_id(part) for part in parts)
    return numbers


def _tokenizer(
    core: Any, length: int, numbers: tuple[int, int, int], added: Mapping[str, tuple[int, ...]]
) -> Tokenizer:
    begin, end, pad = numbers
    several = {word: [word, *(f"{word}_{i}" for i in range(1, len(ids)))] for word, ids in added.items()}

    def text_of(ids: Sequence[int]) -> str:
        return re.sub(" +", " ", core.decode(list(ids), skip_special_tokens=False).replace("</w>", " ")).strip()

    def encode(texts: Sequence[str], *, cut: bool = False) -> np.ndarray:
        if isinstance(texts, str):
            raise TypeError("give a list of texts, not one")
        tokens = np.full((len(texts), length), pad, np.int32)
        for row, text in zip(tokens, texts, strict=True):
            spelt = text
            for word, parts in several.items():
                spelt = spelt.replace(word, " ".join(parts))
            if any("\ud800" <= letter <= "\udfff" for letter in text):  # of a command line that is not UTF-8
                raise UserError(f"the prompt {text[:80]!r} holds bytes that are no text; write it again")
            found = core.encode(spelt, add_special_tokens=False).ids
            if len(found) > length - 2:
                prompts.too_long(text, len(found) + 2, length, text_of(found[length - 2 :]), cut=cut)
            kept = [begin, *found[: length - 2], end]
            row[: len(kept)] = kept
        return tokens

    def decode(tokens: np.ndarray) -> list[str]:
        texts = []
        for row in np.asarray(tokens).tolist():
            inner = row[row[0] == begin :]
            texts.append(text_of(inner[: inner.index(end)] if end in inner else inner))
        return texts

    return Tokenizer(encode, decode, length, core.get_vocab_size(with_added_tokens=True), added)
