"""Our samplers beside diffusers' schedulers: the same network, the same noise, the same numbers at the end.

Each case is a scheduler of diffusers with options. diffusers writes its ``scheduler_config.json``, our reader makes a
sampler from that file, and both run. Where diffusers is wrong, a test says what it does and shows it.
"""

import functools
import importlib
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from jaxgen import draws, samplers
from jaxgen.interop.schedulers import from_diffusers
from jaxgen.nets import unet
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


def theirs(
    scheduler, steps, start, net=network, *, dtype=np.float32, monkeypatch=None, told=None, asked=None, **options
):
    """diffusers' loop, as its pipelines write it, on x in our layout.

    `told` replaces numbers told to the network; `asked` goes to ``set_timesteps`` in place of the number of steps.
    """
    scheduler.set_timesteps(**(asked or {"num_inference_steps": steps}))
    if dtype == np.float64:
        sharpen(scheduler)
    for i, number in (told or {}).items():
        scheduler.timesteps[i] = number
    drawn, now = noises(steps, dtype), [0]
    module = importlib.import_module(type(scheduler).__module__)
    if hasattr(module, "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: channels_first(drawn[now[0]]))
    x = channels_first(start).to(torch.float64) * getattr(scheduler, "init_noise_sigma", 1.0)
    x = x.to(torch.float64 if dtype == np.float64 else torch.float32)
    for i, t in enumerate(scheduler.timesteps):
        now[0] = i // getattr(scheduler, "order", 1)
        if isinstance(scheduler, diffusers.UnCLIPScheduler):
            options["prev_timestep"] = scheduler.timesteps[i + 1] if i + 1 < len(scheduler.timesteps) else None
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(net(torch, scaled, t), t, x, **options).prev_sample
    assert x.dtype == (torch.float64 if dtype == np.float64 else torch.float32)
    return x.numpy().transpose(0, 2, 3, 1)


def channels_first(x):
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def sharpen(scheduler):
    """diffusers' tables, remade in float64: in float32 they are good to four digits near the data."""
    kept = torch.cumprod(1 - scheduler.betas.double(), 0)
    scheduler.alphas_cumprod = kept
    if hasattr(scheduler, "final_alpha_cumprod"):
        scheduler.final_alpha_cumprod = torch.ones(()).double() if scheduler.config.set_alpha_to_one else kept[0]
    if hasattr(scheduler, "one"):
        scheduler.one = scheduler.one.double()
    if hasattr(scheduler, "sigmas"):
        table = torch.sqrt((1 - kept) / kept).numpy()
        levels = np.interp(scheduler.timesteps, np.arange(len(table)), table)
        last = 0.0 if scheduler.sigmas[-1] == 0 else table[0]
        scheduler.sigmas = torch.from_numpy(np.append(levels, last))


def ours(config, steps, start, net=network, *, over_alpha=False, step=None, asked=None):
    """The sampler that our reader makes from a file or from entries."""
    scheduler = from_diffusers(config, **(asked or {"steps": steps}))
    predict = functools.partial(net, jnp)
    step = scheduler.step(predict) if step is None else step(scheduler.path)

    @jax.jit
    def run(x):
        end = sample(step, scheduler.denoiser(predict), KEY, scheduler.start * x, scheduler.grid)
        # Where some noise is left, those of theirs that work on x / alpha return x / alpha.
        return end / scheduler.path.alpha(scheduler.grid[-1]) if over_alpha else end

    return np.asarray(run(jnp.asarray(start)))


def start(steps=0):
    return np.random.default_rng(steps).standard_normal(SHAPE)


def difference(a, b):
    """The largest difference, relative to the largest value."""
    assert np.isfinite(a).all()
    assert np.isfinite(b).all()
    return float(np.abs(a - b).max() / np.abs(b).max())


def case(name, steps, net=network, **options):
    kept = {k: v for k, v in options.items() if k not in ("beta_schedule", "beta_start", "beta_end")}
    label = "-".join([name.removesuffix("Scheduler"), str(steps), options.get("beta_schedule", "")])
    label += "".join(f"-{v if isinstance(v, str) else k + '=' + str(v)}" for k, v in kept.items())
    return pytest.param(name, steps, options, net, id=label)


K = ("EulerDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler")
S = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler")
TRAILING, LEADING, EVEN = ({"timestep_spacing": name} for name in ("trailing", "leading", "linspace"))
FREE = {"clip_sample": False}
KARRAS = {"use_karras_sigmas": True}
RESPACED = ({}, KARRAS, {"use_exponential_sigmas": True}, {"use_beta_sigmas": True})
LAST = {"final_sigmas_type": "sigma_min"}
SINGLE, FLOW = "DPMSolverSinglestepScheduler", "FlowMatchEulerDiscreteScheduler"
K2 = ("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")
BACK = "DPMSolverMultistepInverseScheduler"
FLOWING = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
DYNAMIC = {"use_dynamic_shifting": True}

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
    *(case(name, 9, **COSINE, **V, **LEADING) for name in K),
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
    *(case(name, 10, **COSINE, **X0, **TRAILING) for name in S[:2]),
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
    # The last two levels are equal.
    *(case(SINGLE, n, **SCALED, **KARRAS, **LAST, solver_order=2) for n in (1, 2, 6, 7, 10, 20)),
    *(case(SINGLE, n, **LINEAR, **KARRAS, **LAST, **V, solver_order=3) for n in (1, 3, 5, 6, 10, 12, 20)),
    *(case(SINGLE, n, **SCALED, **KARRAS, **LAST, solver_order=3, solver_type="heun") for n in (9, 11)),
    case(SINGLE, 12, **SCALED, **KARRAS, **LAST, **X0, solver_order=2, lower_order_final=True),
    case(SINGLE, 12, **SCALED, **KARRAS, **LAST, **X0, solver_order=3, lower_order_final=True),
    case(SINGLE, 12, **SCALED, **KARRAS, **LAST, solver_order=2, algorithm_type="sde-dpmsolver++"),
    case(SINGLE, 12, **SCALED, **LAST, use_exponential_sigmas=True, solver_order=2, solver_type="heun"),
    case(SINGLE, 12, **SCALED, **LAST, use_beta_sigmas=True, solver_order=3),
    *(case(name, 9, **SCALED, **KARRAS, **LAST) for name in (S[0], S[1])),
    case(S[0], 20, **SCALED, **KARRAS, **LAST, algorithm_type="sde-dpmsolver++"),
    case(S[1], 20, **SCALED, **KARRAS, **LAST, solver_order=3),
    case("DEISMultistepScheduler", 9, **SCALED, **KARRAS, solver_order=3),
    case("DEISMultistepScheduler", 10, **SCALED, solver_order=3),
    case("DEISMultistepScheduler", 20, **LINEAR, **V, solver_order=3, lower_order_final=False),
    case("UniPCMultistepScheduler", 10, **SCALED, solver_order=1),
    case("UniPCMultistepScheduler", 10, **SCALED, solver_order=3),
    case("UniPCMultistepScheduler", 20, **LINEAR, **V, solver_order=3, final_sigmas_type="sigma_min"),
    case("UniPCMultistepScheduler", 10, **SCALED, solver_type="bh1", final_sigmas_type="sigma_min"),
    # PNDM.
    case("PNDMScheduler", 10, **SCALED, skip_prk_steps=True, steps_offset=1),
    case("PNDMScheduler", 10, **LINEAR, skip_prk_steps=True, set_alpha_to_one=True, **TRAILING),
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
    *(case(FLOW, n, shift_terminal=0.1, shift=3.0, **r) for n in (2, 3, 13) for r in RESPACED),
    case(FLOW, 8, shift_terminal=0.1),
    *(case(FLOW, 1, **r) for r in RESPACED),
    case("FlowMatchEulerDiscreteScheduler", 8, **KARRAS),
    case("FlowMatchEulerDiscreteScheduler", 8, stochastic_sampling=True),
    case("FlowMatchEulerDiscreteScheduler", 8, invert_sigmas=True, shift=2.0),
    case("FlowMatchHeunDiscreteScheduler", 8),
    case("FlowMatchHeunDiscreteScheduler", 7, shift=3.0),
    # Solvers of diffusion on the levels of flow matching.
    *(case(name, n, **FLOWING, flow_shift=3.0) for name in (*S, SINGLE) for n in (6, 20)),
    *(case(name, 9, **FLOWING, **LAST) for name in S[:2]),
    case(S[0], 9, use_flow_sigmas=True, **X0, thresholding=True, solver_type="heun"),
    case(S[0], 9, use_flow_sigmas=True, **NOISE),
    case(S[0], 9, **FLOWING, algorithm_type="sde-dpmsolver++"),
    case(S[1], 9, **FLOWING, shift_terminal=0.1, solver_order=3),
    case(S[1], 9, **FLOWING, **KARRAS, **SCALED),
    case(S[1], 9, **FLOWING, **KARRAS, **LAST),
    # KDPM2.
    *(case(name, 10, **SCALED) for name in K2),
    *(case(name, 9, **LINEAR, **V, **LEADING, steps_offset=1) for name in K2),
    *(case(name, 8, **SCALED, **r) for name in K2 for r in RESPACED[1:]),
    *(case(name, 8, **COSINE, **V, **LEADING) for name in K2),
    case(K2[0], 1, **SCALED),
    # From data to noise.
    case(BACK, 10, **SCALED),
    case(BACK, 20, **LINEAR, **V, solver_type="heun", **LEADING, steps_offset=1),
    case(BACK, 10, **SCALED, **X0, solver_order=1, **TRAILING),
    case(BACK, 10, **COSINE, lambda_min_clipped=-5.1),
    *(case(BACK, 9, **SCALED, **r) for r in RESPACED[1:]),
    # Networks that were distilled.
    *(case("LCMScheduler", n) for n in (1, 4, 7)),
    case("LCMScheduler", 4, **V, original_inference_steps=30, timestep_scaling=1.0, clip_sample=True),
    case("LCMScheduler", 4, **X0, **LINEAR, timestep_scaling=0.01, thresholding=True, sample_max_value=1.2),
    *(case("TCDScheduler", n) for n in (1, 4, 8)),
    case("TCDScheduler", 4, **V, **LINEAR, original_inference_steps=25),
    case("TCDScheduler", 4, **X0, rescale_betas_zero_snr=True),
    *(case("CMStochasticIterativeScheduler", n) for n in (1, 2, 5)),
    case("CMStochasticIterativeScheduler", 4, num_train_timesteps=20, s_noise=1.1, rho=5.0, clip_denoised=False),
]


