import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.metrics import frechet_distance
from jaxgen.metrics.features import (
    Distance,
    Extractor,
    extract,
    fingerprint,
    frechet,
    pixels,
    protocol,
    random_projection,
    require_equal_protocols,
    to_bytes,
    to_colour,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (21, 8, 8, 1)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 8, 21, 100])
def test_batches_do_not_change_features(batch):
    """Also of a last batch that is smaller: an extractor whose rows depend on each other would show."""
    found = extract(pixels(4), IMAGES, batch=batch)
    whole = extract(pixels(4), IMAGES, batch=21).values
    np.testing.assert_allclose(found.values, whole, rtol=1e-6, atol=1e-7)
    assert found.values.shape == (21, 16)
    assert found.shape == (8, 8, 1)


def test_one_program_serves_all_batches_and_memory_is_bounded():
    traces, seen = [], []

    def apply(params, x):
        traces.append(x.shape)
        return params * x.mean((1, 2))

    class Images:
        def __len__(self):
            return 50

        def __getitem__(self, part):
            seen.append(len(range(*part.indices(50))))
            return IMAGES[:1].repeat(seen[-1], 0)

    extractor = Extractor("mean", apply, jnp.float32(2))
    for _ in range(2):
        found = extract(extractor, Images(), batch=16).values
    assert traces == [(16, 8, 8, 1)]
    assert seen == [16, 16, 16, 2] * 2
    np.testing.assert_allclose(found, 2 * IMAGES[:1].mean((1, 2)).repeat(50, 0), rtol=1e-5)


def test_random_projections_keep_distances():
    """|A x|^2 / |x|^2 has mean 1 and variance 2 / width."""
    width = 512
    extractor = random_projection(jax.random.key(0), (8, 8, 1), width)
    ratio = np.square(extract(extractor, IMAGES).values).sum(1) / np.square(IMAGES).reshape(21, -1).sum(1)
    assert np.abs(ratio - 1).max() < 4.5 * np.sqrt(2 / width)
    assert (
        extract(extractor, IMAGES).weights != extract(random_projection(jax.random.key(1), (8, 8, 1)), IMAGES).weights
    )


def test_the_fingerprint_is_of_names_shapes_and_values():
    params = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(2)}
    others = [
        {"a": params["a"].T, "b": params["b"]},
        {"a": params["a"].reshape(3, 2), "b": params["b"]},
        {"a": params["a"] + 1e-3, "b": params["b"]},
        {"c": params["a"], "b": params["b"]},
    ]
    found = {fingerprint(p) for p in (params, *others)}
    assert len(found) == 5
    assert fingerprint(jax.tree.map(jnp.asarray, params)) == fingerprint(params)


def test_the_distance_comes_with_its_record():
    one, two = (extract(pixels(4), x) for x in (IMAGES[:10], IMAGES[10:20]))
    found = frechet(one, two)
    assert found.value == frechet_distance(one.values, two.values)
    record = found.protocol
    assert (record.features, record.weights, record.real, record.generated) == ("pixels", "none", 10, 10)
    assert record.shape == (8, 8, 1)
    assert "4 px" in record.resize


def test_what_cannot_be_compared_is_refused():
    one = extract(pixels(), IMAGES[:10])
    with pytest.raises(UserError, match="10 real and 11 generated"):
        frechet(one, extract(pixels(), IMAGES[10:]))
    assert protocol(one, extract(pixels(), IMAGES[10:]), equal_numbers=False).generated == 11
    with pytest.raises(UserError, match="name is pixels"):
        frechet(one, extract(random_projection(jax.random.key(0), (8, 8, 1)), IMAGES[10:20]))
    with pytest.raises(UserError, match="resize is none"):
        frechet(one, extract(pixels(4), IMAGES[10:20]))
    with pytest.raises(UserError, match="shape is"):
        frechet(one, extract(pixels(), IMAGES[10:20].reshape(10, 4, 16, 1)))
    keys = jax.random.split(jax.random.key(0))
    sets = [extract(random_projection(key, (8, 8, 1)), IMAGES[:10]) for key in keys]
    with pytest.raises(UserError, match="weights is"):
        frechet(*sets)


def test_distances_of_other_protocols_do_not_go_into_one_table():
    one = frechet(*(extract(pixels(), x) for x in (IMAGES[:10], IMAGES[10:20])))
    assert require_equal_protocols(one, one, one) == one.protocol
    fewer = Distance(0.1, one.protocol._replace(generated=5))
    with pytest.raises(UserError, match="generated is 10 for one and 5"):
        require_equal_protocols(one, one, fewer)


def test_images_as_bytes_and_in_colour():
    stored = np.arange(256, dtype=np.float32)
    np.testing.assert_array_equal(to_bytes(jnp.asarray(stored / 127.5 - 1)), stored)
    assert to_bytes(jnp.array([-1.2, 1.2])).tolist() == [0, 255]
    assert to_colour(jnp.zeros((1, 2, 2, 1))).shape == (1, 2, 2, 3)
    with pytest.raises(ValueError, match="2 channels"):
        to_colour(jnp.zeros((1, 2, 2, 2)))


def test_bad_extractors_and_no_images():
    with pytest.raises(ValueError, match="not \\[b, d\\]"):
        extract(Extractor("maps", lambda p, x: x), IMAGES)
    with pytest.raises(ValueError, match="no image"):
        extract(pixels(), IMAGES[:0])
