"""The probabilistic U-Net: its bound, where codes come from, and the masks that differ by them alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.medical.segmentation.ensembles import independent_pixels
from jaxgen.medical.segmentation.probabilistic import CodedSegmenter, masks_of_codes, probabilistic_unet
from jaxgen.types import Net

IMAGE = jnp.zeros((2, 4, 4, 1))
INSIDE = {"image": IMAGE, "distance": -jnp.ones((2, 4, 4, 1))}


def nets(prior=(0.0, 0.0), posterior=(0.0, 0.0)):
    """Networks whose logit is the code, with given Gaussians of the code."""

    def constant(values):
        return Net(lambda key, x: {}, lambda params, x: jnp.broadcast_to(jnp.array(values), (len(x), 2)))

    features = Net(lambda key, x: {}, lambda params, x: 0 * x)
    return CodedSegmenter(
        features, constant(prior), constant(posterior), Net(lambda k, x: {}, lambda p, x: x.sum(-1, keepdims=True))
    )


def losses(model, batch, n=4000):
    params = model.init(jax.random.key(0), batch)
    return jax.vmap(lambda key: model.objectives[0].loss(params, key, batch)[0])(jax.random.split(jax.random.key(1), n))


def log_likelihood(mean, deviation):
    """Of a mask of 16 pixels that is all inside, by quadrature over the code."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    probability = 1 / (1 + np.exp(-(mean + deviation * nodes)))
    return np.log((weights * probability**16).sum() / weights.sum())


@pytest.mark.parametrize("posterior", [(0.0, 0.0), (1.5, -1.0), (2.0, -1.0)])
def test_the_loss_bounds_the_likelihood_from_above(posterior):
    found = losses(probabilistic_unet(nets(posterior=posterior)), INSIDE)
    error = 3 * float(found.std()) / np.sqrt(found.size)
    assert float(found.mean()) + error > -log_likelihood(0.0, 1.0)


def test_a_better_posterior_comes_nearer_to_the_likelihood():
    exact = -log_likelihood(0.0, 1.0)
    prior, better = (float(losses(probabilistic_unet(nets(posterior=q)), INSIDE).mean()) for q in ((0, 0), (2.0, -1.0)))
    assert better - exact < 0.3 < prior - exact


def test_with_no_spread_the_loss_is_cross_entropy_and_divergence():
    model = probabilistic_unet(nets((0.0, -10.0), (1.0, -10.0)), weight=0.5)
    found = losses(model, INSIDE, 64)
    divergence = 0.5 * np.exp(10.0)
    np.testing.assert_allclose(found.mean(), 16 * np.log1p(np.exp(-1.0)) + 0.5 * divergence, rtol=1e-3)


def test_masks_are_drawn_from_the_prior_and_differ_by_their_code_alone():
    drawn = masks_of_codes(nets((0.5, 0.0), (9.0, 0.0)), {k: {} for k in CodedSegmenter._fields}, 2000)
    found = drawn(jax.random.split(jax.random.key(0), 2), IMAGE)
    assert found.shape == (2000, 2, 4, 4, 1)
    assert bool((found == found[:, :, :1, :1]).all())
    logits = jnp.log(found / (1 - found))[:, :, 0, 0, 0]
    np.testing.assert_allclose(logits.mean(0), 0.5, atol=0.1)
    np.testing.assert_allclose(logits.std(0), 1.0, atol=0.1)
    assert abs(float(np.corrcoef(logits.T)[0, 1])) < 0.1


def test_sampling_needs_images():
    model = probabilistic_unet(nets())
    with pytest.raises(ValueError, match="needs images"):
        model.sample(model.init(jax.random.key(0), INSIDE), jax.random.key(1), 2)


def test_pixels_are_drawn_as_often_as_the_network_says_and_of_one_class():
    logits = jnp.log(jnp.array([0.5, 0.2, 0.3]))
    net = Net(lambda key, x: {}, lambda params, x: jnp.broadcast_to(logits, (*x.shape[:-1], 3)))
    drawn = independent_pixels(net, {}, 500)(jax.random.split(jax.random.key(0), 2), IMAGE)
    np.testing.assert_allclose(drawn.mean((0, 1, 2, 3)), [0.2, 0.3], atol=0.02)
    assert float(drawn.sum(-1).max()) == 1.0
    assert not bool((drawn == drawn[:, :, :1, :1]).all())
