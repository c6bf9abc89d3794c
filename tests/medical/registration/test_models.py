"""VoxelMorph and DiffuseMorph with networks that are known functions, and their loss against values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen import draws
from jaxgen.losses.times import uniform_time
from jaxgen.medical.registration import diffusion_energy, exponential, lncc, warp
from jaxgen.medical.registration.models import Alignment, diffusemorph, voxelmorph
from jaxgen.nets import deformation_net, unet
from jaxgen.paths import discrete, perturb
from jaxgen.schedules import linear_betas
from jaxgen.types import Net

PATH = discrete(linear_betas(2000, 1e-6, 1e-2))
PLAIN = Alignment(weight=2.0, smoothness=0.5, window=5)


def known(function):
    """A network that is a function without parameters."""
    return Net(lambda key, *x: {}, lambda params, *x, key=None: function(*x))


def pair(shape=(12, 12), n=2):
    moving, fixed = np.random.default_rng(0).uniform(-1, 1, (2, n, *shape, 1)).astype(np.float32)
    return {"moving": jnp.asarray(moving), "fixed": jnp.asarray(fixed)}


def halves(x):
    """A field that depends on every channel."""
    return jnp.concatenate([x.sum(-1, keepdims=True), x[..., :1] - x[..., 1:2]], -1)


def test_the_loss_of_a_field_is_that_of_its_parts():
    batch, answer = pair(), 0.3 * jnp.asarray(np.random.default_rng(1).normal(size=(2, 12, 12, 2)), jnp.float32)
    value, info = PLAIN.loss(answer, batch)
    moving, fixed = (np.asarray(batch[name] + 1) / 2 for name in ("moving", "fixed"))
    similar = lncc(warp(moving, answer), fixed, window=5)
    np.testing.assert_allclose(value, 2 * (0.5 * diffusion_energy(answer) - similar), rtol=1e-5)
    np.testing.assert_allclose(info["lncc"], similar, rtol=1e-5)
    moved = PLAIN._replace(squarings=4)
    np.testing.assert_allclose(moved.field(answer), exponential(answer, steps=4), atol=1e-6)
    np.testing.assert_array_equal(PLAIN.field(answer), answer)


def test_voxelmorph_goes_shares_of_its_field():
    model, flow = voxelmorph(known(halves), PLAIN)
    batch = pair()
    params = model.init(jax.random.key(0), batch)
    whole = flow(params, **batch)
    np.testing.assert_allclose(whole[..., 0], (batch["moving"] + batch["fixed"])[..., 0], rtol=1e-6)
    np.testing.assert_allclose(flow(params, **batch, share=0.25), 0.25 * whole, rtol=1e-5)
    value, _ = model.objectives[0].loss(params, jax.random.key(1), batch)
    np.testing.assert_allclose(value, PLAIN.loss(whole, batch)[0], rtol=1e-6)
    with pytest.raises(TypeError, match="draws nothing"):
        model.sample(params, jax.random.key(0), 2)


@pytest.mark.parametrize("direct", [False, True])
def test_diffusemorph_with_a_denoiser_that_finds_the_noise(direct):
    """The noise that the loss draws is drawn again here; the exact denoiser solves for it from F and F_t."""
    seen = []

    def exact(x, t):
        alpha, sigma = (f(t)[:, None, None, None] for f in (PATH.alpha, PATH.sigma))
        return (x[..., 2:] - alpha * x[..., 1:2]) / sigma

    def deform(x):
        seen.append(x)
        return 0.01 * halves(x)

    batch, key = pair(), jax.random.key(5)
    model, _ = diffusemorph(known(exact), known(deform), PATH, PLAIN, denoising=3.0, direct=direct)
    params = {"denoiser": {}, "net": {}}
    value, info = model.objectives[0].loss(params, key, batch)
    noise_key = draws.split(key, 3)[0]
    noise = draws.normal(noise_key, (2, 12, 12, 1))
    shown = (batch["moving"], noise, batch["fixed"])[: 2 + direct]
    np.testing.assert_allclose(info["denoising"], 0, atol=1e-4)
    np.testing.assert_allclose(seen[-1], jnp.concatenate(shown, -1), atol=2e-2)
    np.testing.assert_allclose(value - 3 * info["denoising"], PLAIN.loss(0.01 * halves(seen[-1]), batch)[0], rtol=1e-5)


def test_diffusemorph_with_a_denoiser_that_answers_nothing():
    batch, key = pair(), jax.random.key(5)
    model, _ = diffusemorph(known(lambda x, t: 0 * x[..., :1]), known(lambda x: 0 * x[..., :2]), PATH, PLAIN)
    value, info = model.objectives[0].loss({"denoiser": {}, "net": {}}, key, batch)
    noise_key, time_key, _ = draws.split(key, 3)
    noise = draws.normal(noise_key, (2, 12, 12, 1))
    np.testing.assert_allclose(info["denoising"], jnp.mean(noise**2, (1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(value, info["denoising"] - 2 * info["lncc"], rtol=1e-5)
    asked = []
    spy = known(lambda x, t: asked.append((x, t)) or x[..., :1])
    diffusemorph(spy, known(lambda x: x[..., :2]), PATH, PLAIN)[0].objectives[0].loss(
        {"denoiser": {}, "net": {}}, key, batch
    )
    x, t = asked[-1]
    expected = uniform_time(PATH, time_key, 2)
    np.testing.assert_array_equal(t, expected)
    np.testing.assert_allclose(x[..., 2:], perturb(PATH, batch["fixed"], noise, expected), atol=1e-6)


@pytest.mark.parametrize("direct", [False, True])
def test_to_register_the_fixed_image_itself_is_asked_for_at_the_data_end(direct):
    asked = []

    def latent(x, t):
        asked.append((x, t))
        return x[..., 1:2] * 10

    batch = pair()
    _, flow = diffusemorph(known(latent), known(lambda x: x[..., :2] + x.sum(-1, keepdims=True)), PATH, direct=direct)
    params = {"denoiser": {}, "net": {}}
    m, f = batch["moving"], batch["fixed"]
    for share in (0.0, 0.4, 1.0):
        found = flow(params, m, f, share)
        z = share * 10 * f
        total = m + z + (f if direct else 0)
        np.testing.assert_allclose(found, jnp.concatenate([m, z], -1) + total, rtol=1e-5, atol=1e-5)
        x, t = asked[-1]
        np.testing.assert_array_equal(x, jnp.concatenate([m, f, f], -1))
        np.testing.assert_array_equal(t, [PATH.t_data] * 2)


@pytest.mark.thorough
def test_gradients_reach_every_parameter():
    batch = pair((8, 8))
    nets = unet(1, channels=(8, 8), blocks=1), deformation_net((4, 4), (4,))
    for built in (voxelmorph(nets[1]), diffusemorph(*nets, PATH, direct=True), diffusemorph(*nets, PATH)):
        model = built.model
        params = jax.jit(model.init)(jax.random.key(0), batch)
        # Last layers that start at zero let nothing through to those before.
        params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(1), x.shape), params)
        (objective,) = model.objectives
        assert set(objective.groups) == set(params)
        slope = jax.jit(jax.grad(lambda p, objective=objective: objective.loss(p, jax.random.key(2), batch)[0].sum()))(
            params
        )
        assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(slope))


def test_the_deformation_network_takes_any_size_and_starts_at_almost_nothing():
    net = deformation_net((4, 8, 8), (8, 4), convolutions=2)
    for shape in ((9, 14), (5, 6, 7)):
        x = jnp.ones((1, *shape, 2))
        found = net.apply(jax.jit(net.init)(jax.random.key(0), x), x)
        assert found.shape == (1, *shape, len(shape))
        assert 0 < float(jnp.abs(found).max()) < 1e-2
    with pytest.raises(ValueError, match="2 widths"):
        deformation_net((4, 8, 8), (8,))


def test_a_free_field_that_minimises_the_loss_finds_the_shift():
    """No network: the sign and the scale of the loss itself. The fixed image is the moving one, moved by 1.5 rows."""
    y, x = np.indices((20, 20))
    shapes = [2 * np.exp(-((y - r) ** 2 + (x - 10) ** 2) / 16) - 1 for r in (9, 10.5)]
    batch = {
        name: jnp.asarray(s, jnp.float32)[None, ..., None] for name, s in zip(("moving", "fixed"), shapes, strict=True)
    }
    alignment, adam = Alignment(smoothness=0.1), optax.adam(0.1)

    def step(carry, _):
        flow, state = carry
        slope = jax.grad(lambda flow: alignment.loss(flow, batch)[0].sum())(flow)
        change, state = adam.update(slope, state)
        return (flow + change, state), None

    start = jnp.zeros((1, 20, 20, 2))
    (flow, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, None, length=150))((start, adam.init(start)))
    inside = np.asarray(batch["fixed"])[0, ..., 0] > -0.5
    np.testing.assert_allclose(np.asarray(flow)[0][inside].mean(0), [-1.5, 0], atol=0.2)
