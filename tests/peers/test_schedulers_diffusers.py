"""Our samplers beside diffusers' schedulers: the same network, the same noise, the same numbers at the end.

Each case is a scheduler of diffusers with options. diffusers writes its ``scheduler_config.json``, our reader makes a
sampler from that file, and both run. Where diffusers is wrong, a test says what it does and shows it.
"""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws, samplers
from jaxgen.interop.schedulers import from_diffusers
from jaxgen.samplers import sample

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.peers

SHAPE = (2, 3, 4, 2)
KEY = jax.random.key(5)
LINEAR = {"beta_schedule": "linear"}
SCALED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
V, X0, NOISE = ({"prediction_type": name} for name in ("v_prediction", "sample", "epsilon"))


def network(m, x, number):
    """Any smooth function of x and the number, in NumPy, PyTorch or JAX (`m`)."""
    return 0.7 * m.tanh(x) + 0.2 * m.sin(2 * x + 0.004 * number) - 0.1 * m.cos(0.01 * number + 0 * x)


def double(m, x, number):
    """A network that learns its variance: twice the channels, the last axis in JAX and the second in PyTorch."""
    halves = network(m, x, number), m.sin(3 * x + 0.002 * number)
    return m.cat(halves, 1) if m is torch else m.concatenate(halves, -1)


def make(name, **options):
    scheduler = getattr(diffusers, name)(**options)
    assert scheduler.config.keys() >= options.keys()
    return scheduler


def noises(steps, dtype):
    """What our steps draw: step i from ``fold_in(KEY, i)``."""
    return [np.asarray(draws.normal(jax.random.fold_in(KEY, i), SHAPE), dtype) for i in range(steps)]


def theirs(scheduler, steps, start, net=network, *, double_precision=False, monkeypatch=None, **options):
    """diffusers' loop, as its pipelines write it, on x in our layout."""
    dtype = np.float64 if double_precision else np.float32
    scheduler.set_timesteps(steps)
    if double_precision:
        sharpen(scheduler)
    drawn, now = noises(steps, dtype), [0]
    if monkeypatch is not None:
        module = importlib.import_module(type(scheduler).__module__)
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: channels_first(drawn[now[0]]))
    x = channels_first(start.astype(dtype)) * scheduler.init_noise_sigma
    x = x.to(torch.float64 if double_precision else torch.float32)
    trajectory = [x]
    for i, t in enumerate(scheduler.timesteps):
        now[0] = i
        output = net(torch, scheduler.scale_model_input(x, t), t)
        x = scheduler.step(output, t, x, **options).prev_sample
        trajectory.append(x)
    return [y.numpy().transpose(0, 2, 3, 1) for y in trajectory]


def channels_first(x):
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def sharpen(scheduler):
    """diffusers' tables, remade in float64: float32 products of 1000 factors are good to four digits near the data."""
    betas = scheduler.betas.double()
    kept = torch.cumprod(1 - betas, 0)
    scheduler.alphas_cumprod = kept
    if hasattr(scheduler, "final_alpha_cumprod"):
        scheduler.final_alpha_cumprod = (
            torch.ones((), dtype=torch.float64) if scheduler.config.set_alpha_to_one else kept[0]
        )
    if hasattr(scheduler, "one"):
        scheduler.one = scheduler.one.double()
    if hasattr(scheduler, "sigmas"):
        numbers, last = scheduler.timesteps.double(), scheduler.sigmas[-1]
        if type(scheduler).__name__.startswith("Heun"):
            numbers = torch.cat([numbers, numbers[-1:]])
        levels = torch.sqrt((1 - kept) / kept)[numbers.long()]
        end = levels.new_zeros(1) if last == 0 else torch.sqrt((1 - kept) / kept)[:1]
        scheduler.sigmas = torch.cat([levels[: len(scheduler.sigmas) - 1], end])
    if type(scheduler).__name__.startswith("Heun"):
        scheduler.sigmas[-1] = 0


def ours(config, steps, start, net=network, step=None):
    """The sampler that our reader makes from a file or from entries."""
    scheduler = from_diffusers(config, steps)
    predict = functools.partial(net, jnp)
    step = scheduler.step(predict) if step is None else step(scheduler.path)

    @jax.jit
    def run(x):
        return sample(step, scheduler.denoiser(predict), KEY, scheduler.start * x, scheduler.grid)

    return np.asarray(run(jnp.asarray(start)))


def start(steps=0):
    return np.random.default_rng(steps).standard_normal(SHAPE)


