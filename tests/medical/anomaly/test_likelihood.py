"""Likelihood as an anomaly score: that it fails on simple images, and that the remedies mend it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.medical.anomaly.likelihood import (
    background_corrected_score,
    complexity,
    complexity_corrected_score,
    likelihood_score,
    mutated,
    typicality_score,
)
from jaxgen.metrics import auroc


def chain_log_prob(log_transition, images):
    """The log-likelihood of images under a Markov chain of 16 grey levels along their rows."""
    levels = images.reshape(len(images), -1).astype(int) // 16
    return log_transition[levels[:, :-1], levels[:, 1:]].sum(1) - np.log(16)


def fit(images):
    levels = images.reshape(len(images), -1).astype(int) // 16
    counts = np.full((16, 16), 0.5)
    np.add.at(counts, (levels[:, :-1].ravel(), levels[:, 1:].ravel()), 1)
    return np.log(counts / counts.sum(1, keepdims=True))


def textured(rng, n):
    """Grey levels that wander, small steps the most likely, back and forth within a range."""
    walk = np.rint(1.5 * rng.standard_normal((n, 400))).astype(int).cumsum(1) + rng.integers(0, 100, (n, 1))
    folded = np.abs((walk % 20) - 10)  # 0 .. 10, back and forth
    return (16 * folded).astype(np.uint8).reshape(n, 20, 20, 1)


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    flat = np.broadcast_to(16 * rng.integers(2, 9, (100, 1, 1, 1)), (100, 20, 20, 1)).astype(np.uint8)
    noise = (16 * rng.integers(0, 11, (100, 20, 20, 1))).astype(np.uint8)
    return textured(rng, 400), textured(rng, 100), {"flat": flat, "noise": noise}


def area(score, normal, odd):
    return float(auroc(np.concatenate([score(odd), score(normal)]), np.repeat([1, 0], [len(odd), len(normal)])))


def test_the_plain_score_fails_on_simple_images_and_the_remedies_do_not(sets):
    train, normal, odd = sets
    model = fit(train)
    background = fit(16 * np.random.default_rng(1).integers(0, 11, train.shape))  # mutated beyond recognition

    def log_prob(x):
        return chain_log_prob(model, x)

    def plain(x):
        return likelihood_score(log_prob(x))

    def corrected(x):
        return complexity_corrected_score(log_prob(x), complexity(x))

    def typical(x):
        return typicality_score(log_prob(x), log_prob(train))

    def ratio(x):
        return background_corrected_score(log_prob(x), chain_log_prob(background, x))

    assert area(plain, normal, odd["noise"]) > 0.99
    assert area(plain, normal, odd["flat"]) < 0.01  # the failure: flat images are the most likely of all
    for remedy in (corrected, typical):
        assert area(remedy, normal, odd["flat"]) > 0.99
        assert area(remedy, normal, odd["noise"]) > 0.99
    assert area(ratio, normal, odd["noise"]) > 0.99


def test_formulas():
    nats = np.log(2) * np.array([-10.0, -30.0])
    np.testing.assert_allclose(likelihood_score(nats), [10, 30])
    np.testing.assert_allclose(complexity_corrected_score(nats, np.array([4.0, 8.0])), [6, 22])
    np.testing.assert_allclose(background_corrected_score(nats, nats - np.log(2)), [-1, -1])
    np.testing.assert_allclose(typicality_score(nats, np.log(2) * np.array([-20.0, -16.0])), [8, 12])


def test_complexity_orders_images_and_wants_bytes():
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.arange(32)[:, None, None], (32, 32, 3))
    images = np.stack([np.zeros((32, 32, 3)), ramp, rng.integers(0, 256, (32, 32, 3))]).astype(np.uint8)
    assert (np.diff(complexity(images)) > 0).all()
    assert complexity(np.zeros((1, 4, 4, 2), np.uint8)).shape == (1,)
    with pytest.raises(UserError, match="bytes"):
        complexity(np.zeros((1, 4, 4, 1), np.float32))


def test_mutation_replaces_a_share_of_the_pixels_whatever_the_batch():
    keys = jax.random.split(jax.random.key(0), 4)
    image = jnp.zeros((4, 50, 50, 1))
    whole = mutated(keys, image, 0.3)
    np.testing.assert_array_equal(mutated(keys[2:], image[2:], 0.3), whole[2:])
    share = float((whole != 0).mean())
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 10_000)
    levels = (np.asarray(whole) + 1) * 127.5
    np.testing.assert_allclose(levels[whole != 0], np.round(levels[whole != 0]), atol=1e-3)
