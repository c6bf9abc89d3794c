"""Posterior samplers of accelerated MRI compared with deepinv: ``python -m benchmarks.reconstruction``.

The same network (our U-Net, its weights copied into the equal PyTorch module), the same operator and measurements, the
same number of evaluations, counted on both sides. Network and operator must agree before anything is timed; samples
are random and cannot. DDRM has no counterpart here: DDNM+ is compared with it, which asks the network as often and uses
the same singular vectors. A batch of slices and the same slices one by one are timed in turns, in seconds per slice.
Ratios are the peer's time over ours: above 1, jaxgen is faster. PyTorch runs eagerly, in the faster of its two memory
formats.
"""

import argparse
import copy
import runpy
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import common

TOLERANCE = 1e-4
"""Largest relative difference of networks and operators."""
NOISE = 0.01
"""Of the measurements; what DDRM takes where the operator does not say."""
STEPS = {"DPS": 50, "DiffPIR": 20, "DDRM": 20}
"""Evaluations of the network; those of DPS with their gradient."""

COLUMNS = {
    "case": "case",
    "side": "side",
    "value": "s/slice",
    "one_by_one": "s/slice, one by one",
    "cpu_seconds": "CPU s",
    "evaluations": "evaluations",
    "compile_seconds": "compile s",
    "ratio": "ratio",
    "one_by_one_ratio": "ratio, one by one",
    "cpu_ratio": "CPU ratio",
}


class Problem(NamedTuple):
    """What both sides work on: our denoiser's parts, the peer's module, k-space and its mask, and slices."""

    net: Any
    params: Any
    module: Any
    path: Any
    x: Any
    mask: Any


