"""The brain phantom: its twin, tissues, intensities, lesions, classes; and the data set made of it."""

import math

import numpy as np
import pytest
from scipy import ndimage

from jaxgen.data import load
from jaxgen.data.phantoms import CLASS_NAMES, CONTRASTS, LESIONS, brain2d, brain_classes, phantom_source
from jaxgen.data.phantoms.brain import Head, draw_head, place_lesion, tissue_map
from jaxgen.data.phantoms.texture import generator
from jaxgen.errors import UserError

BRAINS = [brain2d(0, i) for i in range(40)]
ROUND = Head(np.zeros(2), 0.0, (0.7, 0.9), np.eye(1, 6)[0] + 0j, 0.75 * np.eye(1, 16)[0] + 0j, (0.16, 1.0), 0.33)


@pytest.mark.parametrize("contrast", list(CONTRASTS))
@pytest.mark.parametrize("kind", list(LESIONS))
def test_the_twin_is_the_image_but_for_the_lesion(kind, contrast):
    for i in range(4):
        ill, well = brain2d(0, i, contrast=contrast, lesion=LESIONS[kind]), brain2d(0, i, contrast=contrast)
        np.testing.assert_array_equal(ill["healthy"], well["image"])
        np.testing.assert_array_equal(ill["tissue"], well["tissue"])
        outside = ill["lesion"] == 0
        assert (ill["mask"] <= (ill["lesion"] > 0)).all()
        assert outside.mean() > 0.8
        np.testing.assert_array_equal(ill["image"][outside], well["image"][outside])
        np.testing.assert_array_equal(ill["image"], ill[contrast])


def test_what_a_lesion_changes():
    for kind, lesion in LESIONS.items():
        for i in range(6):
            example = brain2d(1, i, contrast="t2", lesion=lesion)
            core = example["lesion"] > 0.999
            if not core.any():
                assert kind == "L3", "only the small ones have no core"
                continue
            change = (example["image"] - example["healthy"])[core, 0]
            if lesion.constant:
                assert np.abs(example["image"][core] - lesion.value).max() < 0.06 * lesion.value + 5 * 0.0224
            else:  # the bias field multiplies it
                assert (np.abs(change / lesion.value - 1) < 0.06 + 1e-3).all()


def test_intensities_are_those_of_the_table():
    table = np.array(list(CONTRASTS.values()))
    levels = np.stack([example["levels"] for example in BRAINS])
    assert (levels[..., 0] == 0).all()
    apart = (levels - table)[..., 1:].ravel()
    assert abs(apart.mean()) < 4 * 0.015 / math.sqrt(apart.size)
    assert abs(apart.var() / 0.015**2 - 1) < 4 * math.sqrt(2 / apart.size)
    for example in BRAINS[:10]:
        for k, name in enumerate(CONTRASTS):
            for tissue in (2, 3):  # away from edges the blur mixes nothing; bias and texture average out in part
                deep = ndimage.binary_erosion(example["tissue"] == tissue, iterations=2)
                values = example[name][deep, 0]
                if values.size > 30:
                    assert abs(values.mean() - example["levels"][k, tissue]) < 0.06 * values.mean() + 0.02
    assert all((example["image"][example["tissue"] == 0] == 0).all() for example in BRAINS)


def test_the_noise_is_as_given():
    """Two contrasts share bias and texture: what is left of their difference in flat tissue is white noise."""
    residues = []
    for example in BRAINS:
        deep = ndimage.binary_erosion(example["tissue"] == 3, iterations=3)
        if deep.sum() > 40:
            difference = (example["t1"] - example["t1b"])[deep, 0]
            residues.append(difference.var(ddof=1) / (2 * 0.01**2))
    assert len(residues) > 10
    error = np.std(residues, ddof=1) / math.sqrt(len(residues))
    assert abs(np.mean(residues) - 1) < 4 * error


def test_tissues_of_a_head_without_waves():
    size = 200
    tissue = tissue_map(ROUND, size)
    y, x = (np.indices((size, size)) - (size - 1) / 2) / (size / 2)
    radius = np.hypot(x / 0.7, y / 0.9)
    assert ((tissue > 0) == (radius < 1)).all()
    ventricle = ((np.abs(x) - 0.16) / 0.07) ** 2 + (y / 0.26) ** 2 < 1
    assert ((tissue == 1) == ((radius < 1) & (radius > 0.94) | ventricle)).all()
    share = 4 / size**2
    assert (tissue == 1).sum() * share == pytest.approx(math.pi * (0.63 * (1 - 0.94**2) + 2 * 0.07 * 0.26), rel=0.01)
    deep = ((np.abs(x) - 0.33) / 0.10) ** 2 + (y / 0.17) ** 2 < 1
    assert ((tissue == 2) == ((radius <= 0.94) & (radius >= 0.75) | deep & ~ventricle)).all()


def test_a_turned_and_shifted_head_is_the_same_head_elsewhere():
    turned = tissue_map(ROUND._replace(rotation=math.pi / 2, shift=np.array([3.0, -2.0])), 64)
    plain = tissue_map(ROUND._replace(axes=(0.9, 0.7)), 64)
    assert ((turned > 0) == np.roll(plain > 0, (3, -2), axis=(0, 1))).all()