@pytest.mark.parametrize(("name", "steps", "options", "net"), CASES)
def test_sampler_from_the_file_is_their_loop(name, steps, options, net, monkeypatch, tmp_path):
    scheduler, noise = make(name, **options), start(steps)
    scheduler.save_pretrained(tmp_path)
    # Theirs by default mixes a clipped x0 with the noise from before clipping.
    extra = {"use_clipped_model_output": True} if name == "DDIMScheduler" else {}
    # The largest level is 998.99999 in the table, and they cut off the fraction.
    told = {0: 999} if options.get("use_exponential_sigmas") and name in (*S, SINGLE) else None
    if name == K2[1]:
        # They ask at the next level twice, and round its number the second time alone.
        scheduler.set_timesteps(steps)
        told = {i - 1: scheduler.timesteps[i] for i in range(2, len(scheduler.timesteps), 2)}
    want = theirs(scheduler, steps, noise, net, monkeypatch=monkeypatch, told=told, **extra)
    assert difference(ours(tmp_path, steps, noise, net, over_alpha=name in K), want) < 1e-4


CHOSEN = [
    ("DDPMScheduler", {**LINEAR}, {"timesteps": [999, 700, 420, 100, 3]}),
    ("EulerDiscreteScheduler", {**SCALED}, {"timesteps": [951, 700, 420, 100, 3]}),
    ("EulerDiscreteScheduler", {**SCALED}, {"sigmas": [14.6, 6.3, 3.0, 1.1, 0.2, 0.03]}),
    ("EulerDiscreteScheduler", {**SCALED, **V}, {"sigmas": [14.615, 6.475, 2.697, 0.886, 0.152, 0.0]}),
    ("HeunDiscreteScheduler", {**SCALED}, {"timesteps": [951, 700, 420, 100, 3]}),
    ("DPMSolverMultistepScheduler", {**SCALED}, {"timesteps": [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]}),
    ("DPMSolverSinglestepScheduler", {**SCALED}, {"timesteps": [999, 730, 443, 193, 53, 13]}),
    ("LCMScheduler", {}, {"timesteps": [999, 679, 339]}),
    ("TCDScheduler", {}, {"timesteps": [999, 679, 339, 19]}),
    ("CMStochasticIterativeScheduler", {}, {"timesteps": [22, 0]}),
    (FLOW, {"shift": 3.0}, {"sigmas": [1.0, 0.8, 0.5, 0.1]}),
    (FLOW, {"shift": 2.0}, {"timesteps": [1000.0, 700.0, 250.5]}),
    (FLOW, {**DYNAMIC}, {"num_inference_steps": 7, "mu": 0.8}),
    (FLOW, {**DYNAMIC, "time_shift_type": "linear", "shift_terminal": 0.1}, {"num_inference_steps": 7, "mu": 2.5}),
    (FLOW, {**DYNAMIC}, {"sigmas": [1.0, 0.7, 0.4, 0.1], "mu": 1.15}),
    ("UniPCMultistepScheduler", {**FLOWING, **DYNAMIC}, {"num_inference_steps": 7, "mu": 0.8}),
    ("UniPCMultistepScheduler", {**FLOWING, "flow_shift": 2.0}, {"sigmas": np.array([1.0, 0.8, 0.5, 0.1])}),
    *((name, {**FLOWING, **DYNAMIC}, {"num_inference_steps": 8, "mu": 0.8}) for name in (S[0], S[2], SINGLE)),
]


