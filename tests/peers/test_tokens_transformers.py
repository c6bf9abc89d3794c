"""transformers' CLIPTokenizer and ours on a made-up vocabulary: the same numbers for the same texts."""

import json
import shutil

import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.interop import tokens
from tests.interop.clip_files import write_tokenizer

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.peers

TEXTS = [
    "",
    "a photo of a red disc",
    "No PLEURAL effusion, left-sided.",
    "  spaces\tand\nlines   ",
    "it's the patient's 70th; don't",
    "äöü É 日本 🫁 x̂ ﬁ",
    "<|endoftext|> in the middle ! and !!",
    "1234 5.6 mm @#$ ... _under_score_",
    "ﬂuid\u00a0level\u200b zero width",
    "disc disc disc disc disc",
]
PADS = ["<|endoftext|>", "!"]


@pytest.fixture(params=PADS, ids=["as version 1", "as version 2"])
def folder(request, tmp_path):
    write_tokenizer(tmp_path, pad=request.param, length=40)
    return tmp_path


def expected(tokenizer, texts=TEXTS):
    options = {"padding": "max_length", "truncation": True, "max_length": tokenizer.model_max_length}
    return np.array(tokenizer(texts, **options)["input_ids"])


def test_the_same_numbers_from_vocabulary_and_merges(folder):
    theirs = transformers.CLIPTokenizer.from_pretrained(folder)
    ours = tokens.load(folder)
    assert (ours.length, ours.size) == (theirs.model_max_length, len(theirs))
    np.testing.assert_array_equal(ours.encode(TEXTS, cut=True), expected(theirs))


def test_the_same_numbers_from_what_they_write(folder, tmp_path):
    theirs = transformers.CLIPTokenizer.from_pretrained(folder)
    theirs.save_pretrained(tmp_path / "theirs" / "tokenizer")
    assert (tmp_path / "theirs" / "tokenizer" / "tokenizer.json").exists()
    ours = tokens.load(tmp_path / "theirs")
    np.testing.assert_array_equal(ours.encode(TEXTS, cut=True), expected(theirs))


def test_what_is_cut_and_what_is_read_back(folder):
    theirs, ours = transformers.CLIPTokenizer.from_pretrained(folder), tokens.load(folder, length=8)
    long = "a red disc on a green square"
    cut = np.array(theirs([long], truncation=True, max_length=8)["input_ids"])
    with pytest.warns(UserWarning, match="cut off"):
        np.testing.assert_array_equal(ours.encode([long], cut=True), cut)
    with pytest.raises(UserError, match="leave out"):
        ours.encode([long])
    assert ours.decode(cut) == theirs.batch_decode(cut[:, 1:-1])


def test_new_words(folder, tmp_path):
    """The words of textual inversion: one of one vector, one of three, also after they were written."""
    theirs = transformers.CLIPTokenizer.from_pretrained(folder)
    theirs.add_tokens(["<disc-7>"])
    theirs.add_tokens(["<lung>", "<lung>_1", "<lung>_2"])
    ours = tokens.load(folder, added={"<disc-7>": 1, "<lung>": 3})
    texts = ["a <disc-7> on a <lung>", "<disc-7>", "a disc-7, A <DISC-7>", "x<lung>y"]
    spelt = [text.replace("<lung>", "<lung> <lung>_1 <lung>_2") for text in texts]
    np.testing.assert_array_equal(ours.encode(texts), expected(theirs, spelt))
    assert ours.size == len(theirs)
    assert ours.added == {"<disc-7>": (len(theirs) - 4,), "<lung>": tuple(range(len(theirs) - 3, len(theirs)))}
    theirs.save_pretrained(tmp_path / "theirs")
    again = tokens.load(tmp_path / "theirs")
    np.testing.assert_array_equal(again.encode(spelt), expected(theirs, spelt))


def test_older_files_of_theirs(folder):
    """Settings as version 4 wrote them: special tokens as objects, and no length."""
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["pad_token"] = {"content": settings["pad_token"], "lstrip": False, "normalized": True}
    settings["model_max_length"] = 1e30
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert tokens.load(folder).length == 77
    shutil.rmtree(folder)