@pytest.mark.parametrize("kind", ["L1", "L3"])
def test_prevalence_and_place_of_lesions(kind):
    low, high = LESIONS[kind].radius
    expected = math.pi * (high**3 - low**3) / (3 * (high - low)) / 64**2
    shares = []
    for i in range(150):
        head = draw_head(generator("brain2d", 3, i), 64)
        spot = place_lesion(generator("brain2d lesion", 3, i), head, LESIONS[kind], 64)
        shares.append(math.pi * spot.axes[0] * spot.axes[1] / 64**2)
    error = np.std(shares, ddof=1) / math.sqrt(len(shares))
    assert abs(np.mean(shares) - expected) < 4 * error
    for i in range(20):
        example = brain2d(3, i, lesion=LESIONS[kind])
        assert (example["tissue"][example["mask"] == 1] > 0).all()
        assert abs(example["mask"].mean() - shares[i]) < 0.35 * shares[i] + 3 / 64**2
        covered, area = example["lesion"].sum(), shares[i] * 64**2
        steiner = math.pi / 12  # a linear edge one pixel wide adds the 24th part of the outline's whole curvature
        assert abs(covered - area - steiner) < 0.02 * area


@pytest.mark.parametrize("radius", [2, 4, 8, 12])
def test_lesions_of_one_radius_lie_in_the_head(radius):
    lesion = LESIONS["L1"].of_radius(radius)
    for i in range(60):
        head = draw_head(generator("brain2d", 5, i), 64)
        spot = place_lesion(generator("brain2d lesion", 5, i), head, lesion, 64)
        assert spot.axes[0] * spot.axes[1] == pytest.approx(radius**2)
        if i < 8:
            example = brain2d(5, i, lesion=lesion)
            assert (example["tissue"][example["mask"] == 1] > 0).all()
            assert abs(example["mask"].sum() / (math.pi * radius**2) - 1) < 0.6 / radius


def test_lesions_are_all_over_the_head():
    places = []
    for i in range(300):
        spot = place_lesion(generator("brain2d lesion", 0, i), ROUND, LESIONS["L3"], 64)
        row, column = ((np.array(spot.centre) - 31.5) / 32) / np.array([0.9, 0.7])
        places.append((row, column))
    places = np.array(places)
    assert np.hypot(*places.T).max() <= 0.8
    assert (np.abs(places.mean(0)) < 4 * 0.4 / math.sqrt(300)).all(), "deviation of a coordinate: 0.8 / 2"
    inner = (np.hypot(*places.T) < 0.4).mean()
    assert abs(inner - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 300)


def test_classes():
    examples = [brain_classes(0, i) for i in range(80)]
    assert [int(e["label"]) for e in examples] == [i % 4 for i in range(80)]
    assert len(CLASS_NAMES) == 4
    fluid = np.array([[(e["tissue"][16:48, 20:44] == 1).sum() for e in examples[k::4]] for k in range(4)])
    assert fluid[3].min() > fluid[:3].max(), "the ventricles alone tell the last class"
    for e in examples[0::4]:
        assert not e["mask"].any()
        np.testing.assert_array_equal(e["image"], e["healthy"])
    for e in examples[1::4]:
        assert (e["image"] - e["healthy"])[e["lesion"] > 0.5].min() > 0.1
    for e in examples[2::4]:
        assert (e["image"] - e["healthy"])[e["lesion"] > 0.5].mean() < -0.1
    for e in examples[3::4]:
        assert not e["mask"].any()
        changed = (e["image"] != e["healthy"])[..., 0]
        assert 0.02 < changed.mean() < 0.3
        assert (e["image"][e["tissue"] == 0] == 0).all()


def test_a_set_of_four_classes():
    splits = load("brain_phantom/16", wants=("image", "label"))
    assert splits.label_names == CLASS_NAMES
    assert [len(s) for s in splits[:3]] == [2000, 256, 512]
    assert "arrays" not in vars(splits.train), "nothing is drawn before it is asked for"
    before = splits.validation[5]
    held = splits.validation.arrays
    assert held["image"].shape == (256, 16, 16, 1)
    assert (np.bincount(held["label"]) == 64).all()
    assert (held["image"][5] == before["image"]).all()
    assert (splits.validation[5]["image"] == before["image"]).all()
    assert (splits.test[5]["image"] != before["image"]).any()
    assert load("brain_phantom/16", wants=("image", "label")).validation.arrays is held, "and drawn only once"
    other = load("brain_phantom/16", seed=1, wants=("image", "mask"))
    assert set(other.train[1]) == {"image", "mask"}
    assert other.label_names == ()
    assert (other.train[1]["image"] != splits.train[1]["image"]).any()
    assert load("brain_phantom", wants=("image",)).test[0]["image"].shape == (64, 64, 1)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("brain_phantom/8", {}, "'8' is no size"),
        ("brain_phantom/big", {}, "'big' is no size"),
        ("brain_phantom", {"wants": ("image", "masks")}, "has no masks"),
        ("brain_phantom", {"spatial": 3}, "2-D images"),
        ("brain_fantom", {}, "did you mean brain_phantom"),
    ],
)
def test_wrong_requests(spec, options, message):
    with pytest.raises(UserError, match=message):
        load(spec, **options)


def test_wrong_requests_in_code():
    with pytest.raises(ValueError, match="t3"):
        brain2d(0, 0, contrast="t3")
    with pytest.raises(ValueError, match="16"):
        brain_classes(0, 0, size=8)
    assert phantom_source("brain2d_L4", 2)[1]["mask"].any()