@pytest.mark.parametrize(("name", "options", "asked"), CHOSEN)
def test_timesteps_levels_and_shifts_that_are_chosen(name, options, asked, monkeypatch, tmp_path):
    scheduler, noise = make(name, **options), start()
    scheduler.save_pretrained(tmp_path)
    want = theirs(scheduler, 10, noise, monkeypatch=monkeypatch, asked=asked)
    mine = {"steps" if key == "num_inference_steps" else key: value for key, value in asked.items()}
    assert difference(ours(tmp_path, None, noise, asked=mine, over_alpha=name in K), want) < 1e-4


PRECISE = [
    case("DDPMScheduler", 10, **LINEAR),
    case("DDPMScheduler", 8, **COSINE, **V, **EVEN, **FREE),
    case("DDPMScheduler", 8, **SCALED, variance_type="learned_range", net=double),
    case("DDIMScheduler", 10, **COSINE, **TRAILING),
    case("DDIMScheduler", 10, **SCALED, **V, steps_offset=1, set_alpha_to_one=False, **FREE),
    case("LMSDiscreteScheduler", 9, **COSINE, **V, **TRAILING),
    case("LMSDiscreteScheduler", 10, **LINEAR, **X0),
    case("UniPCMultistepScheduler", 10, **COSINE, **TRAILING, **X0),
    case("UniPCMultistepScheduler", 20, **LINEAR, **V, solver_order=3),
    case("UniPCMultistepScheduler", 10, **SCALED, solver_type="bh1", final_sigmas_type="sigma_min"),
    case("DEISMultistepScheduler", 10, **COSINE, **X0, **TRAILING),
    case("DEISMultistepScheduler", 10, **SCALED, solver_order=3),
    case("DPMSolverSinglestepScheduler", 10, **SCALED),
    case("DPMSolverSinglestepScheduler", 9, **COSINE, **V, solver_order=3, solver_type="heun"),
    case("DPMSolverSinglestepScheduler", 8, **SCALED, algorithm_type="sde-dpmsolver++"),
    case("PNDMScheduler", 10, **SCALED, skip_prk_steps=True, steps_offset=1),
    case("PNDMScheduler", 10, **LINEAR),
    case("HeunDiscreteScheduler", 9, **COSINE, **V, **TRAILING),
    # Its last step divides two numbers that have four digits in float32.
    case("UnCLIPScheduler", 10),
    case("UnCLIPScheduler", 7, **X0, clip_sample_range=2.0),
    case("UnCLIPScheduler", 8, variance_type="learned_range", net=double, clip_sample=False),
]


