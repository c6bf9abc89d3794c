"""MONAI's schedulers here: numbers, ends of steps, and what is refused. The peers' tests compare whole runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.interop.monai_schedulers import from_monai
from jaxgen.samplers import Sample

DDIM = {"_target_": "monai.networks.schedulers.DDIMScheduler", "clip_sample": False}
FLOW = {"_target_": "monai.networks.schedulers.RFlowScheduler", "use_discrete_timesteps": False}


def test_a_step_of_ddim_ends_one_stride_ahead():
    """After entry 999 the network is told 666, and the step ends at 999 - 1000 // 4 = 749."""
    s = from_monai(DDIM, 4)
    assert s.number(s.grid[:-1]).tolist() == [999.0, 666.0, 333.0, 0.0]
    t, x = s.grid[0], jnp.array([[2.0]])
    state = s.step(None).step(s.denoiser(lambda x, t: 0 * x + 1.5), jax.random.key(0), Sample(x), t, s.grid[1])
    end = 750 / 1000
    x0 = (x - s.path.sigma(t) * 1.5) / s.path.alpha(t)
    np.testing.assert_allclose(state.x, s.path.alpha(end) * x0 + s.path.sigma(end) * 1.5, rtol=1e-4)
    last = s.step(None).step(s.denoiser(lambda x, t: 0 * x), jax.random.key(0), Sample(x), s.grid[-2], s.grid[-1])
    np.testing.assert_allclose(last.x, x / s.path.alpha(s.grid[-2]), rtol=1e-4)


def test_times_of_monai_generative_are_whole_strides():
    for kind in ("DDIMScheduler", "DDPMScheduler"):
        s = from_monai({"_target_": f"generative.networks.schedulers.{kind}"}, 4)
        assert s.number(s.grid).tolist()[:-1] == [750.0, 500.0, 250.0, 0.0]


def test_rectified_flow_is_told_the_noise_level_and_ends_at_whole_times():
    s = from_monai(FLOW, 3)
    numbers = np.float16([1000, 2000 / 3, 1000 / 3])
    np.testing.assert_allclose(s.number(s.grid[:-1]), numbers, atol=1e-3)
    x = jnp.zeros((1, 1))
    state = s.step(None).step(s.denoiser(lambda x, t: 0 * x + 1), jax.random.key(0), Sample(x), s.grid[0], s.grid[1])
    np.testing.assert_allclose(state.x, (1000 - 666) / 1000, atol=1e-5)
    scripts = from_monai({**FLOW, "_target_": "scripts.rectified_flow.RFlowScheduler"}, 3)
    state = scripts.step(None).step(
        scripts.denoiser(lambda x, t: 0 * x + 1), jax.random.key(0), Sample(x), s.grid[0], s.grid[1]
    )
    np.testing.assert_allclose(state.x, (1000 - numbers[1]) / 1000, atol=1e-5)


def test_times_of_rectified_flow_follow_the_size_of_the_image():
    config = {**FLOW, "use_timestep_transform": True}
    small, large = (from_monai(config, 4, positions=n**3) for n in (32, 64))
    assert small.number(small.grid[:-1]).tolist() == [1000.0, 750.0, 500.0, 250.0]
    np.testing.assert_allclose(large.number(large.grid[2]), 1000 * 2 / 3, atol=0.5)  # 2 t / (1 + t) at t = 1/2
    with pytest.raises(UserError, match="its times depend on the size of the image; give latent_shape"):
        from_monai(config, 4)


def test_ddpm_and_pndm():
    small = from_monai({"_target_": "DDPMScheduler", "num_train_timesteps": 10, "variance_type": "fixed_large"})
    assert small.number(small.grid[:-1]).tolist() == list(range(9, -1, -1))
    pndm = from_monai({"_target_": "PNDMScheduler", "skip_prk_steps": True, "beta_schedule": "scaled_linear"}, 4)
    assert pndm.number(pndm.grid[:-1]).tolist() == [750.0, 500.0, 250.0, 0.0]
    assert float(pndm.grid[-1]) == pytest.approx(1e-3)


def test_clipping_holds_the_denoiser():
    s = from_monai({**DDIM, "clip_sample": True, "clip_sample_min": 0.0, "prediction_type": "sample"}, 2)
    held = s.denoiser(lambda x, t: x)(jnp.array([[-3.0, 0.5, 3.0]]), s.grid[0])
    assert held.tolist() == [[0.0, 0.5, 1.0]]


@pytest.mark.parametrize(
    ("config", "steps", "message"),
    [
        ({"_target_": "torch.optim.Adam"}, 4, r"_target_ is 'torch.optim.Adam'; supported: DDIMScheduler, "),
        (DDIM, 0, "0 steps were asked for; give 1 to 1000"),
        ({**DDIM, "steps_offset": 1000}, 2, "steps_offset is 1000, which leads out of a table of 1000"),
        ({**DDIM, "beta_start": "low"}, 2, "beta_start is 'low', which is not supported; it must be a number"),
        ({**DDIM, "schedule": "cosine", "s": 0.1}, 2, r"s is 0.1; supported: 0.008"),
        ({**DDIM, "odd": 1}, 2, "odd is 1, which is not supported; see jaxgen.interop.monai_schedulers"),
        ({"_target_": "DDPMScheduler", "variance_type": "learned"}, 2, "variance_type is 'learned'; supported:"),
    ],
)
def test_what_is_refused(config, steps, message):
    with pytest.raises(UserError, match=message):
        from_monai(config, steps)
