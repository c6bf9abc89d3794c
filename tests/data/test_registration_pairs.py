"""Pairs to register: known warps are what they say, and nobody is paired with himself."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data import ArraySource, load
from jaxgen.data.registration_pairs import NOISE, PairSource, smooth_field, warp_array
from jaxgen.medical.registration import folded_share, jacobian_determinant, warp


def source(n=5, shape=(24, 24), seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 200, (n, *shape, 1)).astype(np.uint8)
    return ArraySource({"image": images, "mask": rng.integers(0, 4, (n, *shape)).astype(np.uint8)})


@pytest.mark.parametrize("shape", [(32, 32), (24, 40), (20, 16, 12)])
@pytest.mark.parametrize("smoothness", [1 / 8, 1 / 12])
def test_random_fields_are_as_large_as_asked_for_and_do_not_fold(shape, smoothness):
    fields = np.stack([smooth_field(np.random.default_rng(i), shape, 4.5, smoothness) for i in range(20)])
    largest = np.abs(fields).max(tuple(range(1, fields.ndim)))
    assert (largest <= 4.5 + 1e-5).all()
    assert np.asarray(folded_share(fields)).max() == 0
    assert float(jacobian_determinant(fields).min()) > 0.1
    gentle = np.stack([smooth_field(np.random.default_rng(i), (64, 64), 1.0) for i in range(5)])
    np.testing.assert_allclose(np.abs(gentle).max((1, 2, 3)), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(9, 11), (6, 7, 8)])
def test_the_warp_of_the_host_is_that_of_the_device(shape):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(*shape, 2)).astype(np.float32)
    field = 3 * rng.normal(size=(*shape, len(shape))).astype(np.float32)
    for order in (0, 1):
        found = warp(image[None], jnp.asarray(field)[None], order=order)[0]
        np.testing.assert_allclose(warp_array(image, field, order=order), found, atol=1e-5)


def test_a_known_warp_brings_moving_to_fixed():
    pairs = PairSource(source(), 2.0, seed=3)
    for i in range(pairs.warped):
        pair = pairs[i]
        moved = warp(pair["moving"][None].astype(np.float32), pair["flow"][None])[0]
        error = moved - pair["fixed"]
        assert abs(float(jnp.std(error)) / (127.5 * NOISE) - 1) < 0.15
        labels = warp(pair["moving_mask"][None, ..., None], pair["flow"][None], order=0)[0, ..., 0]
        np.testing.assert_array_equal(labels, pair["fixed_mask"])
        np.testing.assert_array_equal(pair["moving"], pairs._source[i]["image"])


@pytest.mark.parametrize("n", [2, 3, 17])
def test_every_subject_is_once_moving_and_once_fixed_and_never_both(n):
    whole = source(n)
    pairs = PairSource(whole, 2.0, seed=1)
    assert len(pairs) == len(pairs.names) == 2 * n
    number = {whole[i]["image"].tobytes(): i for i in range(n)}
    found = [tuple(number[pairs[n + i][name].tobytes()] for name in ("moving", "fixed")) for i in range(n)]
    assert [moving for moving, _ in found] == list(range(n))
    assert sorted(fixed for _, fixed in found) == list(range(n))
    assert all(moving != fixed for moving, fixed in found)
    assert all(not pairs[n + i]["flow"].any() for i in range(n))
    assert pairs.names[n:] == [f"{i} to {j}" for i, j in found]


def test_a_pair_is_a_function_of_its_seed_and_index():
    first, again, other = (PairSource(source(), 2.0, seed=seed, images_only=seed == 0) for seed in (0, 0, 1))
    assert set(first[0]) == {"moving", "fixed"}
    np.testing.assert_array_equal(first[2]["fixed"], again[2]["fixed"])
    np.testing.assert_array_equal(first[-1]["fixed"], first[9]["fixed"])
    assert (first[2]["fixed"] != other[2]["fixed"]).any()
    assert (first[2]["fixed"] != first[3]["fixed"]).any()
    with pytest.raises(IndexError):
        first[10]


def test_the_computed_brains_with_their_tissues():
    slices = load("brain_tissue_phantom/32", wants=("image", "mask"), foreground="each", spatial=2)
    assert slices.mask_names == ("cerebrospinal fluid", "grey matter", "white matter")
    image, mask = (slices.test[0][name] for name in ("image", "mask"))
    means = [image[mask == label].mean() for label in range(4)]
    assert means == sorted(means)
    assert not (slices.train[0]["image"] == slices.test[0]["image"]).all()
    volumes = load("brain3d_tissue_phantom/16x24x16", wants=("image", "mask"), foreground="each", spatial=3)
    assert volumes.mask_names == ("head", "grey matter", "white matter", "ventricles")
    example = volumes.validation[1]
    assert example["image"].shape == (16, 24, 16, 1)
    assert set(np.unique(example["mask"])) == {0, 1, 2, 3, 4}
