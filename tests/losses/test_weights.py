import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.losses import weights
from jaxgen.losses.matching import flow_matching

PATHS = {
    "rectified": paths.rectified(),
    "variance preserving": paths.variance_preserving(),
    "cosine": paths.cosine(),
    "variance exploding": paths.variance_exploding(),
    "edm": paths.edm(),
}
SCHEMES = {
    "snr": weights.snr,
    "min snr": weights.min_snr,
    "p2": weights.p2,
    "edm": weights.edm,
    "sigmoid": weights.sigmoid,
    "elbo": weights.elbo,
}


def _times(path):
    """Inside the path, away from its ends."""
    return path.t_noise + (path.t_data - path.t_noise) * jnp.linspace(0.1, 0.9, 5)


def test_weights_in_numpy():
    """The papers' formulas at one time of one path, each in its own space."""
    t = 0.3
    alpha, sigma = np.sin(np.pi / 2 * t), np.cos(np.pi / 2 * t)
    snr, r = (alpha / sigma) ** 2, sigma / alpha
    rate = 2 * np.pi / 2 * (1 / np.tan(np.pi / 2 * t) + np.tan(np.pi / 2 * t))
    path = paths.trigonometric()
    for weight, want in [
        (weights.snr(path, "x0"), snr),
        (weights.min_snr(path, "x0", 0.1), min(snr, 0.1)),
        (weights.min_snr(path, "noise", 0.1), min(snr, 0.1) / snr),
        (weights.min_snr(path, "v", 5.0), min(snr, 5.0) / (snr + 1)),
        (weights.p2(path, "noise", 0.5, 0.7), 1 / (0.5 + snr) ** 0.7),
        (weights.edm(path, "x0", 0.4), (r**2 + 0.16) / (0.4 * r) ** 2),
        (weights.sigmoid(path, "noise", -1.0), rate / (1 + np.exp(1 + np.log(snr)))),
        (weights.elbo(path, "noise"), rate / 2),
    ]:
        np.testing.assert_allclose(weight(jnp.array(t)), want, rtol=1e-5)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_a_scheme_means_the_same_in_every_space(path):
    """Whatever the space of the error, one network has one loss: also SNR-weighted x0 loss = noise loss."""

    @jax.jit
    def table(x, noise, t):
        def losses(scheme):
            return [
                flow_matching(
                    lambda x_t, t: 0.3 * x_t,
                    path,
                    jax.random.key(0),
                    x,
                    noise=noise,
                    t=t,
                    prediction="x0",
                    target=space,
                    weight=scheme(path, space),
                )
                for space in paths.PREDICTIONS
            ]

        return {name: jnp.stack(losses(scheme)) for name, scheme in SCHEMES.items()}

    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        for name, values in table(rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), _times(path)).items():
            np.testing.assert_allclose(values, np.broadcast_to(values[0], values.shape), rtol=1e-6, err_msg=name)
            assert (np.asarray(values) > 0).all()


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_contract(path):
    t = _times(path)
    ends = jnp.array([path.t_noise, path.t_data])
    for name, scheme in {"simple": weights.simple, **SCHEMES}.items():
        for space in paths.PREDICTIONS:
            weight = scheme(path, space)
            value = weight(t)
            assert value.shape == t.shape, (name, space)
            assert value.dtype == jnp.float32, (name, space)
            assert bool((value > 0).all()), (name, space)
            assert bool(jnp.isfinite(weight(ends)).all()), (name, space)


def test_simple_is_no_weight_and_unknown_spaces_are_named():
    assert weights.simple(paths.edm(), "v")(jnp.array([3.0])).tolist() == [1.0]
    with pytest.raises(ValueError, match="'eps': choose from x0"):
        weights.snr(paths.edm(), "eps")(jnp.ones(1))
