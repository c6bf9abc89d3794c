"""Files of textual inversion: one word and its rows."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxgen.errors import UserError
from jaxgen.interop import learned_words

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_what_is_written_is_read(tmp_path):
    for place in (tmp_path, tmp_path / "mine.safetensors"):
        learned_words.save(place, "<lung>", ROWS)
        word, rows = learned_words.load(place)
        assert word == "<lung>"
        np.testing.assert_array_equal(rows, ROWS)
    np.testing.assert_array_equal(load_file(tmp_path / "learned_embeds.safetensors")["<lung>"], ROWS)
    assert learned_words.load(tmp_path, word="<other>")[0] == "<other>"


def test_one_vector_may_stand_alone(tmp_path):
    save_file({"<lung>": ROWS[0]}, tmp_path / "learned_embeds.safetensors")
    np.testing.assert_array_equal(learned_words.load(tmp_path)[1], ROWS[:1])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "holds 0 tensors; a file of textual inversion holds one"),
        ({"a": ROWS, "b": ROWS}, "holds 2 tensors; a file of textual inversion holds one"),
        ({"a": ROWS[None]}, r"the embedding has shape \(1, 2, 3\); it must be \[width\]"),
    ],
)
def test_other_files_are_refused(tmp_path, found, said):
    save_file(found, tmp_path / "learned_embeds.safetensors")
    with pytest.raises(UserError, match=said):
        learned_words.load(tmp_path)


def test_a_folder_without_the_file(tmp_path):
    with pytest.raises(UserError, match=r"learned_embeds.safetensors: cannot be read"):
        learned_words.load(tmp_path)
