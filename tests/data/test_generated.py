import numpy as np
import pytest

from jaxgen.data import generated, phantoms


@pytest.fixture
def drawn(monkeypatch):
    """The numbers of the phantoms drawn, in order."""
    numbers, draw = [], phantoms.PhantomSource.__getitem__

    def counted(self, i):
        numbers.append(i)
        return draw(self, i)

    monkeypatch.setattr(phantoms.PhantomSource, "__getitem__", counted)
    return numbers


def source():
    return generated.DrawnSource("brain_classes", 3, seed=0, size=16, entries=("image", "label"))


def test_an_example_is_drawn_once(drawn):
    held = source()
    first = held[2]
    assert held[2]["image"] is first["image"]
    np.testing.assert_array_equal(held[-1]["image"], first["image"])
    assert held.arrays["label"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(held[2]["image"], first["image"])
    assert sorted(drawn) == [0, 1, 2]
    with pytest.raises(IndexError):
        held[3]


def test_what_would_fill_the_memory_is_drawn_again(drawn, monkeypatch):
    monkeypatch.setattr(generated, "HELD_BYTES", 1500)  # an image of 16 pixels takes 1024, its label 4
    held = source()
    for i in (0, 1, 0, 1):
        assert held[i]["label"] == i
    assert drawn == [0, 1, 1]
