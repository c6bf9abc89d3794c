"""The brain phantom in 3-D: its volumes are those of its covariates, and thresholds measure them."""

import numpy as np
import pytest

from jaxgen.data import load
from jaxgen.data.covariates import covariates_of
from jaxgen.data.phantoms import brain3d, brain3d_covariates, covariates_of_brain3d, measure_brain3d, phantom_source
from jaxgen.data.phantoms.brain3d import COVARIATES, LEVELS
from jaxgen.errors import UserError


@pytest.fixture(scope="module")
def brains():
    return [brain3d(0, i, 24) for i in range(40)]


def together(brains, name):
    return np.stack([example[name] for example in brains])


@pytest.mark.parametrize("size", [24, (32, 48, 32)], ids=["24", "32x48x32"])
def test_thresholds_measure_the_truth(size, brains):
    examples = brains if size == 24 else [brain3d(1, i, size) for i in range(25)]
    measured = measure_brain3d(together(examples, "image"))
    for name, most in {"ventricles": 0.12, "brain": 0.3, "thickness": 0.01, "ratio": 0.02}.items():
        truth = together(examples, name)
        assert np.corrcoef(truth, measured[name])[0, 1] > 0.99, name
        assert np.abs(measured[name] - truth).max() < most, name


def test_measures_give_the_covariates_back(brains):
    wanted, found = together(brains, "covariates"), covariates_of_brain3d(together(brains, "image"))
    widths = np.array([high - low for low, high in COVARIATES.values()])
    assert (np.abs(found - wanted) / widths).max() < 0.1


def test_the_volumes_of_the_tissues_are_those_asked_for():
    for index in range(3):
        tissue = brain3d(2, index, 64)["tissue"]
        wanted = dict(zip(COVARIATES, brain3d_covariates(2, index), strict=True))
        np.testing.assert_allclose(100 * np.mean(tissue >= 2), wanted["brain"], atol=0.1)
        np.testing.assert_allclose(100 * np.mean(tissue == 4), wanted["ventricles"], atol=0.06)
        inner = np.cbrt(np.mean(tissue >= 3) / np.mean(tissue >= 2))
        np.testing.assert_allclose(1 - inner, 0.28 - 0.14 * wanted["age"], atol=0.004)


@pytest.mark.parametrize(("name", "k"), [(name, k) for k, name in enumerate(COVARIATES)])
def test_a_covariate_changes_its_own_measure_alone(name, k):
    low, high = (brain3d(3, 0, 24, covariates={name: value})["image"][None] for value in COVARIATES[name])
    widths = np.array([high - low for low, high in COVARIATES.values()])
    moved = np.abs(covariates_of_brain3d(high) - covariates_of_brain3d(low))[0] / widths
    assert 0.9 < moved[k] < 1.1
    assert np.delete(moved, k).max() < 0.08


def test_an_example_is_a_function_of_seed_and_index(brains):
    np.testing.assert_array_equal(brain3d(0, 3, 24)["image"], brains[3]["image"])
    assert np.abs(brain3d(1, 3, 24)["image"] - brains[3]["image"]).max() > 0.2
    np.testing.assert_array_equal(brains[3]["covariates"], brain3d_covariates(0, 3))
    assert {float(example["covariates"][1]) for example in brains} == {0.0, 1.0}
    ages = together(brains, "covariates")[:, 0]
    assert 0.35 < ages.mean() < 0.65
    assert abs(np.corrcoef(together(brains, "covariates")[:, [0, 2, 3]].T)[0, 1:]).max() < 0.5
    background = together(brains, "image")[together(brains, "tissue") == 0]
    assert abs(background.mean() - LEVELS[0]) < 0.02


def test_an_empty_volume_has_measures_of_zero():
    found = measure_brain3d(np.zeros((1, 16, 16, 16, 1)))
    assert found["brain"].tolist() == found["ventricles"].tolist() == [0.0]
    assert np.isnan(found["ratio"]).all()


def test_what_is_wrong_is_refused():
    with pytest.raises(ValueError, match="three axes of 16"):
        brain3d(0, 0, (16, 16))
    with pytest.raises(ValueError, match="no covariate 'weight'; it has age, sex, ventricles, brain"):
        brain3d(0, 0, 16, covariates={"weight": 1})
    with pytest.raises(ValueError, match="size >= 16"):
        phantom_source("brain3d", 2, size=(16, 8, 16))


def test_the_data_set():
    splits = load("brain3d_phantom/16x24x16", wants=("image", "covariates"), spatial=3)
    assert [len(part) for part in splits[:3]] == [1000, 128, 256]
    assert splits.covariate_names == tuple(COVARIATES)
    example = splits.validation[5]
    assert example["image"].shape == (16, 24, 16, 1)
    np.testing.assert_array_equal(covariates_of(splits.validation)[5], example["covariates"])
    assert load("brain3d_phantom", wants=("image",)).test[0]["image"].shape == (32, 48, 32, 1)
    assert load("brain3d_phantom/16", wants=("image",)).covariate_names == ()


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("brain3d_phantom/8", {}, "'8' is no size; write brain3d_phantom, or brain3d_phantom/ and a number of voxels"),
        ("brain3d_phantom/16x16", {}, "'16x16' is no size"),
        ("brain3d_phantom", {"wants": ("image", "label")}, r"has no label \(it has image, covariates\)"),
        ("brain3d_phantom", {"spatial": 2}, "volumes where 2-D images are wanted"),
        ("brain_phantom", {"wants": ("image", "covariates")}, "has no covariates"),
    ],
)
def test_what_the_data_set_has_not_is_refused(spec, options, message):
    with pytest.raises(UserError, match=message):
        load(spec, **{"wants": ("image",), **options})
