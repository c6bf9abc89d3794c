"""Covariates of npz files and folders, with what is wrong with them; codes of images."""

import numpy as np
import PIL.Image
import pytest

from jaxgen.data import load
from jaxgen.data.covariates import covariates_of, read_covariates
from jaxgen.data.images import resized
from jaxgen.data.resizing import ResizedSource
from jaxgen.data.source import ArraySource, Subset
from jaxgen.errors import UserError

WANTS = ("image", "covariates")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (12, 8, 8), np.uint8)
VALUES = np.stack([np.arange(12) + 40.0, np.arange(12) % 2], axis=1)


def npz(path, **arrays):
    np.savez(path / "data.npz", images=IMAGES, **arrays)
    return path / "data.npz"


def folder(path, table):
    (path / "images").mkdir()
    for i, image in enumerate(IMAGES):
        PIL.Image.fromarray(image).save(path / "images" / f"p{i}.png")
    if table is not None:
        (path / "covariates.csv").write_text(table)
    return path


def table(values=VALUES, head="name,age,sex"):
    return "\n".join([head, *(f"p{i}.png,{age:g},{sex:g}" for i, (age, sex) in enumerate(values))])


def check(splits):
    assert splits.covariate_names == ("age", "sex")
    for part in splits[:3]:
        known = covariates_of(part)
        for i in range(len(part)):
            j = int(known[i, 0]) - 40
            np.testing.assert_array_equal(part[i]["image"][..., 0], IMAGES[j], strict=True)
            np.testing.assert_array_equal(part[i]["covariates"], VALUES[j])
    assert sorted(np.concatenate([covariates_of(part)[:, 0] for part in splits[:3]])) == list(range(40, 52))


def test_an_npz_has_them(tmp_path):
    path = npz(tmp_path, covariates=VALUES, covariate_names=np.array(["age", "sex"]))
    check(load(path, wants=WANTS))
    assert load(path, wants=("image",)).covariate_names == ()


def test_a_folder_has_them(tmp_path):
    check(load(folder(tmp_path, table()), wants=WANTS))


def test_the_name_may_stand_in_any_column_and_semicolons_divide(tmp_path):
    path = tmp_path / "covariates.csv"
    path.write_text("age;File Name;sex\n50;a.png;1\n60;images/b.png;0\n")
    values, names = read_covariates(path, ["b", "a"])
    assert names == ("age", "sex")
    assert values.tolist() == [[60.0, 0.0], [50.0, 1.0]]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "has no array `covariates`"),
        ({"covariates": VALUES}, "has 2 columns, but the names are missing; save `covariate_names`"),
        ({"covariates": VALUES, "covariate_names": np.array(["age"])}, "the names are age; save"),
        ({"covariates": VALUES[:, 0], "covariate_names": np.array(["age"])}, r"has size \(12,\).*save numbers"),
        (
            {"covariates": np.where(VALUES == 41, np.nan, VALUES), "covariate_names": np.array(["age", "sex"])},
            "age of example 1 is nan",
        ),
    ],
)
def test_a_wrong_npz_is_refused(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message) as caught:
        load(npz(tmp_path, **arrays), wants=WANTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no covariates.csv; write a header"),
        ("name,age\n", "has no columns"),
        (table(head="who,age,sex"), "no column of its header is called name"),
        (table().replace("p3.png,43", "p3.png,old"), "'p3.png,old,1' needs a name and 2 numbers"),
        (table().replace("p3.png,43,1\n", ""), "no line for the image p3"),
        (table(head="name,age,age"), "the names are age, age"),
        (table().replace("p3.png,43,1", "p3.png,nan,1"), "'p3.png,nan,1' needs a name and 2 numbers"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        load(folder(tmp_path, text), wants=WANTS)
    assert "\n" not in str(caught.value)


def test_resizing_keeps_them_at_once_and_one_at_a_time():
    source = ArraySource({"image": IMAGES[..., None], "covariates": VALUES.astype(np.float32)})
    whole = resized(source, 4, ((0,), (255,)), dtype=np.uint8)
    later = ResizedSource(Subset(source, [3, 1]), 4, ((0,), (255,)), dtype=np.uint8)
    assert len(later) == 2
    assert later.names == ["3", "1"]
    np.testing.assert_array_equal(later.covariates, VALUES[[3, 1]])
    for name in ("image", "covariates"):
        np.testing.assert_array_equal(later[0][name], whole[3][name], strict=True)
