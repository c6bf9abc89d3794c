import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen import couplings, paths
from jaxgen.data import planar
from jaxgen.families import Labels, flow_matching_model
from jaxgen.guidance import classifier_free_batched
from jaxgen.metrics import straightness
from jaxgen.nets import mlp
from jaxgen.samplers import Sampling, euler, from_velocity, grids, sample
from jaxgen.types import Net
from tests.families.planar import points, train

PATH = paths.rectified()
STEP, GRID = euler(PATH), grids.uniform(PATH, 4)


def _model(net, **options):
    return flow_matching_model(net, (2,), Sampling(PATH, STEP, GRID), data="x", **options)


def test_the_loss_is_the_velocity_s_squared_error():
    """An answer of 0 leaves |x - noise|^2, of mean 81 + 1."""
    zero = Net(lambda key, x, t: {}, lambda params, x, t, key=None: 0 * x)
    value, info = _model(zero).objectives[0].loss({"net": {}}, jax.random.key(0), {"x": jnp.full((4000, 2), 9.0)})
    assert (value.shape, value.dtype, info) == ((4000,), jnp.float32, {})
    assert abs(value.mean() - 82) < 4 * np.std(value) / np.sqrt(4000)


def test_noise_and_data_are_paired_within_the_label():
    seen = []

    def coupling(noise, x, *, key, labels):
        seen.append((noise.shape, key.shape, np.asarray(labels)))
        return noise

    net = Net(lambda key, x, t, label: {}, lambda params, x, t, label, key=None: 0 * x)
    batch = {"x": jnp.ones((6, 2)), "label": jnp.arange(6) % 3}
    model = _model(net, coupling=coupling, labels=Labels(3, drop=1.0))
    model.objectives[0].loss({"net": {}}, jax.random.split(jax.random.key(0), 6), batch)
    assert seen[0][:2] == ((6, 2), (6,))
    np.testing.assert_array_equal(seen[0][2], batch["label"])  # the true ones, though all were dropped for the network


def test_labels_are_dropped_with_the_probability_asked_for():
    seen = []

    def apply(params, x, t, *, label, key=None):
        seen.append(np.asarray(label))
        return x

    batch = {"x": jnp.ones((2000, 2)), "label": jnp.arange(2000) % 3}
    model = _model(Net(lambda key, x, t, label: {}, apply), labels=Labels(3, drop=0.3))
    model.objectives[0].loss({"net": {}}, jax.random.key(0), batch)
    dropped = seen[0] == 3
    assert abs(dropped.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2000)
    np.testing.assert_array_equal(seen[0][~dropped], np.asarray(batch["label"])[~dropped])


def test_samples_are_of_the_class_asked_for_and_guidance_sees_both_sides():
    # The velocity leads straight to the number of the label.
    net = Net(
        lambda key, x, t, label: {},
        lambda params, x, t, label, key=None: (label[:, None] - x) / jnp.maximum(1 - t, 1e-6),
    )
    label = jnp.array([0, 1, 2])
    model = _model(net, labels=Labels(3))
    np.testing.assert_allclose(model.sample({"net": {}}, jax.random.key(1), 3, label)[:, 0], [0, 1, 2], atol=1e-5)
    np.testing.assert_allclose(model.sample({"net": {}}, jax.random.key(1), 3)[:, 0], [3, 3, 3], atol=1e-5)

    def guide(denoise, label, null):
        return classifier_free_batched(denoise, label, null, 2.0)

    guided = _model(net, labels=Labels(3, guide=guide))
    np.testing.assert_allclose(guided.sample({"net": {}}, jax.random.key(1), 3, label)[:, 0], [-3, -1, 1], atol=1e-4)
    np.testing.assert_allclose(guided.sample({"net": {}}, jax.random.key(1), 3)[:, 0], [3, 3, 3], atol=1e-5)


@pytest.mark.parametrize("path", [PATH, paths.trigonometric()], ids=["rectified", "trigonometric"])
def test_log_prob_of_gaussian_data_by_its_exact_velocity(path):
    """Data N(m, s^2) of a label that moves m: the velocity of the path is linear and known."""
    spread = 0.5

    def velocity(params, x, t, label, key=None):
        a, s = path.alpha(t), path.sigma(t)
        da, ds = paths.derivatives(path, t)
        mean = 1.0 * label[:, None]
        variance = a**2 * spread**2 + s**2
        return da * mean + (a * da * spread**2 + s * ds) / variance * (x - a * mean)

    net = Net(lambda key, x, t, label: {}, velocity)
    model = flow_matching_model(net, (2,), Sampling(path, STEP, GRID), data="x", labels=Labels(3))
    x = jax.random.normal(jax.random.key(0), (5, 2))
    label = jnp.arange(5) % 3
    want = stats.norm(np.asarray(label)[:, None], spread).logpdf(np.asarray(x)).sum(1)
    for options in ({"trace": "exact"}, {"solver": "dopri5", "steps": 20}):
        value = jax.jit(lambda x, o=options: model.log_prob({"net": {}}, jax.random.key(0), x, label, **o))(x)
        # Multiples of the identity: one probe of signs is exact.
        np.testing.assert_allclose(value, want, atol=1e-4)
    with pytest.raises(ValueError, match="one per image"):
        model.log_prob({"net": {}}, jax.random.key(0), x, jnp.zeros(3, int))


def test_gradients_reach_every_parameter_and_examples_own_their_keys():
    model = _model(mlp(2, widths=(8,)))
    batch = {"x": jnp.ones((6, 2))}
    params = jax.jit(model.init)(jax.random.key(0), batch)
    keys = jax.random.split(jax.random.key(1), 6)
    loss = jax.jit(lambda params, keys, batch: model.objectives[0].loss(params, keys, batch)[0])
    whole = loss(params, keys, batch)
    np.testing.assert_allclose(whole[3:], loss(params, keys[3:], {"x": batch["x"][3:]}), rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda params: loss(params, keys, batch).sum()))(params)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(gradient))


@pytest.mark.thorough
def test_optimal_transport_and_the_entropic_plan_make_straighter_flows():
    """Of three trainings each, on eight Gaussians, by the measured departure from straight lines."""
    data = {"x": points(planar.ring(), 4096)}
    net, fine = mlp(2, widths=(32, 32), time_scale=10.0), grids.uniform(PATH, 30)

    def curvature(coupling, key):
        params = train(_model(net, coupling=coupling), data, key, 200, batch=32)
        start = jax.random.normal(jax.random.fold_in(key, 1), (500, 2))
        denoise = from_velocity(lambda x, t: net.apply(params["net"], x, t), PATH)
        return straightness(sample(STEP, denoise, key, start, fine, keep=True), fine).mean()

    keys = jax.random.split(jax.random.key(0), 3)
    independent, transport, entropic = (
        np.asarray(jax.jit(jax.vmap(functools.partial(curvature, coupling)))(keys))
        for coupling in (couplings.independent, couplings.optimal_transport, couplings.entropic(0.5, 20))
    )
    assert (transport < 0.5 * independent).all()
    assert (entropic < 0.7 * independent).all()


def test_errors():
    model = _model(mlp(2, widths=(8,)))
    with pytest.raises(ValueError, match="unconditional"):
        model.sample({}, jax.random.key(0), 2, jnp.zeros(2, int))
    with pytest.raises(ValueError, match="number of classes"):
        _model(mlp(2), labels=Labels(guide=lambda denoise, label, null: denoise))