def difference(a, b):
    """The largest difference, relative to the largest value."""
    assert np.isfinite(a).all()
    assert np.isfinite(b).all()
    return float(np.abs(a - b).max() / np.abs(b).max())


def case(name, steps, tolerance=1e-4, net=network, **options):
    kept = {k: v for k, v in options.items() if k not in ("beta_schedule", "beta_start", "beta_end")}
    label = "-".join([name.removesuffix("Scheduler"), str(steps), options.get("beta_schedule", "")])
    label += "".join(f"-{v if isinstance(v, str) else k + '=' + str(v)}" for k, v in kept.items())
    return pytest.param(name, steps, options, net, id=label)


K = ("EulerDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler")
S = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler")
TRAILING, LEADING, EVEN = ({"timestep_spacing": name} for name in ("trailing", "leading", "linspace"))
FREE = {"clip_sample": False}
KARRAS = {"use_karras_sigmas": True}

CASES = [
    # Ancestral sampling.
    case("DDPMScheduler", 10, **LINEAR),
    case("DDPMScheduler", 8, **COSINE, **V, **EVEN, **FREE),
    case("DDPMScheduler", 10, **SCALED, **X0, **TRAILING, **FREE),
    case("DDPMScheduler", 8, **LINEAR, **V, **EVEN, rescale_betas_zero_snr=True, **FREE),
    case("DDPMScheduler", 8, **LINEAR, variance_type="fixed_small_log", steps_offset=1),
    case("DDPMScheduler", 8, **LINEAR, variance_type="fixed_large"),
    case("DDPMScheduler", 8, **COSINE, variance_type="fixed_large", **EVEN, clip_sample_range=1.5),
    case("DDPMScheduler", 8, **LINEAR, variance_type="learned_range", net=double),
    case("DDPMScheduler", 8, beta_schedule="sigmoid", thresholding=True, sample_max_value=1.5),
    case("DDPMScheduler", 4, trained_betas=np.linspace(0.01, 0.3, 40).tolist(), num_train_timesteps=40, **X0),
    # DDIM.
    case("DDIMScheduler", 10, **LINEAR),
    case("DDIMScheduler", 10, **SCALED, **V, steps_offset=1, set_alpha_to_one=False, **FREE),
    case("DDIMScheduler", 10, **COSINE, **X0, **TRAILING, **FREE),
    case("DDIMScheduler", 10, **SCALED, **V, **TRAILING, rescale_betas_zero_snr=True, **FREE),
    case("DDIMScheduler", 10, **LINEAR, thresholding=True, sample_max_value=2.0, dynamic_thresholding_ratio=0.9),
    # In x / alpha.
    *(case(name, 10, **SCALED) for name in K),
    *(case(name, 9, **LINEAR, **V, **LEADING, steps_offset=1) for name in K),
    *(case(name, 9, **COSINE, **V, **TRAILING) for name in K),
    *(case(name, 9, **SCALED, **X0, **KARRAS) for name in K),
    case("EulerDiscreteScheduler", 8, **SCALED, use_exponential_sigmas=True),
    case("EulerDiscreteScheduler", 8, **SCALED, use_beta_sigmas=True),
    case("EulerDiscreteScheduler", 8, **SCALED, interpolation_type="log_linear"),
    case("EulerDiscreteScheduler", 8, **SCALED, **V, **TRAILING, rescale_betas_zero_snr=True),
    case("EulerDiscreteScheduler", 8, **SCALED, final_sigmas_type="sigma_min"),
    case("HeunDiscreteScheduler", 8, **LINEAR, clip_sample=True),
    case("EulerAncestralDiscreteScheduler", 9, **SCALED),
    case("EulerAncestralDiscreteScheduler", 10, **LINEAR, **V, **LEADING, steps_offset=1),
    case("EulerAncestralDiscreteScheduler", 10, **SCALED, **V, **TRAILING, rescale_betas_zero_snr=True),
    # Multistep methods.
    *(case(name, 10, **SCALED) for name in S),
    *(case(name, 20, **LINEAR, **V, **LEADING, steps_offset=1) for name in S),
    *(case(name, 10, **COSINE, **X0, **TRAILING) for name in S),
    *(case(name, 10, **SCALED, **V, **KARRAS) for name in S),
    *(case(name, 10, **SCALED, **X0, thresholding=True, sample_max_value=1.2) for name in S),
    *(case(name, 8, **SCALED, use_exponential_sigmas=True) for name in S),
    *(case(name, 8, **SCALED, **V, **TRAILING, rescale_betas_zero_snr=True) for name in S[:2]),
    *(case(name, 20, **SCALED, final_sigmas_type="sigma_min") for name in S[:2]),
    case("DPMSolverMultistepScheduler", 10, **SCALED, solver_order=1),
    case("DPMSolverMultistepScheduler", 10, **LINEAR, solver_type="heun"),
    case("DPMSolverMultistepScheduler", 10, **COSINE, lambda_min_clipped=-5.1),
    case("DPMSolverMultistepScheduler", 10, **SCALED, use_lu_lambdas=True),
    case("DPMSolverMultistepScheduler", 10, **SCALED, algorithm_type="sde-dpmsolver++"),
    case("DPMSolverMultistepScheduler", 20, **LINEAR, **V, algorithm_type="sde-dpmsolver++", solver_type="heun"),
    case("DPMSolverMultistepScheduler", 10, **SCALED, algorithm_type="sde-dpmsolver++", solver_order=1, **KARRAS),
    case("DPMSolverSinglestepScheduler", 10, **SCALED),
    case("DPMSolverSinglestepScheduler", 9, **LINEAR, **V, solver_type="heun", **KARRAS),
    case("DPMSolverSinglestepScheduler", 9, **SCALED, solver_order=3, solver_type="heun"),
    case("DPMSolverSinglestepScheduler", 10, **SCALED, solver_order=3),
    case("DPMSolverSinglestepScheduler", 11, **COSINE, **X0, solver_order=3, lower_order_final=True),
    case("DPMSolverSinglestepScheduler", 12, **SCALED, final_sigmas_type="sigma_min", solver_order=2),
    case("DPMSolverSinglestepScheduler", 10, **SCALED, algorithm_type="sde-dpmsolver++"),
    case("DEISMultistepScheduler", 10, **SCALED, solver_order=3),
    case("DEISMultistepScheduler", 20, **LINEAR, **V, solver_order=3, lower_order_final=False),
    case("UniPCMultistepScheduler", 10, **SCALED, solver_order=1),
    case("UniPCMultistepScheduler", 10, **SCALED, solver_order=3),
    case("UniPCMultistepScheduler", 20, **LINEAR, **V, solver_order=3, final_sigmas_type="sigma_min"),
    case("UniPCMultistepScheduler", 10, **SCALED, solver_type="bh1", final_sigmas_type="sigma_min"),
    # PNDM.
    case("PNDMScheduler", 10, **SCALED, skip_prk_steps=True, steps_offset=1),
    case("PNDMScheduler", 10, **LINEAR, **V, skip_prk_steps=True, set_alpha_to_one=True, **TRAILING),
    case("PNDMScheduler", 10, **COSINE),
    case("PNDMScheduler", 20, **LINEAR, set_alpha_to_one=True),
    # EDM and flow matching.
    case("EDMEulerScheduler", 10),
    case("EDMEulerScheduler", 10, **V, sigma_schedule="exponential", sigma_data=0.7, final_sigmas_type="sigma_min"),
    case("EDMDPMSolverMultistepScheduler", 10),
    case("EDMDPMSolverMultistepScheduler", 20, **V, sigma_max=60.0, rho=5.0),
    case("EDMDPMSolverMultistepScheduler", 10, algorithm_type="sde-dpmsolver++", thresholding=True),
    case("FlowMatchEulerDiscreteScheduler", 10),
    case("FlowMatchEulerDiscreteScheduler", 10, shift=3.0),
    case("FlowMatchEulerDiscreteScheduler", 8, shift_terminal=0.1),
    case("FlowMatchEulerDiscreteScheduler", 8, **KARRAS),
    case("FlowMatchEulerDiscreteScheduler", 8, stochastic_sampling=True),
]


@pytest.mark.parametrize(("name", "steps", "options", "net"), CASES)
def test_sampler_from_the_file_is_their_loop(name, steps, options, net, monkeypatch, tmp_path):
    scheduler, noise = make(name, **options), start(steps)
    scheduler.save_pretrained(tmp_path)
    extra = {}
    if name == "DDIMScheduler":
        # Theirs by default mixes a clipped x0 with the noise from before clipping.
        extra["use_clipped_model_output"] = True
    if any("randn_tensor" in dir(importlib.import_module(type(scheduler).__module__)) for _ in (0,)):
        want = theirs(scheduler, steps, noise, net, monkeypatch=monkeypatch, **extra)[-1]
    else:
        want = theirs(scheduler, steps, noise, net, **extra)[-1]
    assert difference(ours(tmp_path, steps, noise, net), want) < 1e-4
