import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.errors import UserError
from jaxgen.interop.schedulers import defaults, from_diffusers
from jaxgen.samplers import sample

KINDS = list(defaults.DEFAULTS)


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
    if kind.endswith("InverseScheduler"):
        # From data to noise: what is left of the point is alpha of it.
        assert (np.diff(grid) >= 0).all()
        x = s.path.alpha(s.grid[0]) * point + s.path.sigma(s.grid[0]) * x
    else:
        assert (np.diff(grid) <= 0).all()

    def told(number):
        """The time at which the network was told the number."""
        times, numbers = s.grid[:-1], s.number(s.grid[:-1])
        rising = jnp.argsort(numbers)
        return jnp.interp(number, numbers[rising], times[rising])

    def predict(x, number):
        if kind.startswith("CM"):
            sigma = jnp.exp(number / 250)
            kept = 0.25 / ((sigma - 0.002) ** 2 + 0.25)
            norm = jnp.sqrt(sigma**2 + 0.25)
            return (point - kept * x * norm) / ((sigma - 0.002) * 0.5 / norm)
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
        (config("DPMSolverMultistepInverseScheduler", use_flow_sigmas=True), r"use_flow_sigmas is True"),
        (config("DPMSolverMultistepInverseScheduler", algorithm_type="sde-dpmsolver++"), r"algorithm_type is 'sde"),
        (config("UniPCMultistepScheduler", prediction_type="flow_prediction"), r"needs use_flow_sigmas to be true"),
        (
            config("UniPCMultistepScheduler", use_flow_sigmas=True, prediction_type="v_prediction"),
            r"prediction_type is 'v_prediction'.*supported: flow_prediction",
        ),
        (
            config("DEISMultistepScheduler", use_flow_sigmas=True, use_beta_sigmas=True),
            r"use_flow_sigmas and use_beta_sigmas are both true",
        ),
        (config("LCMScheduler", original_inference_steps=3), r"original_inference_steps is 3, less than the 4 steps"),
        (config("TCDScheduler", num_train_timesteps=30), r"original_inference_steps is 50, more than the 30"),
        (config("CMStochasticIterativeScheduler", num_train_timesteps=3), r"less than the 4 steps"),
        (config("UnCLIPScheduler", beta_schedule="linear"), r"beta_schedule is 'linear'"),
        (config("DPMSolverMultistepScheduler", algorithm_type="dpmsolver"), r"nearest: dpmsolver\+\+"),
        (
            config("EulerDiscreteScheduler", use_karras_sigmas=True, use_beta_sigmas=True),
            r"use_karras_sigmas and use_beta_sigmas are both true",
        ),
        (config("EulerDiscreteScheduler", timestep_type="continuous"), r"timestep_type is 'continuous'"),
        (
            config("FlowMatchEulerDiscreteScheduler", use_dynamic_shifting=True),
            r"use_dynamic_shifting is true: give mu",
        ),
        (config("DDIMScheduler", num_train_timesteps=3), r"less than the 4 steps"),
        (config("DDIMScheduler", steps_offset=300), r"steps_offset leads to entry 1050"),
    ],
)
def test_what_is_not_supported(entries, message):
    with pytest.raises(UserError, match=message):
        from_diffusers(entries, 4)