@pytest.mark.parametrize(("name", "steps", "options", "net"), PRECISE)
def test_sampler_from_the_file_is_their_loop_in_float64(name, steps, options, net, monkeypatch, tmp_path):
    """Theirs with its tables in float64 too; the others of theirs turn x into float32."""
    scheduler, noise = make(name, **options), start(steps)
    scheduler.save_pretrained(tmp_path)
    extra = {"use_clipped_model_output": True} if name == "DDIMScheduler" else {}
    with jax.enable_x64(True):
        want = theirs(scheduler, steps, noise, net, dtype=np.float64, monkeypatch=monkeypatch, **extra)
        assert difference(ours(tmp_path, steps, noise, net), want) < 1e-6


@pytest.mark.parametrize(("name", "prediction"), [*((name, V) for name in K), (S[2], X0)])
def test_float32_where_theirs_loses_its_digits(name, prediction, monkeypatch):
    """On the cosine table sigma / alpha reaches 20000: x / alpha in float32, and DEIS's logarithms, cancel in theirs.

    The sums of ours are written in x. In float32 it stays near what both say in float64; theirs does not. (Their Euler
    has no float64.)
    """
    scheduler, steps = make(name, **COSINE, **prediction, **TRAILING), 10
    config = {**scheduler.config, "_class_name": name}
    noise = start(steps)
    with jax.enable_x64(True):
        truth = ours(config, steps, noise)
        if name != "EulerDiscreteScheduler":
            precise = theirs(scheduler, steps, noise, dtype=np.float64, monkeypatch=monkeypatch)
            assert difference(precise, truth) < 1e-6
    assert difference(ours(config, steps, noise), truth) < 1e-5
    scheduler = make(name, **COSINE, **prediction, **TRAILING)
    assert difference(theirs(scheduler, steps, noise, monkeypatch=monkeypatch), truth) > 1e-4


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ddim_with_noise(eta, monkeypatch):
    scheduler, noise = make("DDIMScheduler", **SCALED, clip_sample=False), start()
    want = theirs(scheduler, 10, noise, monkeypatch=monkeypatch, eta=eta)
    config = {**scheduler.config, "_class_name": "DDIMScheduler"}
    assert difference(ours(config, 10, noise, step=lambda path: samplers.ddim(path, eta)), want) < 1e-4


