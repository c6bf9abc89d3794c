import numpy as np
import pytest

from jaxgen.data import phantoms
from jaxgen.data.phantoms import cells, ellipse, glands
from jaxgen.data.phantoms.texture import generator

ALL = sorted(phantoms.PHANTOMS)
VOLUMES = ("brain3d", "pos3d", "brain_tissue3d", "vessels3d", "dimpled3d", "contrast3d")


@pytest.mark.parametrize("name", ALL)
def test_an_example_is_a_function_of_its_seed_and_index(name):
    first = phantoms.phantom_source(name, 5, seed=3, size=24)
    again = phantoms.phantom_source(name, 50, seed=3, size=24)
    for key, value in first[4].items():
        np.testing.assert_array_equal(value, again[4][key])
    for other in (again[5], phantoms.phantom_source(name, 5, seed=4, size=24)[4]):
        assert (other["image"] != first[4]["image"]).any()


@pytest.mark.parametrize("name", [name for name in ALL if name not in VOLUMES])  # volumes have tests of their own
@pytest.mark.parametrize("size", [16, 41])
def test_shapes_and_the_truth_that_all_share(name, size):
    source = phantoms.phantom_source(name, 6, size=size)
    for i in range(len(source)):
        example = source[i]
        colours = name.startswith(("coloured", "derm", "patho", "cataract"))
        assert example["image"].shape == (size, size, 3 if colours else {"tumor4c": 4}.get(name, 1))
        assert example["image"].dtype == np.float32
        assert example.get("mask", example.get("masks")).dtype == np.uint8
        assert all(np.isfinite(value).all() for value in example.values())
        if "sdf" in example:
            assert example["sdf"].dtype == np.float32
            np.testing.assert_array_equal(example["mask"] == 1, example["sdf"] <= 0)
        if "ids" in example:
            np.testing.assert_array_equal(example["mask"] == 1, example["ids"] > 0)
            assert example["mask"].any()


@pytest.mark.parametrize("name", ALL)
def test_examples_stack(name):
    source = phantoms.phantom_source(name, 4, size=20)
    stacked = {key: np.stack([source[i][key] for i in range(4)]) for key in source[0]}
    assert all(len(value) == 4 for value in stacked.values())


def test_the_source_counts_like_a_list():
    source = phantoms.phantom_source("ambig2d", 3, seed=1, size=16)
    assert len(source) == len(source.names) == len(set(source.names)) == 3
    np.testing.assert_array_equal(source[-1]["image"], source[2]["image"])
    assert len(list(source)) == 3
    with pytest.raises(IndexError):
        source[3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cell2d", 3), "cells2d"),
        (("cells2d", 0), "n >= 1"),
        (("cells2d", 1, -1), "seed"),
        (("cells2d", 1, 0, 8), "size"),
    ],
)
def test_wrong_requests_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        phantoms.phantom_source(*arguments)


@pytest.mark.parametrize("axes", [(5.0, 3.0), (4.0, 4.0), (6.0, 1.0)])
def test_the_distance_to_an_ellipse_against_a_dense_outline(axes):
    shape = ellipse.Ellipse((7.3, 6.8), axes, 0.7)
    points = np.random.default_rng(0).uniform(-3, 17, (200, 2))
    far = np.linalg.norm(points[:, None] - ellipse.outline(shape, 20_000), axis=-1).min(1)
    np.testing.assert_allclose(np.abs(ellipse.ellipse_distance(shape, points)), far, atol=2e-3)  # outline step: 2e-3


def test_the_distance_on_the_axes_of_an_ellipse():
    """Inside the long axis the nearest point is off the axis: d^2 = b^2 (1 - x^2 / (a^2 - b^2)) up to the evolute."""
    shape = ellipse.Ellipse((0.0, 0.0), (5.0, 3.0), 0.0)
    x = np.array([0.0, 1.0, 3.0, 3.2, 4.0, 5.0, 8.0])
    expected = np.where(x < 16 / 5, -3 * np.sqrt(1 - np.minimum(x, 3.2) ** 2 / 16), x - 5)
    found = ellipse.ellipse_distance(shape, np.stack([x, 0 * x], axis=-1))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    across = ellipse.ellipse_distance(shape, np.stack([0 * x, x], axis=-1))
    np.testing.assert_allclose(across, x - 3, atol=1e-6)


def test_the_distance_to_a_gland_against_a_dense_curve():
    curve = glands.Gland(np.array([20.0, 22.0]), 9.0, np.array([0.2, -0.1, 0.03, 0.02]), np.array([0.3, 1.0, 2.0, 4.0]))
    theta = np.linspace(0, 2 * np.pi, 10_000)
    outline = curve.centre + glands.gland_radius(curve, theta)[:, None] * np.stack([np.cos(theta), np.sin(theta)], -1)
    points = np.random.default_rng(1).uniform(0, 40, (100, 2))
    far = np.linalg.norm(points[:, None] - outline, axis=-1).min(1)
    found = glands.gland_distance(curve, points)
    np.testing.assert_allclose(np.abs(found), far, atol=2e-3)
    theta = np.arctan2(*(points - curve.centre).T[::-1])
    inside = np.linalg.norm(points - curve.centre, axis=-1) < glands.gland_radius(curve, theta)
    np.testing.assert_array_equal(found < 0, inside)


