"""Patients held out by name."""

import numpy as np
import pytest

from jaxgen.data.held_out import hold_out
from jaxgen.data.source import ArraySource, Splits, patients_of
from jaxgen.errors import UserError


def splits_of(*patients):
    parts, start = [], 0
    for names in patients:
        parts.append(ArraySource({"label": np.arange(start, start + len(names))}, patients=list(names)))
        start += len(names)
    return Splits(*parts, label_names=("x",))


SPLITS = splits_of("aabbccc", "dde", "ffg")


def test_each_patient_in_turn_is_the_test_set():
    for name in "abcdefg":
        held = hold_out(SPLITS, [name], seed=0, where="here")
        train, validation, test = (set(patients_of(part)) for part in held[:3])
        assert test == {name}
        assert len(validation) == 1
        assert train | validation == set("abcdefg") - {name}
        assert sorted(int(part[i]["label"]) for part in held[:3] for i in range(len(part))) == list(range(13))
        assert held.label_names == ("x",)


def test_several_patients_and_the_share_of_validation():
    many = splits_of([str(i) for i in range(30)], "x", "y")
    held = hold_out(many, ["0", "x"], seed=0, where="here")
    assert patients_of(held.test) == ["0", "x"]
    assert len(held.validation) == round(30 * 0.15 / 0.85)
    other = hold_out(many, ["0", "x"], seed=1, where="here")
    assert patients_of(held.validation) != patients_of(other.validation)


def test_what_cannot_be_held_out():
    unknown = SPLITS._replace(test=ArraySource({"label": np.arange(2)}))
    for splits, names, message in (
        (unknown, ["a"], "its patients are not known"),
        (SPLITS, ["a", "h"], "--test-patients h: here has no such patient; it has a, b, c, d, e, f, g"),
        (SPLITS, list("abcdef"), "here has 1 other patient; training and validation need one each"),
        (SPLITS, list("abcdefg"), "here has 0 other patients"),
    ):
        with pytest.raises(UserError, match=message):
            hold_out(splits, names, seed=0, where="here")