def test_ddim_inversion(monkeypatch):
    """Theirs tells the network the number of where the step ends, at x of where it begins; so does ours, told to."""
    scheduler = make("DDIMInverseScheduler", **SCALED, **V, steps_offset=1, clip_sample=False, set_alpha_to_one=False)
    clean, steps = start(), 10
    want = theirs(scheduler, steps, clean, monkeypatch=monkeypatch)
    s = from_diffusers({**scheduler.config, "_class_name": "DDIMScheduler"}, steps)
    times = s.grid[::-1]

    def ahead(x, number):
        return network(jnp, x, number)

    def denoise(x, t):
        told = jnp.interp(t, times[:-1], s.number(times[1:]))
        return samplers.denoiser(lambda x, t: ahead(x, told), s.path, s.prediction)(x, t)

    got = sample(samplers.invert(s.path), denoise, KEY, jnp.asarray(clean, jnp.float32), times)
    assert difference(np.asarray(got), want) < 1e-4


def test_a_u_net(monkeypatch):
    """The same weights in a PyTorch U-Net under diffusers and in ours under our sampler."""
    peer = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "torch_unet.py"))
    size = {"channels": (8, 16), "blocks": 1}
    net, rng = unet(2, **size), np.random.default_rng(3)
    x = jnp.asarray(rng.standard_normal((2, 8, 8, 2)), jnp.float32)
    params = net.init(jax.random.key(0), x, jnp.ones(2))
    params = jax.tree.map(lambda p: jnp.asarray(p + 0.1 * rng.standard_normal(p.shape), jnp.float32), params)
    module = peer["UNet"](2, 2, time=True, **size)
    peer["load"](module, params)

    def both(m, x, number):
        if m is torch:
            with torch.no_grad():
                return module(x, torch.full((len(x),), float(number) / 1000))
        return net.apply(params, x, jnp.full(len(x), number / 1000))

    scheduler = make("DPMSolverMultistepScheduler", **SCALED)
    want = theirs(scheduler, 8, np.asarray(x), both, monkeypatch=monkeypatch)
    config = {**scheduler.config, "_class_name": "DPMSolverMultistepScheduler"}
    assert difference(ours(config, 8, np.asarray(x), both), want) < 1e-4