def make(*, quick: bool, slices: int) -> Problem:
    """A U-Net with random weights on both sides, phantom slices and a mask of random columns at 4x."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from benchmarks import torch_unet
    from jaxgen import paths, schedules
    from jaxgen.data.phantoms import brain2d
    from jaxgen.imaging.sampling_masks import random_mask
    from jaxgen.nets import unet

    size, widths, attention = (16, (8, 16), ()) if quick else (64, (32, 64, 96), (2,))
    options: dict[str, Any] = {"channels": widths, "blocks": 1, "attention": attention, "patch": 1 if quick else 2}
    net = unet(2, **options)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, size, size, 2)), jnp.zeros(1))
    rng = np.random.default_rng(0)
    # The last layers start at 0, and would hide a wrong network.
    params = jax.tree.map(lambda leaf: leaf + 0.05 * rng.standard_normal(leaf.shape).astype(np.float32), params)
    module = torch_unet.UNet(2, 2, time=True, **options).eval()
    torch_unet.load(module, params)
    magnitude = np.stack([brain2d(0, i, size=size)["image"] for i in range(slices)])
    x = np.concatenate([magnitude, 0.3 * magnitude], -1).astype(np.float32)
    mask = np.asarray(random_mask(jax.random.key(2), (size, size), 4))
    return Problem(net, params, module, paths.discrete(schedules.linear_betas(1000)), x, mask)


def our_samplers(problem: Problem, steps: dict[str, int]) -> dict[str, Callable]:
    """Each ``(params, keys [b], y) -> images``, to be compiled."""
    import jax
    import jax.numpy as jnp

    from jaxgen import draws
    from jaxgen.imaging.mri import mri_operator
    from jaxgen.medical import reconstruction
    from jaxgen.samplers import clip, ddpm, denoiser, grids, renewal, sample

    path, operator = problem.path, mri_operator(jnp.asarray(problem.mask), channels=2)

    def make(name: str) -> Callable:
        grid = grids.uniform(path, steps[name])

        def run(params: Any, keys: Any, y: Any) -> Any:
            noise_keys, step_keys = draws.split(keys, 2)
            network = denoiser(lambda x, t: problem.net.apply(params, x, t), path, "noise")
            denoise, step = clip(network), ddpm(path)
            if name == "DPS":
                step = reconstruction.dps(step, operator, y, 1.0)
            elif name == "DiffPIR":
                denoise = reconstruction.diffpir(denoise, operator, y, path, noise=NOISE)
                step = renewal(path, 0.1)
            else:
                step = reconstruction.ddnm_plus(path, operator, y, noise=NOISE)
            noise = draws.normal(noise_keys, (len(keys), *problem.x.shape[1:]))
            return sample(step, denoise, step_keys, noise, grid)

        return jax.jit(run)

    return {name: make(name) for name in steps}


def their_samplers(
    problem: Problem, module: Any, deepinv: Any, steps: dict[str, int]
) -> tuple[dict[str, Callable], Any, list[int], Any]:
    """Each ``y -> images``; the operator; how often the network was asked; the network as their denoiser."""
    import numpy as np
    import torch

    times = np.arange(1, 1001) / 1000
    log_noise = np.log(np.float64(problem.path.sigma(times)) / np.float64(problem.path.alpha(times)))
    asked = [0]

    class Denoiser(torch.nn.Module):
        """Their denoisers take ``x0 + sigma noise`` of images in [0, 1]; the network the path's states, in [-1, 1]."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Any, sigma: Any, **_: Any) -> Any:
            asked[0] += 1
            noise = 2 * float(torch.as_tensor(sigma).flatten()[0])
            t = float(np.interp(np.log(max(noise, 1e-8)), log_noise, times))
            x = 2 * x - 1
            found = self.module(x / (1 + noise**2) ** 0.5, torch.full((len(x),), t))
            return (x - noise * found + 1) / 2

    network = Denoiser()
    mask = torch.from_numpy(np.array(problem.mask))
    # With a noise model, DiffPIR would build its table of 1000 noise levels anew for every reconstruction.
    operator = deepinv.physics.MRI(mask=mask)
    sampling, fidelity = deepinv.sampling, deepinv.optim.data_fidelity.L2()
    made = {
        "DPS": sampling.DPS(network, num_steps=steps["DPS"] + 1, dtype=torch.float32),
        "DiffPIR": sampling.DiffPIR(network, fidelity, sigma=NOISE, max_iter=steps["DiffPIR"], zeta=0.1),
        "DDRM": sampling.DDRM(network, sigmas=np.linspace(1, 0.01, steps["DDRM"])),
    }
    return {name: lambda y, m=m: m(y, operator) for name, m in made.items()}, operator, asked, network