def test_disjoint_sees_overlap_containment_and_contact():
    disc = ellipse.Ellipse((0.0, 0.0), (4.0, 4.0), 0.0)
    for centre, radius, apart in (((6.0, 0.0), 1.99, True), ((6.0, 0.0), 2.1, False), ((0.5, 0.0), 1.0, False)):
        other = ellipse.Ellipse(centre, (radius, radius), 0.3)
        assert ellipse.disjoint(disc, other) == ellipse.disjoint(other, disc) == apart


def test_cells_touch_but_do_not_overlap():
    touching = 0
    for index in range(8):
        placed = cells.place_cells(generator("cells2d", 0, index), 64)
        assert 1 <= len(placed) <= cells.MOST_CELLS
        for i, one in enumerate(placed):
            for other in placed[:i]:
                assert ellipse.disjoint(one, other)
                gap = ellipse.ellipse_distance(one, ellipse.outline(other, 2000)).min()
                assert gap > -0.01
                touching += gap < 0.01
    assert touching >= 2


def test_ids_and_contrasts_of_cells_belong_together():
    counts = set()
    for index in range(8):
        example = phantoms.cells2d(0, index, 48)
        count = int((example["contrast"] > 0).sum())
        counts.add(count)
        assert ((example["contrast"][:count] >= 0.5) & (example["contrast"][:count] <= 1.5)).all()
        assert (example["contrast"][count:] == 0).all()
        assert set(np.unique(example["ids"])) - {0} == set(range(1, count + 1))
        core = example["sdf"] < -1.5
        if core.sum() > 20 and count > 1:
            drawn = example["contrast"][example["ids"][core] - 1]
            if drawn.std() > 0.1:
                assert np.corrcoef(drawn, example["image"][core, 0])[0, 1] > 0.4
    assert len(counts) >= 3


@pytest.mark.parametrize("name", ["cells2d", "glands2d"])
def test_the_distance_is_that_to_the_outline_of_the_union(name):
    """The outlines alone, densely drawn, give the same distance: no part of one lies within another object."""
    theta = np.linspace(0, 2 * np.pi, 3000)
    around = np.stack([np.cos(theta), np.sin(theta)], axis=-1)
    for index in range(3):
        rng = generator(name, 1, index)
        if name == "cells2d":
            outlines = [ellipse.outline(cell, 3000) for cell in cells.place_cells(rng, 24)]
        else:
            placed = glands.place_glands(rng, 24)
            outlines = [gland.centre + glands.gland_radius(gland, theta)[:, None] * around for gland in placed]
        corners = np.concatenate(outlines)
        grid = np.stack(np.indices((24, 24)), axis=-1)[::2, ::2]
        far = np.linalg.norm(grid[:, :, None] - corners, axis=-1).min(-1)
        np.testing.assert_allclose(np.abs(phantoms.PHANTOMS[name](1, index, 24)["sdf"][::2, ::2]), far, atol=0.02)


def test_readings_are_nested_discs_and_one_empty_mask():
    for index in range(5):
        example = phantoms.ambig2d(0, index, 64)
        masks = example["masks"].astype(bool)
        assert not masks[3].any()
        assert (example["sdfs"][3] == np.float32(64 * np.sqrt(2))).all()
        assert (masks[1] <= masks[0]).all()
        assert (masks[0] <= masks[2]).all()
        assert not masks[2][[0, -1]].any()
        assert not masks[2][:, [0, -1]].any()
        areas = masks.sum((1, 2)) / masks[0].sum()
        np.testing.assert_allclose(areas, phantoms.RATER_SCALES**2, atol=0.12)
        np.testing.assert_array_equal(example["sdfs"] <= 0, masks)
        np.testing.assert_array_equal(example["mask"], example["masks"][example["rater"]])
        np.testing.assert_array_equal(example["sdf"], example["sdfs"][example["rater"]])
        np.testing.assert_array_equal(example["rater_probabilities"], phantoms.RATER_PROBABILITIES)


def test_the_reader_is_drawn_from_the_law_whatever_the_image():
    n = 1500
    examples = [phantoms.ambig2d(7, i, 16) for i in range(n)]
    reader = np.array([e["rater"] for e in examples])
    shares = np.bincount(reader, minlength=4) / n
    np.testing.assert_allclose(phantoms.RATER_PROBABILITIES.sum(), 1, rtol=1e-6)
    assert (np.abs(shares - phantoms.RATER_PROBABILITIES) < 4 * np.sqrt(phantoms.RATER_PROBABILITIES / n)).all()
    size = np.array([e["masks"][0].sum() for e in examples])
    assert abs(np.corrcoef(size, reader)[0, 1]) < 4 / np.sqrt(n)