# Where diffusers is wrong.


@pytest.mark.parametrize("stochastic", [False, True])
def test_their_third_order_is_none(stochastic, monkeypatch):
    """The parabola's term of DPM-Solver++ (3M): theirs has half of it, and with noise also a wrong sign.

    With x0(v) = D0 + D1 v + D2 v^2 over the step, v in [0, 1], D2's weight is the integral of ``k h e^(-k h (1 - v))
    v^2``, k = 1 or, with noise, 2. Theirs is half of that with ``+ 1/2 - 1/2`` in place of ``+ 1``: with noise it tends
    to -1, not 0, for short steps. With the right weight in its place, theirs is ours.
    """
    rate = 2 if stochastic else 1
    weights = []

    class Mended(diffusers.DPMSolverMultistepScheduler):
        def multistep_dpm_solver_third_order_update(self, outputs, *args, sample, noise=None, **kwargs):
            x = super().multistep_dpm_solver_third_order_update(outputs, sample=sample, noise=noise)
            levels = [self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index + i].double()) for i in (1, 0, -1, -2)]
            log_ratio = [float(torch.log(a) - torch.log(s)) for a, s in levels]
            h = log_ratio[0] - log_ratio[1]
            r0, r1 = ((log_ratio[i] - log_ratio[i + 1]) / h for i in (1, 2))
            m0, m1, m2 = outputs[-1], outputs[-2], outputs[-3]
            parabola = ((m0 - m1) / r0 - (m1 - m2) / r1) / (r0 + r1)
            right = scipy.integrate.quad(lambda v: rate * h * np.exp(-rate * h * (1 - v)) * v**2, 0, 1)[0]
            k = rate * h
            wrong = (1 - np.exp(-k) - k) / k**2 + (-0.5 if stochastic else 0.5)
            weights.append((right, wrong))
            return (x + float(levels[0][0]) * (right - wrong) * parabola).float()

    options = {**SCALED, "solver_order": 3, "algorithm_type": "sde-dpmsolver++" if stochastic else "dpmsolver++"}
    steps, noise = 16, start()
    config = {**make("DPMSolverMultistepScheduler", **options).config, "_class_name": "DPMSolverMultistepScheduler"}
    got = ours(config, steps, noise)
    module = importlib.import_module(diffusers.DPMSolverMultistepScheduler.__module__)
    drawn, now = noises(steps, np.float32), iter(range(steps))
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: channels_first(drawn[next(now)]))
    assert difference(got, theirs(Mended(**options), steps, noise, monkeypatch=monkeypatch)) < 1e-4
    right, wrong = np.array(weights).T
    np.testing.assert_allclose(wrong if not stochastic else wrong + 1, right / 2, rtol=1e-6)
    now = iter(range(steps))
    plain = theirs(make("DPMSolverMultistepScheduler", **options), steps, noise, monkeypatch=monkeypatch)
    assert difference(got, plain) > (1e-2 if stochastic else 1e-4)


def test_their_bh1_is_not_a_number(monkeypatch):
    """UniPC with bh1 multiplies an infinite step by no correction in the last step to sigma = 0."""
    scheduler, noise = make("UniPCMultistepScheduler", **SCALED, solver_type="bh1"), start()
    assert np.isnan(theirs(scheduler, 10, noise, monkeypatch=monkeypatch)).all()
    config = {**scheduler.config, "_class_name": "UniPCMultistepScheduler"}
    got = ours(config, 10, noise)
    assert np.isfinite(got).all()
    bh2 = ours({**config, "solver_type": "bh2"}, 10, noise)
    assert 1e-5 < difference(got, bh2) < 0.1