@pytest.mark.parametrize(
    ("entries", "asked", "message"),
    [
        (config("DDIMScheduler"), {"timesteps": [1, 5]}, r"timesteps must fall"),
        (config("DDIMScheduler"), {"timesteps": [1000, 5]}, r"timesteps must be whole numbers from 999"),
        (config("DDIMScheduler"), {"timesteps": [5.5]}, r"timesteps must be whole numbers"),
        (config("DDIMScheduler"), {"timesteps": []}, r"timesteps must be a list of at least one"),
        (config("DDIMScheduler"), {"timesteps": "abc"}, r"timesteps must be a list of numbers"),
        (config("DDIMScheduler"), {"sigmas": [3.0, 1.0]}, r"sigmas cannot be chosen for this DDIMScheduler"),
        (config("PNDMScheduler"), {"timesteps": [9, 5]}, r"timesteps cannot be chosen for this PNDMScheduler"),
        (config("EDMEulerScheduler"), {"timesteps": [9, 5]}, r"timesteps cannot be chosen"),
        (config("EulerDiscreteScheduler"), {"sigmas": [3.0]}, r"sigmas must be at least 2 noise levels"),
        (config("EulerDiscreteScheduler"), {"sigmas": [300.0, 1.0]}, r"sigmas begin at 300, above"),
        (
            config("EulerDiscreteScheduler", use_karras_sigmas=True),
            {"timesteps": [9]},
            r"use_karras_sigmas is true and",
        ),
        (config("FlowMatchEulerDiscreteScheduler"), {"sigmas": [1.5, 1.0]}, r"sigmas must lie between 0 and 1"),
        (config("FlowMatchEulerDiscreteScheduler"), {"steps": 4, "mu": 1.0}, r"mu cannot be chosen.*is false"),
        (config("DDIMScheduler"), {"steps": 4, "mu": float("nan")}, r"mu is nan"),
        (
            config("FlowMatchEulerDiscreteScheduler", use_dynamic_shifting=True, time_shift_type="linear"),
            {"steps": 4, "mu": -1.0},
            r"mu is -1.0: it makes a shift of -1",
        ),
    ],
)
def test_what_cannot_be_asked_for(entries, asked, message):
    with pytest.raises(UserError, match=message):
        from_diffusers(entries, **asked)


def test_exactly_one_way_of_asking():
    for asked in ({}, {"steps": 3, "timesteps": [3, 2, 1]}, {"timesteps": [1], "sigmas": [1.0]}):
        with pytest.raises(ValueError, match="exactly one"):
            from_diffusers(config("DDIMScheduler"), **asked)


def test_timesteps_and_levels_are_kept():
    """The network is told the numbers given, and the path has the levels given."""
    for kind in ("DDPMScheduler", "LMSDiscreteScheduler", "UniPCMultistepScheduler", "LCMScheduler"):
        s = from_diffusers(config(kind), timesteps=[900, 500, 20])
        np.testing.assert_allclose(s.number(s.grid[:-1]), [900, 500, 20], rtol=1e-5)
        np.testing.assert_allclose(s.grid[:-1], [0.901, 0.501, 0.021], rtol=1e-5)
    s = from_diffusers(config("EulerDiscreteScheduler"), sigmas=[8.0, 2.0, 0.5, 0.1])
    np.testing.assert_allclose(s.path.sigma(s.grid) / s.path.alpha(s.grid), [8.0, 2.0, 0.5, 0.1], rtol=1e-4)
    s = from_diffusers(config("FlowMatchEulerDiscreteScheduler", use_dynamic_shifting=True), sigmas=[1.0, 0.5], mu=0.7)
    shift = np.exp(0.7)
    np.testing.assert_allclose(s.grid, [1, shift / (1 + shift), 0], rtol=1e-6)


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


WRONG = [
    "3",
    "",
    "linear",
    None,
    [],
    [None],
    {},
    -1,
    0,
    1,
    10**30,
    1.5,
    1e308,
    1e-300,
    float("nan"),
    float("inf"),
    True,
]
WRONG += [
    [0.1] * 1000,
    [2.0] * 1000,
    [0.0] * 1000,
    [float("nan")] * 1000,
    ["a"] * 1000,
    [[0.1]] * 1000,
    -1e308,
    [1],
    True,
]


