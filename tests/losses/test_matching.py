import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.losses import flow_matching, logit_normal, uniform_time

PATHS = {
    "rectified": paths.rectified(1e-3),
    "trigonometric": paths.trigonometric(),
    "variance preserving": paths.variance_preserving(),
    "variance exploding": paths.variance_exploding(),
}


def _predict(x_t, t):
    return 0.3 * x_t + t.reshape(-1, *(1,) * (x_t.ndim - 1))


def _data(b=4, shape=(5, 3, 2)):
    rng = np.random.default_rng(0)
    return rng.normal(size=(b, *shape)), rng.normal(size=(b, *shape)), rng.uniform(0.2, 0.9, b)


def test_optimal_transport_objective_in_numpy():
    """Lipman et al. 2023, eq. 23, written out."""
    x, noise, t = _data()
    sigma_min, time = 0.05, t.reshape(-1, 1, 1, 1)
    x_t = (1 - (1 - sigma_min) * time) * noise + time * x
    want = ((0.3 * x_t + time - (x - (1 - sigma_min) * noise)) ** 2).mean((1, 2, 3))
    loss = flow_matching(_predict, paths.rectified(sigma_min), jax.random.key(0), x, noise=noise, t=t)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    weighted = flow_matching(
        _predict, paths.rectified(sigma_min), jax.random.key(0), x, noise=noise, t=t, weight=lambda t: t**2
    )
    np.testing.assert_allclose(weighted, want * t**2, rtol=1e-5)


def test_noise_objective_in_numpy():
    """Ho et al. 2020, eq. 14, on the variance-preserving path."""
    x, noise, t = _data()
    exponent = (0.1 * t + 0.5 * 19.9 * t**2).reshape(-1, 1, 1, 1)
    x_t = np.exp(-exponent / 2) * x + np.sqrt(1 - np.exp(-exponent)) * noise
    want = ((0.3 * x_t + t.reshape(-1, 1, 1, 1) - noise) ** 2).mean((1, 2, 3))
    path = paths.variance_preserving()
    loss = flow_matching(_predict, path, jax.random.key(0), x, noise=noise, t=t, prediction="noise", target="noise")
    np.testing.assert_allclose(loss, want, rtol=1e-5)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
@pytest.mark.parametrize("prediction", paths.PREDICTIONS)
def test_a_perfect_network_has_no_loss_in_any_space(path, prediction):
    with jax.enable_x64(True):
        x, noise, t = map(jnp.asarray, _data())

        def perfect(x_t, t):
            return paths.view(path, x, noise, t, prediction)

        for target in paths.PREDICTIONS:
            loss = flow_matching(
                perfect, path, jax.random.key(0), x, noise=noise, t=t, prediction=prediction, target=target
            )
            assert loss.shape == (4,)
            np.testing.assert_allclose(loss, 0, atol=1e-18)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_the_space_of_the_error_weighs_it(path):
    """In v-space an x0 network's error is scaled by (alpha^2 + sigma^2) / sigma."""
    x, noise, t = _data()
    errors = {
        target: flow_matching(_predict, path, jax.random.key(0), x, noise=noise, t=t, prediction="x0", target=target)
        for target in ("x0", "v", "noise")
    }
    alpha, sigma = path.alpha(t), path.sigma(t)
    np.testing.assert_allclose(errors["noise"], errors["x0"] * (alpha / sigma) ** 2, rtol=1e-3)
    np.testing.assert_allclose(errors["v"], errors["x0"] * ((alpha**2 + sigma**2) / sigma) ** 2, rtol=1e-3)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
@pytest.mark.parametrize("prediction", paths.PREDICTIONS)
def test_finite_at_both_ends_without_conversion(path, prediction):
    x = jnp.ones((2, 3))
    for t in (path.t_noise, path.t_data):
        if prediction == "score" and float(path.sigma(t)) == 0:
            continue  # the score itself is infinite there
        loss, gradient = jax.value_and_grad(
            lambda scale, t=t: flow_matching(
                lambda x_t, t: scale * x_t, path, jax.random.key(0), x, t=t, prediction=prediction, target=prediction
            ).sum()
        )(1.0)
        assert np.isfinite([loss, gradient]).all()


def test_each_example_depends_on_its_own_key_alone():
    x, _, _ = _data(8)
    keys = jax.random.split(jax.random.key(3), 8)
    for time in (uniform_time, logit_normal()):
        loss = jax.jit(lambda keys, x, time=time: flow_matching(_predict, paths.rectified(), keys, x, time=time))
        whole, half = loss(keys, x), loss(keys[4:], x[4:])
        np.testing.assert_allclose(whole[4:], half, rtol=1e-6)
        assert len(np.unique(whole)) == 8


def test_gradients_flow_and_one_trace_serves_two_calls():
    x, _, _ = _data()

    @chex.assert_max_traces(n=1)
    def gradient(params, key):
        def loss(params):
            return flow_matching(lambda x_t, t: params["a"] * x_t + params["b"], paths.rectified(), key, x).mean()

        return jax.grad(loss)(params)

    gradient = jax.jit(gradient)
    params = {"a": jnp.array(0.5), "b": jnp.zeros(2)}
    first, second = gradient(params, jax.random.key(0)), gradient(params, jax.random.key(1))
    assert all(bool((jnp.abs(leaf) > 1e-4).all()) for leaf in jax.tree.leaves(first))
    assert float(first["a"]) != float(second["a"])
    both = jax.vmap(gradient, (None, 0))(params, jnp.stack([jax.random.key(0), jax.random.key(1)]))
    np.testing.assert_allclose(both["a"], [first["a"], second["a"]], rtol=1e-5)


def test_a_bfloat16_network_has_a_float32_loss():
    x = jnp.ones((2, 3))
    loss = flow_matching(lambda x_t, t: x_t.astype(jnp.bfloat16), paths.rectified(), jax.random.key(0), x)
    assert loss.dtype == jnp.float32


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_times(path):
    low, high = sorted((path.t_noise, path.t_data))
    t = np.asarray(uniform_time(path, jax.random.key(0), 4000))
    assert ((t >= low) & (t <= high) & (t != path.t_data)).all()
    np.testing.assert_allclose(np.quantile(t, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)
    t = np.asarray(logit_normal(0.5, 0.8)(path, jax.random.key(0), 4000))
    fraction = np.abs(t - path.t_noise)
    logit = np.log(fraction / (1 - fraction))
    assert abs(logit.mean() - 0.5) < 4 * 0.8 / np.sqrt(4000)
    assert abs(logit.std() - 0.8) < 4 * 0.8 / np.sqrt(8000)


def test_errors():
    x = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="choose from"):
        flow_matching(_predict, paths.rectified(), jax.random.key(0), x, target="eps")
    with pytest.raises(ValueError, match=r"\(2, 1\).*\(2, 3\)"):
        flow_matching(lambda x_t, t: x_t[:, :1], paths.rectified(), jax.random.key(0), x)


@pytest.mark.peers
def test_equals_torchcfm():
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torchcfm.conditional_flow_matching").TargetConditionalFlowMatcher(sigma=0.05)
    x, noise, t = (a.astype(np.float32) for a in _data())
    tensors = [torch.tensor(a) for a in (noise, x, t)]
    x_t = peer.sample_xt(*tensors, torch.tensor(noise)).numpy()
    velocity = peer.compute_conditional_flow(*tensors[:2], tensors[2], torch.tensor(x_t)).numpy()
    path = paths.rectified(0.05)
    np.testing.assert_allclose(paths.view(path, x, noise, t, "velocity"), velocity, rtol=1e-4, atol=1e-5)
