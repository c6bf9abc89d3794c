"""Our samplers beside MONAI's schedulers: the same network, the same noise, the same numbers at the end."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws
from jaxgen.interop.schedulers import from_monai
from jaxgen.samplers import sample

torch = pytest.importorskip("torch")
schedulers = pytest.importorskip("monai.networks.schedulers")
pytestmark = pytest.mark.peers

SHAPE = (2, 4, 4, 4, 1)
KEY = jax.random.key(5)
# The first rate is not so small that the last step of DDPM divides numbers with few digits.
SHORT = {"num_train_timesteps": 20, "beta_start": 0.01, "beta_end": 0.3}


def network(m, x, number):
    """Any smooth function of x and the number, in PyTorch or JAX (`m`)."""
    return 0.7 * m.tanh(x) + 0.2 * m.sin(2 * x + 0.004 * number) - 0.1 * m.cos(0.01 * number + 0 * x)


def theirs(scheduler, start, steps, monkeypatch, **asked):
    """MONAI's loop, as its inferers write it: rectified flow is told the next timestep too."""
    scheduler.set_timesteps(steps, **asked)
    drawn = [np.asarray(draws.normal(jax.random.fold_in(KEY, i), SHAPE), np.float32) for i in range(steps)]
    x, times = torch.from_numpy(start), [*scheduler.timesteps.tolist(), 0]
    flow = isinstance(scheduler, schedulers.RFlowScheduler)
    for i, t in enumerate(times[:-1]):
        monkeypatch.setattr(torch, "randn", lambda *_, noise=drawn[i], **__: torch.from_numpy(noise))
        x, _ = scheduler.step(network(torch, x, float(t)), t, x, **({"next_timestep": times[i + 1]} if flow else {}))
    return x.numpy()


CASES = [
    ("DDPMScheduler", 20, {**SHORT}, {}),
    ("DDPMScheduler", 20, {**SHORT, "variance_type": "fixed_large", "schedule": "sigmoid_beta"}, {}),
    ("DDPMScheduler", 20, {**SHORT, "prediction_type": "sample", "clip_sample_min": 0.0, "clip_sample_max": 2.0}, {}),
    ("DDPMScheduler", 30, {"num_train_timesteps": 30, "prediction_type": "v_prediction", "schedule": "cosine"}, {}),
    ("DDIMScheduler", 20, {**SHORT, "schedule": "scaled_linear_beta", "clip_sample": False}, {}),
    ("DDIMScheduler", 19, {**SHORT, "steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False}, {}),
    ("RFlowScheduler", 7, {}, {}),
    ("RFlowScheduler", 8, {"use_timestep_transform": True}, {"input_img_size_numel": 64 * 64 * 48}),
    (
        "RFlowScheduler",
        30,
        {"use_timestep_transform": True, "base_img_size_numel": 32 * 32, "spatial_dim": 2},
        {"input_img_size_numel": 128 * 128},
    ),
    ("RFlowScheduler", 8, {"use_discrete_timesteps": False}, {}),
]


@pytest.mark.parametrize(("name", "steps", "options", "asked"), CASES)
def test_sampler_from_the_entries_is_their_loop(name, steps, options, asked, monkeypatch):
    noise = np.random.default_rng(steps).standard_normal(SHAPE).astype(np.float32)
    want = theirs(getattr(schedulers, name)(**options), noise, steps, monkeypatch, **asked)
    entries = {"_target_": f"monai.networks.schedulers.{name}", **options}
    s = from_monai(entries, steps, voxels=asked.get("input_img_size_numel"))
    predict = functools.partial(network, jnp)
    run = jax.jit(lambda x: sample(s.step(predict), s.denoiser(predict), KEY, s.start * x, s.grid))
    got = np.asarray(run(jnp.asarray(noise)))
    assert np.isfinite(want).all()
    assert np.abs(got - want).max() / np.abs(want).max() < 1e-4


def test_their_fractions_of_a_timestep_do_not_add_up():
    """Without discrete timesteps each step ends at the next timestep without its fraction, and begins with it."""
    scheduler = schedulers.RFlowScheduler(use_discrete_timesteps=False)
    scheduler.set_timesteps(7)
    times = [*scheduler.timesteps.tolist(), 0]
    x = torch.zeros(1)
    for t, after in itertools.pairwise(times):
        x, _ = scheduler.step(torch.ones(1), t, x, next_timestep=after)
    assert float(x) > 1.001
    s = from_monai({"_target_": "RFlowScheduler", "use_discrete_timesteps": False}, 7)
    end = sample(s.step(None), s.denoiser(lambda x, _: 0 * x + 1), KEY, jnp.zeros((1, 1)), s.grid)
    assert float(end[0, 0]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("skip", [True, False])
def test_their_pndm_is_not_where_it_tells_the_network(skip):
    """Seen with data of one point, for which every x_t is known; with ours the network is told the truth."""
    steps, point = 10, 0.7
    scheduler = schedulers.PNDMScheduler(skip_prk_steps=skip, set_alpha_to_one=True)
    scheduler.set_timesteps(steps)
    kept = scheduler.alphas_cumprod
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32))
    x, off = kept[900] ** 0.5 * point + (1 - kept[900]) ** 0.5 * noise, []
    for t in scheduler.timesteps.tolist():
        right = kept[t] ** 0.5 * point + (1 - kept[t]) ** 0.5 * noise
        off.append(float((x - right).abs().max()))
        x, _ = scheduler.step((x - kept[t] ** 0.5 * point) / (1 - kept[t]) ** 0.5, t, x)
    assert max(off) > 0.1

    s = from_monai({"_target_": "PNDMScheduler", "skip_prk_steps": skip, "set_alpha_to_one": True}, steps)
    first = s.path.alpha(s.grid[0]) * point + s.path.sigma(s.grid[0]) * jnp.asarray(noise.numpy())
    found = sample(s.step(None), lambda x, t: point + 0 * x, KEY, first, s.grid, keep=True)
    for x, t in zip(found, s.grid, strict=True):
        np.testing.assert_allclose(x, s.path.alpha(t) * point + s.path.sigma(t) * noise.numpy(), atol=1e-4)