def told(entries):
    """The scheduler, or what it is refused with."""
    try:
        return from_diffusers(entries, 4)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_entries_of_any_type_give_a_grid_or_are_named(kind):
    for name, default in defaults.DEFAULTS[kind].items():
        for value in [*WRONG, -float("inf")]:
            s = told(config(kind, **{name: value}))
            if isinstance(s, str):
                assert s.startswith("the scheduler config: "), (name, value)
                assert len(s) < 500, (name, value, default)
                continue
            assert np.isfinite(np.asarray(s.grid)).all(), (name, value)
            assert np.isfinite(s.start), (name, value)
            assert np.isfinite(np.asarray(s.number(s.grid[:-1]))).all(), (name, value)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            config("DDIMScheduler", num_train_timesteps="1000"),
            r"num_train_timesteps is '1000'.*a whole number from 1 to",
        ),
        (config("DDIMScheduler", num_train_timesteps=10**12), r"num_train_timesteps is 1000000000000"),
        (config("DDIMScheduler", beta_end=float("nan")), r"beta_end is nan"),
        (config("DDIMScheduler", clip_sample="false"), r"clip_sample is 'false'.*true or false"),
        (config("DDIMScheduler", trained_betas=[0.1, 2.0]), r"trained_betas is \[0.1, 2.0\]"),
        (config("DDIMScheduler", trained_betas=[0.1, 0.2]), r"its 2 betas must be 1000"),
        (config("UniPCMultistepScheduler", sigma_min="0.1"), r"sigma_min is '0.1'.*or null"),
        (config("EDMEulerScheduler", sigma_max=0.001), r"noise levels do not fall"),
        (config("FlowMatchEulerDiscreteScheduler", shift=0), r"shift is 0"),
        (config("FlowMatchEulerDiscreteScheduler", shift_terminal=1.0), r"shift_terminal is 1.0"),
        ({"_class_name": ["DDIMScheduler"]}, r"_class_name is \['DDIMScheduler'\]"),
        ({"_class_name": {"a": 1}}, r"_class_name is \{'a': 1\}"),
        (config("DDIMScheduler", **{"clip" * 100_000: 1}), r"unknown entry 'clipclip"),
    ],
)
def test_wrong_types_are_named(entries, message):
    with pytest.raises(UserError, match=message) as error:
        from_diffusers(entries, 4)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"null", b"NaN", b"3", b"9" * 5000, b"[" + b" " * 2**24 + b"]"],
    ids=lambda content: repr(content[:20]),
)
def test_a_file_of_any_shape(tmp_path, content):
    file = tmp_path / "scheduler_config.json"
    file.write_bytes(content)
    with pytest.raises(UserError) as error:
        from_diffusers(tmp_path, 4)
    assert str(error.value).startswith(str(file))
    assert len(str(error.value)) < 400


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "scheduler_config.json")
    for path in (tmp_path, "/dev/zero"):
        with pytest.raises(UserError, match="is no regular file"):
            from_diffusers(path, 4)
    with pytest.raises(UserError, match="cannot be read"):
        from_diffusers(tmp_path / ("a" * 1000), 4)


def test_infinity_as_diffusers_writes_it(tmp_path):
    entries = config("DPMSolverMultistepScheduler", lambda_min_clipped=-float("inf"))
    (tmp_path / "scheduler_config.json").write_text(json.dumps(entries))
    assert from_diffusers(tmp_path, 4).grid.shape == (5,)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("respaced", [None, "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_shifted_last_level(steps, respaced, shift):
    """The last level but zero is the one asked for; one step has no last level but the first, and keeps it."""
    entries = {"shift_terminal": 0.1, "shift": shift} | ({respaced: True} if respaced else {})
    for n in (1000, 1):
        s = from_diffusers(config("FlowMatchEulerDiscreteScheduler", num_train_timesteps=n, **entries), steps)
        grid = np.asarray(s.grid)
        assert grid[0] == pytest.approx(1, abs=1e-6)
        assert grid[-1] == 0
        assert grid[-2] == pytest.approx(0.1 if steps > 1 and n > 1 else 1, abs=1e-5)
        x = jnp.ones((1, 2))
        end = sample(s.step(None), s.denoiser(lambda x, number: x - 2.0), jax.random.key(0), x, s.grid)
        assert np.isfinite(end).all()


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("steps", [6, 12])
def test_a_last_step_between_equal_levels_keeps_its_order(order, steps):
    """Single-step solvers make the last step again from the start of its block: it leads somewhere."""
    entries = {
        "use_karras_sigmas": True,
        "final_sigmas_type": "sigma_min",
        "solver_order": order,
        "solver_type": "heun",
    }
    s = from_diffusers(config("DPMSolverSinglestepScheduler", prediction_type="sample", **entries), steps)
    assert s.grid[-1] == s.grid[-2]
    step, x = s.step(None), jnp.ones((1, 1))
    state = step.init(x, s.grid)
    assert int(jnp.sum(jnp.abs(state.weights.outputs[-1]) > 0)) == order

    for name in ("DPMSolverMultistepScheduler", "DEISMultistepScheduler"):
        s = from_diffusers(config(name, prediction_type="sample", **(entries | {"solver_order": 2})), steps)
        kept = sample(s.step(None), s.denoiser(lambda x, number: 0.5 * x), jax.random.key(0), x, s.grid, keep=True)
        assert np.isfinite(kept).all()
        np.testing.assert_allclose(kept[-1], kept[-2], rtol=1e-5, err_msg="a step that leads nowhere")
