import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.errors import UserError
from jaxgen.interop import schedulers
from jaxgen.interop.schedulers import from_diffusers
from jaxgen.samplers import sample

KINDS = list(schedulers._DEFAULTS)


def config(kind, **entries):
    return {"_class_name": kind, "_diffusers_version": "0.42.1", **entries}


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_lands_on_what_the_network_says(kind):
    """A network that always means the same data: whatever it predicts, the sampler must end there."""
    point = 0.5
    s = from_diffusers(config(kind), 12)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 2)), jnp.float32)
    grid = np.asarray(s.grid)
    assert grid.shape == (13,)
    assert (np.diff(grid) <= 0).all()

    def told(number):
        """The time at which the network was told the number."""
        times, numbers = s.grid[:-1][::-1], s.number(s.grid[:-1])[::-1]
        return jnp.interp(number, numbers, times)

    def predict(x, number):
        if kind.startswith("EDM"):
            # From the scaled input of the network back to x, then the output that means the point.
            sigma, data = jnp.exp(4 * number), 0.5
            norm = jnp.sqrt(sigma**2 + data**2)
            return (point - (data / norm) ** 2 * x * norm) / (sigma * data / norm)
        t = told(number)
        return paths.convert(s.path, x, t, jnp.full_like(x, point), "x0", s.prediction)

    end = jax.jit(lambda x: sample(s.step(None), s.denoiser(predict), jax.random.key(0), s.start * x, s.grid))(x)
    a, sigma = float(s.path.alpha(s.grid[-1])), float(s.path.sigma(s.grid[-1]))
    np.testing.assert_allclose(end, a * point, atol=max(4 * sigma, 2e-3))


def test_spacings():
    """The entries of a table of 1000 as in Lin et al. 2024, table 2, for 10 steps."""
    wanted = {
        "leading": [900, 800, 700, 600, 500, 400, 300, 200, 100, 0],
        "linspace": [999, 888, 777, 666, 555, 444, 333, 222, 111, 0],
        "trailing": [999, 899, 799, 699, 599, 499, 399, 299, 199, 99],
    }
    for spacing, numbers in wanted.items():
        s = from_diffusers(config("DDPMScheduler", timestep_spacing=spacing), 10)
        np.testing.assert_allclose(s.number(s.grid[:-1]), numbers, atol=1e-3)
        np.testing.assert_allclose(s.grid[:-1], (np.array(numbers) + 1) / 1000, rtol=1e-6)
        assert float(s.grid[-1]) == 0


def test_karras_levels():
    s = from_diffusers(config("EulerDiscreteScheduler", use_karras_sigmas=True, beta_schedule="scaled_linear"), 5)
    ratio = np.asarray(s.path.sigma(s.grid) / s.path.alpha(s.grid))
    assert ratio[-1] == 0
    np.testing.assert_allclose(np.diff(ratio[:-1] ** (1 / 7), n=2), 0, atol=1e-5)
    # The first and the last entries of the table.
    kept = np.cumprod(1 - np.linspace(1e-4**0.5, 0.02**0.5, 1000) ** 2)
    np.testing.assert_allclose(ratio[[0, -2]], np.sqrt(1 / kept - 1)[[-1, 0]], rtol=1e-4)


def test_clipping_and_thresholding():
    x = jnp.array([[-3.0, 0.5, 2.0, 4.0]])
    for entries, want in [
        ({"clip_sample": False}, [-3.0, 0.5, 2.0, 4.0]),
        ({"clip_sample": True, "clip_sample_range": 1.5}, [-1.5, 0.5, 1.5, 1.5]),
        ({"thresholding": True, "dynamic_thresholding_ratio": 1.0, "sample_max_value": 2.0}, [-1.0, 0.25, 1.0, 1.0]),
    ]:
        s = from_diffusers(config("DDIMScheduler", prediction_type="sample", **entries), 4)
        np.testing.assert_allclose(s.denoiser(lambda x, _: x)(x, s.grid[0])[0], want, rtol=1e-6)