def check_equal(problem: Problem, y: Any, operator: Any, network: Any) -> dict[str, float]:
    """The relative differences of network and operator.

    Raises:
        SystemExit: if they do not agree.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch

    from benchmarks import diffusers_unet

    x, path, t = problem.x, problem.path, 0.4
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    found = jax.jit(problem.net.apply)(problem.params, jnp.asarray(x), jnp.full(len(x), t))
    ours = (x - sigma * found) / alpha
    with torch.inference_mode():
        theirs = 2 * network((diffusers_unet.to_torch(x / alpha) + 1) / 2, sigma / alpha / 2) - 1
        measured = operator.A(diffusers_unet.to_torch(x))
    parts = np.concatenate([np.asarray(y).real, np.asarray(y).imag], -1)
    errors = {"network": diffusers_unet.relative(ours, theirs), "operator": diffusers_unet.relative(parts, measured)}
    for name, error in errors.items():
        if not error < TOLERANCE:
            raise SystemExit(f"the {name} differs from the peer's by {error:.1e}, more than {TOLERANCE:.0e}")
    return errors


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """All cases, in this process."""
    import time

    torch = common.peer()
    torch.set_num_threads(arguments.threads)
    import jax
    import numpy as np

    from benchmarks import diffusers_unet
    from jaxgen.imaging.mri import mri_operator

    # It imports torchvision, which not every build of PyTorch has, and uses nothing of it here.
    deepinv = runpy.run_path(str(common.ROOT / "tests" / "peers" / "deepinv_import.py"))["import_deepinv"]()
    slices, rounds = (2, 2) if arguments.quick else (arguments.slices, arguments.rounds)
    steps = dict.fromkeys(STEPS, 4) if arguments.quick else STEPS
    problem = make(quick=arguments.quick, slices=slices)
    y = np.asarray(mri_operator(problem.mask, channels=2).forward(problem.x))
    keys = jax.random.split(jax.random.key(3), slices)
    formats = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
    modules = {name: copy.deepcopy(problem.module).to(memory_format=memory) for name, memory in formats.items()}
    given = {name: diffusers_unet.to_torch(problem.x).contiguous(memory_format=m) for name, m in formats.items()}
    with torch.inference_mode():
        tried = common.interleave(
            {name: lambda name=name: modules[name](given[name], torch.full((slices,), 0.5)) for name in formats}, 3
        )
    best = min(tried, key=lambda name: tried[name].median)
    theirs, operator, asked, network = their_samplers(problem, modules[best], deepinv, steps)
    errors = check_equal(problem, y, operator, network)
    their_y = torch.from_numpy(np.concatenate([y.real, y.imag], -1).transpose(0, 3, 1, 2).copy())
    about = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(problem.params)),
        "size": problem.x.shape[1],
        "slices": slices,
        "deepinv": deepinv.__version__,
        "unit": "s/slice",
        **{f"{name}_error": float(f"{error:.1e}") for name, error in errors.items()},
    }
    for case, ours in our_samplers(problem, steps).items():
        if arguments.case and case not in arguments.case:
            continue
        began = time.perf_counter()
        program = ours.lower(problem.params, keys, y).compile()
        compiled = time.perf_counter() - began
        single = ours.lower(problem.params, keys[:1], y[:1]).compile()

        def each(program: Any = single) -> None:
            for i in range(slices):
                jax.block_until_ready(program(problem.params, keys[i : i + 1], y[i : i + 1]))

        def their_each(sampler: Callable = theirs[case]) -> None:
            for i in range(slices):
                sampler(their_y[i : i + 1])

        asked[0] = 0
        x = theirs[case](their_y)
        if not bool(torch.isfinite(x).all()) or not np.isfinite(program(problem.params, keys, y)).all():
            raise SystemExit(f"{case}: a reconstruction is not finite")
        evaluations = asked[0]
        calls: dict[str, Any] = {
            "jaxgen": lambda program=program: jax.block_until_ready(program(problem.params, keys, y)),
            "deepinv": lambda sampler=theirs[case]: sampler(their_y),
            "jaxgen, one by one": each,
            "deepinv, one by one": their_each,
        }
        timings = common.interleave(calls, rounds, warm=1)
        own, peer, own_each, peer_each = (timings[name] for name in calls)
        log.add(
            case if case != "DDRM" else "DDNM+ compared with DDRM",
            side="jaxgen",
            value=own.median / slices,
            one_by_one=own_each.median / slices,
            evaluations=steps[case],
            compile_seconds=round(compiled, 2),
            **about,
            **own.summary(),
            ratio=round(peer.median / own.median, 3),
            one_by_one_ratio=round(peer_each.median / own_each.median, 3),
            cpu_ratio=round(peer.summary()["cpu_seconds"] / own.summary()["cpu_seconds"], 3),
        )
        log.add(
            case,
            side=f"deepinv {best}",
            value=peer.median / slices,
            one_by_one=peer_each.median / slices,
            evaluations=evaluations,
            **about,
            **peer.summary(),
        )


def main() -> None:
    parser = common.parser("DPS, DiffPIR and DDNM+ compared with deepinv, on the same network and operator.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each measurement")
    parser.add_argument("--slices", type=int, default=8, help="slices of a batch")
    parser.add_argument(
        "--case", choices=tuple(STEPS), action="append", help="may be given several times (default: all)"
    )
    arguments = parser.parse_args()
    common.peer_present("deepinv")
    common.set_threads(arguments.threads)
    log = common.Log("reconstruction", arguments)
    measure(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