@pytest.mark.parametrize("name", ["DDIMScheduler", "PNDMScheduler"])
def test_their_steps_miss_the_next_time(name, monkeypatch):
    """Theirs steps by ``T // steps`` entries, whatever the spacing: the next step then begins somewhere else.

    Seen with data of one point, for which every x_t is known: x_t - alpha x0 is the first noise times sigma.
    """
    options = {"clip_sample": False} if name == "DDIMScheduler" else {"skip_prk_steps": True}
    scheduler, noise, point = make(name, **LINEAR, **EVEN, **options), start(), 0.7
    kept = scheduler.alphas_cumprod
    alphas, sigmas = kept**0.5, (1 - kept) ** 0.5
    off = []

    def told(m, x, number):
        where = int(number)
        off.append(float((x - alphas[where] * point - sigmas[where] * channels_first(noise)).abs().max()))
        return (x - alphas[where] * point) / sigmas[where]

    # Start on the path: at x_T of this point and this noise.
    begin = np.asarray(alphas[-1]) * point + np.asarray(sigmas[-1]) * noise
    theirs(scheduler, 9, begin, told, monkeypatch=monkeypatch)
    assert off[0] < 1e-5
    assert max(off) > 0.1

    s = from_diffusers({**scheduler.config, "_class_name": name}, 9)
    kept = sample(s.step(None), lambda x, t: point + 0 * x, KEY, jnp.asarray(begin, jnp.float32), s.grid, keep=True)
    for x, t in zip(kept, s.grid, strict=True):
        np.testing.assert_allclose(x, s.path.alpha(t) * point + s.path.sigma(t) * noise, atol=2e-5)


def test_their_pndm_combines_v(monkeypatch):
    """Theirs combines the last v and turns the result into a noise with the present x: not what PNDM does.

    Seen with exact answers for normal data: noise or v, both say the same, and theirs errs far more when told v.
    """
    steps, spread, noise = 50, 0.5, start()
    kept = torch.cumprod(1 - make("PNDMScheduler", **LINEAR).betas.double(), 0)
    first = float((kept[-1] * spread**2 + 1 - kept[-1]) ** 0.5)

    def exact(m, x, number, kind):
        table = kept if m is torch else jnp.asarray(kept.numpy())
        where = int(number) if m is torch else jnp.round(number).astype(int)
        a, s = table[where] ** 0.5, (1 - table[where]) ** 0.5
        x0 = a * spread**2 / (a**2 * spread**2 + s**2) * x
        e = (x - a * x0) / s
        return e if kind == "epsilon" else a * e - s * x0

    errors = {}
    for kind in ("epsilon", "v_prediction"):
        options = {**LINEAR, **TRAILING, "prediction_type": kind, "skip_prk_steps": True, "set_alpha_to_one": True}
        scheduler, net = make("PNDMScheduler", **options), functools.partial(exact, kind=kind)
        config = {**scheduler.config, "_class_name": "PNDMScheduler"}
        with jax.enable_x64(True):
            end = theirs(scheduler, steps, first * noise, net, dtype=np.float64, monkeypatch=monkeypatch)
            errors[kind] = [np.abs(x - spread * noise).max() for x in (end, ours(config, steps, first * noise, net))]
    (theirs_noise, ours_noise), (theirs_v, ours_v) = errors.values()
    np.testing.assert_allclose([ours_noise, ours_v], theirs_noise, rtol=1e-4)
    assert theirs_v > 20 * theirs_noise


def test_their_last_ancestral_step_adds_noise(monkeypatch):
    """DDPM with the large variance ends with a draw of noise on the data unless it ends at entry 0 of the table."""
    scheduler, noise = (
        make("DDPMScheduler", **LINEAR, **TRAILING, variance_type="fixed_large", clip_sample=False),
        start(),
    )
    want = theirs(scheduler, 10, noise, monkeypatch=monkeypatch)
    got = ours({**scheduler.config, "_class_name": "DDPMScheduler"}, 10, noise)
    added = float((1 - scheduler.alphas_cumprod[99]) ** 0.5) * noises(10, np.float32)[-1]
    assert difference(got, want - added) < 1e-4
    assert np.abs(added).max() > 0.3