def test_learned_variance_needs_the_network():
    s = from_diffusers(config("DDPMScheduler", variance_type="learned_range", clip_sample=False), 4)
    with pytest.raises(ValueError, match="needs the network"):
        s.step(None)
    x, t, key = jnp.zeros((1, 1)), s.grid[0], jax.random.key(0)

    def moved(v):
        """How far one step goes with a given answer for the variance."""

        def predict(x, _):
            return jnp.concatenate([0 * x, 0 * x + v], -1)

        step = s.step(predict)
        return step.step(s.denoiser(predict), key, step.init(x, s.grid), t, s.grid[1]).x

    small, middle, large = (float(jnp.abs(moved(v))[0, 0]) for v in (-1.0, 0.0, 1.0))
    np.testing.assert_allclose(middle, np.sqrt(small * large), rtol=1e-5)
    np.testing.assert_allclose(large / small, float(s.path.sigma(t) / s.path.sigma(s.grid[1])), rtol=1e-5)


def test_a_file_and_its_folder(tmp_path):
    file = tmp_path / "scheduler_config.json"
    file.write_text(json.dumps(config("DDIMScheduler", prediction_type="v_prediction", unet=None) | {"unet": 1}))
    with pytest.raises(UserError, match=r"scheduler_config.json: unknown entry 'unet'"):
        from_diffusers(tmp_path, 4)
    file.write_text(json.dumps(config("DDIMScheduler", prediction_type="v_prediction", skip_prk_steps=True)))
    for source in (file, tmp_path, str(tmp_path)):
        assert from_diffusers(source, 4).prediction == "v"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"_class_name": "DDIMSchedular"}, r"_class_name is 'DDIMSchedular'.*nearest: DDIMScheduler"),
        ({}, r"_class_name is None"),
        (config("DDIMScheduler", clip_samples=True), r"unknown entry 'clip_samples' \(nearest: clip_sample\)"),
        (config("DDIMScheduler", beta_schedule="linear_"), r"beta_schedule is 'linear_'.*nearest: linear"),
        (config("DDIMScheduler", prediction_type="flow"), r"prediction_type is 'flow'.*supported: epsilon"),
        (config("DDPMScheduler", variance_type="fixed_large_log"), r"variance_type.*nearest: fixed_large"),
        (config("PNDMScheduler", timestep_spacing="even"), r"timestep_spacing is 'even'"),
        (config("UniPCMultistepScheduler", solver_order=4), r"solver_order is 4"),
        (config("UniPCMultistepScheduler", use_flow_sigmas=True), r"use_flow_sigmas is True"),
        (config("DPMSolverMultistepScheduler", algorithm_type="dpmsolver"), r"nearest: dpmsolver\+\+"),
        (
            config("EulerDiscreteScheduler", use_karras_sigmas=True, use_beta_sigmas=True),
            r"use_karras_sigmas and use_beta_sigmas are both true",
        ),
        (config("EulerDiscreteScheduler", timestep_type="continuous"), r"timestep_type is 'continuous'"),
        (config("FlowMatchEulerDiscreteScheduler", use_dynamic_shifting=True), r"use_dynamic_shifting is True"),
        (config("DDIMScheduler", num_train_timesteps=3), r"less than the 4 steps"),
        (config("DDIMScheduler", steps_offset=300), r"steps_offset leads to entry 1050"),
    ],
)
def test_what_is_not_supported(entries, message):
    with pytest.raises(UserError, match=message):
        from_diffusers(entries, 4)


def test_what_is_no_file(tmp_path):
    with pytest.raises(UserError, match=r"nothing: cannot be read"):
        from_diffusers(tmp_path / "nothing", 4)
    for text, message in (("{", "is no JSON"), ("[]", "holds no JSON object")):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(UserError, match=message):
            from_diffusers(tmp_path / "a.json", 4)
    with pytest.raises(ValueError, match="at least 1"):
        from_diffusers(config("DDIMScheduler"), 0)


def test_a_table_without_signal_starts_where_it_is_finite():
    """Zero terminal SNR: DDIM starts at alpha = 0, the others where diffusers puts a large finite level."""
    entries = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    s = from_diffusers(config("DDIMScheduler", **entries), 5)
    assert float(s.path.alpha(s.grid[0])) == 0
    s = from_diffusers(config("UniPCMultistepScheduler", beta_schedule="scaled_linear", **entries), 5)
    np.testing.assert_allclose(s.path.alpha(s.grid[0]), 2.0**-12, rtol=1e-3)
    assert float(s.number(s.grid[0])) == 999
