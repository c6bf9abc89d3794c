import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.differentiable_augment import differentiable_augment

OFF = {"brightness": 0.0, "contrast": 0.0, "translation": 0.0, "cutout": 0.0}
SHAPES = {2: (16, 12), 3: (8, 6, 10)}


def images(rank=2, b=400, c=2):
    return jnp.asarray(np.random.default_rng(0).normal(size=(b, *SHAPES[rank], c)), jnp.float32)


def augment(x, seed=0, **options):
    return np.asarray(differentiable_augment(jax.random.key(seed), x, **(OFF | options)))


def test_brightness_adds_one_number_an_image():
    x = images()
    gain = augment(x, brightness=0.5) - x
    assert np.ptp(gain, axis=(1, 2, 3)).max() < 1e-5
    mean = gain.mean((1, 2, 3))
    assert np.abs(mean).max() <= 0.5
    assert abs(mean.mean()) < 4 * 0.5 / np.sqrt(3 * 400)
    assert abs(mean.std() - 0.5 / np.sqrt(3)) < 0.03


def test_contrast_keeps_the_mean_and_scales_what_differs_from_it():
    x = images()
    y = augment(x, contrast=0.5)
    np.testing.assert_allclose(y.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-5)
    factor = y.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.5 <= factor.min() < 0.55
    assert 1.45 < factor.max() <= 1.5


@pytest.mark.parametrize("rank", [2, 3])
def test_translation_moves_whole_pixels_evenly(rank):
    x = jnp.broadcast_to(
        jnp.arange(1.0, 1 + np.prod(SHAPES[rank])).reshape(1, *SHAPES[rank], 1), (400, *SHAPES[rank], 1)
    )
    y = augment(x, translation=0.25, fill=-7.0)
    middle = y[(slice(None), *(n // 2 for n in SHAPES[rank]), 0)]  # tells where each image went
    came = np.stack(np.unravel_index(middle.astype(int) - 1, SHAPES[rank]), -1)
    shift = came - np.array([n // 2 for n in SHAPES[rank]])
    for axis, n in enumerate(SHAPES[rank]):
        most = int(n * 0.25 + 0.5)
        values, counts = np.unique(shift[:, axis], return_counts=True)
        np.testing.assert_array_equal(values, np.arange(-most, most + 1))
        share = 1 / (2 * most + 1)
        assert np.abs(counts / 400 - share).max() < 4 * np.sqrt(share * (1 - share) / 400)
    want = np.full(y.shape[1:-1], -7.0)
    a, b = (
        [slice(max(0, s * d), n + min(0, s * d)) for d, n in zip(shift[0], SHAPES[rank], strict=True)] for s in (-1, 1)
    )
    want[tuple(a)] = np.asarray(x)[0, ..., 0][tuple(b)]
    np.testing.assert_array_equal(y[0, ..., 0], want)


@pytest.mark.parametrize("rank", [2, 3])
def test_cutout_clears_a_box_that_may_reach_over_the_edge(rank):
    y = augment(jnp.ones((400, *SHAPES[rank], 2)), cutout=0.5, fill=-1.0)
    gone = (y == -1).all(-1)
    np.testing.assert_array_equal(gone[..., None].repeat(2, -1), y == -1)
    for i in range(20):
        sides = [gone[i].any(tuple(a for a in range(rank) if a != axis)) for axis in range(rank)]
        np.testing.assert_array_equal(gone[i], np.prod(np.meshgrid(*sides, indexing="ij"), axis=0).astype(bool))
        assert all(side.sum() <= (n + 1) // 2 for side, n in zip(sides, SHAPES[rank], strict=True))
    whole = np.prod([n // 2 for n in SHAPES[rank]])
    assert gone.reshape(400, -1).sum(-1).max() == whole
    assert gone.reshape(400, -1).sum(-1).min() < whole


def test_an_image_s_draw_is_its_key_s_alone_and_a_program_serves_all():
    x, keys = images(b=6), jax.random.split(jax.random.key(0), 6)
    traced = []

    @jax.jit
    def program(keys, x):
        traced.append(1)
        return differentiable_augment(keys, x)

    whole = program(keys, x)
    program(jax.random.split(jax.random.key(1), 6), x)
    assert len(traced) == 1
    np.testing.assert_allclose(whole[3:], differentiable_augment(keys[3:], x[3:]), rtol=1e-5, atol=1e-6)
    assert differentiable_augment(keys, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_it_is_affine_in_the_image_and_gradients_pass_through():
    x, key = images(b=3), jax.random.key(3)

    def program(x):
        return differentiable_augment(key, x)

    y, push = jax.jvp(program, (x,), (x,))
    np.testing.assert_allclose(program(3 * x), y + 2 * push, rtol=1e-4, atol=1e-4)
    weights = images(b=3)[..., ::-1]
    gradient = jax.grad(lambda x: jnp.sum(program(x) * weights))(x)
    np.testing.assert_allclose(jnp.sum(gradient * x), jnp.sum(push * weights), rtol=1e-3)