def test_their_ddim_clips_by_half(monkeypatch):
    """DDIM's default keeps the noise from before clipping, so that x_t is no mix of the clipped x0 and its noise."""
    scheduler, noise = make("DDIMScheduler", **LINEAR, clip_sample_range=0.3), start()
    got = ours({**scheduler.config, "_class_name": "DDIMScheduler"}, 10, noise)
    assert difference(got, theirs(scheduler, 10, noise, monkeypatch=monkeypatch, use_clipped_model_output=True)) < 1e-4
    assert difference(got, theirs(scheduler, 10, noise, monkeypatch=monkeypatch)) > 1e-2


def test_their_zero_snr_is_not_monotone():
    """The finite level that theirs puts for the infinite one lies below its neighbour's on the linear table."""
    scheduler = make("EulerDiscreteScheduler", **LINEAR, rescale_betas_zero_snr=True)
    levels = torch.sqrt((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod)
    assert levels[-2] > 3 * levels[-1]


@pytest.mark.parametrize("begin", [1, 4, 7])
def test_their_lms_errs_where_it_is_entered_midway(begin, monkeypatch):
    """Theirs then weighs the noises that it has as if there had been more: not even a constant noise is carried.

    Seen with data of one point and its true noise, as image-to-image starts: any order is exact.
    """
    steps, point, noise = 10, 0.7, start()
    scheduler = make("LMSDiscreteScheduler", **SCALED)
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(begin)
    first = channels_first(noise).float()
    x = scheduler.add_noise(torch.full_like(first, point), first, scheduler.timesteps[begin : begin + 1])
    for t in scheduler.timesteps[begin:]:
        x = scheduler.step(first, t, x).prev_sample
    assert float((x - point).abs().max()) > 0.1

    s = from_diffusers({**scheduler.config, "_class_name": "LMSDiscreteScheduler"}, steps)
    grid = s.grid[begin:]
    x = jnp.asarray(s.path.alpha(grid[0]) * point + s.path.sigma(grid[0]) * noise, jnp.float32)
    end = sample(s.step(None), lambda x, t: point + 0 * x, KEY, x, grid)
    np.testing.assert_allclose(end, point, atol=1e-5)


def test_their_shifted_last_level_of_one_step_is_not_a_number(monkeypatch):
    """Theirs stretches the levels until the last is as asked for; one level has nothing to stretch."""
    noise = start()
    for more in RESPACED:
        scheduler = make(FLOW, shift_terminal=0.1, **more)
        with np.errstate(all="ignore"):
            scheduler.set_timesteps(1)
        assert bool(scheduler.sigmas[0].isnan())
        got = ours({**scheduler.config, "_class_name": FLOW}, 1, noise)
        assert difference(got, theirs(make(FLOW, **more), 1, noise, monkeypatch=monkeypatch)) < 1e-4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (S[0], {**SCALED, **KARRAS, "solver_type": "heun"}),
        (S[0], {**LINEAR, "use_beta_sigmas": True, "solver_type": "heun", **V}),
        ("EDMDPMSolverMultistepScheduler", {"solver_type": "heun"}),
    ],
)
def test_their_step_between_equal_levels_is_not_a_number(name, options, monkeypatch):
    """Theirs divides by the length of the step, 0, where the last level comes twice: `heun` shows it."""
    options = {**options, "lower_order_final": False}
    scheduler, noise = make(name, **options, **LAST), start()
    assert np.isnan(theirs(scheduler, 9, noise, monkeypatch=monkeypatch)).all()
    # The step leads nowhere, whatever its order: of order 1 it is right there too.
    want = theirs(make(name, **options, **LAST, euler_at_final=True), 9, noise, monkeypatch=monkeypatch)
    got = ours({**scheduler.config, "_class_name": name}, 9, noise)
    assert difference(got, want) < 1e-4


def test_their_one_exponential_level_is_the_smallest(monkeypatch):
    """Theirs counts from the smallest level up: with one step it starts from noise that it takes for none."""
    noise = start()
    scheduler = make("EDMEulerScheduler", sigma_schedule="exponential")
    scheduler.set_timesteps(1)
    assert float(scheduler.sigmas[0]) == pytest.approx(0.002)
    config = {**scheduler.config, "_class_name": "EDMEulerScheduler"}
    want = theirs(make("EDMEulerScheduler"), 1, noise, monkeypatch=monkeypatch)
    assert difference(ours(config, 1, noise), want) < 1e-4
