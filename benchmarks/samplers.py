"""Samplers compared with diffusers, with the same U-Net weights: ``python -m benchmarks.samplers``.

Both start from the same noise, and their images must agree before anything is timed. Then the whole loop and as many
plain forward passes are timed in turns. The overhead is what the loop takes beyond its forward passes. Ratios are the
peer's time over ours: above 1, jaxgen is faster. PyTorch runs eagerly, in the faster of its two memory formats.
"""

import argparse
import copy
from typing import Any

from benchmarks import common

TOLERANCE = 2e-3
"""Largest relative difference of the images, after tens of evaluations in float32."""

CASES = {
    "DDIM, 50 steps": ("DDIMScheduler", {"clip_sample": False}, 50, 50),
    "DPM-Solver++ 2M, 20 steps": ("DPMSolverMultistepScheduler", {}, 20, 20),
    "Heun, 18 steps": ("HeunDiscreteScheduler", {"use_karras_sigmas": True}, 18, 35),
}
"""The scheduler's class, its options, its steps, and how often it asks the network."""

COLUMNS = {
    "case": "case",
    "side": "side",
    "value": "images/s",
    "seconds": "median s",
    "cpu_seconds": "CPU s",
    "overhead": "overhead",
    "compile_seconds": "compile s",
    "error": "error",
    "ratio": "ratio",
    "cpu_ratio": "CPU ratio",
}


def _our_loop(pair: Any, config: dict[str, Any], steps: int) -> tuple[Any, Any]:
    import jax
    import jax.numpy as jnp

    from jaxgen.interop import schedulers
    from jaxgen.samplers import sample

    made = schedulers.from_diffusers(config, steps)

    @jax.jit
    def loop(params: Any, noise: Any) -> Any:
        def predict(x: Any, number: Any) -> Any:
            return pair.net.apply(params, x, jnp.broadcast_to(number, x.shape[:1]))

        return sample(made.step(predict), made.denoiser(predict), jax.random.key(0), made.start * noise, made.grid)

    @jax.jit
    def network(params: Any, x: Any) -> Any:
        return pair.net.apply(params, x, jnp.full(x.shape[:1], 500.0))

    return loop, network


def _their_loop(scheduler: Any, module: Any, noise: Any, steps: int) -> Any:
    import torch

    with torch.inference_mode():
        scheduler.set_timesteps(steps)
        x = noise * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            scaled = scheduler.scale_model_input(x, t)
            x = scheduler.step(module(scaled, t).sample, t, x).prev_sample
        return x


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """All cases, in this process."""
    import time

    torch = common.peer()
    torch.set_num_threads(arguments.threads)
    import diffusers
    import jax
    import numpy as np

    from benchmarks import diffusers_unet

    pair = diffusers_unet.make(quick=arguments.quick)
    rounds = 2 if arguments.quick else arguments.rounds
    noise = np.random.default_rng(0).standard_normal((pair.batch, *pair.shape)).astype(np.float32)
    formats = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
    modules = {name: copy.deepcopy(pair.module).to(memory_format=memory) for name, memory in formats.items()}
    inputs = {name: diffusers_unet.to_torch(noise).contiguous(memory_format=m) for name, m in formats.items()}
    with torch.inference_mode():
        tried = common.interleave({name: lambda name=name: modules[name](inputs[name], 500) for name in formats}, 3)
    best = min(tried, key=lambda name: tried[name].median)
    about = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(pair.params)),
        "size": pair.shape[0],
        "batch": pair.batch,
        "diffusers": diffusers.__version__,
        "unit": "images",
    }
    for case in arguments.case or CASES:
        kind, options, steps, evaluations = CASES[case]
        scheduler = getattr(diffusers, kind)(**options)
        config = {**dict(scheduler.config), "_class_name": kind}
        loop, network = _our_loop(pair, config, steps)
        began = time.perf_counter()
        program = loop.lower(pair.params, noise).compile()
        compiled = time.perf_counter() - began
        ours = jax.block_until_ready(program(pair.params, noise))
        theirs = _their_loop(scheduler, modules["nchw"], inputs["nchw"], steps)
        error = diffusers_unet.relative(ours, theirs)
        if not error < TOLERANCE:
            raise SystemExit(f"{case}: the images differ from diffusers' by {error:.1e}, more than {TOLERANCE:.0e}")

        def our_passes(network: Any = network, n: int = evaluations) -> None:
            x = noise
            for _ in range(n):
                x = network(pair.params, x)
            jax.block_until_ready(x)

        def their_passes(n: int = evaluations) -> None:
            with torch.inference_mode():
                for _ in range(n):
                    modules[best](inputs[best], 500)

        calls: dict[str, Any] = {
            "jaxgen": lambda program=program: jax.block_until_ready(program(pair.params, noise)),
            "jaxgen network": our_passes,
            "diffusers": lambda s=scheduler, n=steps: _their_loop(s, modules[best], inputs[best], n),
            "diffusers network": their_passes,
        }
        timings = common.interleave(calls, rounds, warm=1)
        own, peer = timings["jaxgen"], timings["diffusers"]
        memory = program.memory_analysis()
        shared = about | {"steps": steps, "evaluations": evaluations}
        log.add(
            case,
            side="jaxgen",
            value=pair.batch / own.median,
            overhead=own.median / timings["jaxgen network"].median - 1,
            compile_seconds=round(compiled, 2),
            temporary_mib=round(memory.temp_size_in_bytes / 2**20, 1),
            error=float(f"{error:.1e}"),
            **shared,
            **own.summary(),
            ratio=round(peer.median / own.median, 3),
            cpu_ratio=round(peer.summary()["cpu_seconds"] / own.summary()["cpu_seconds"], 3),
        )
        overhead = peer.median / timings["diffusers network"].median - 1
        log.add(
            case,
            side=f"diffusers {best}",
            value=pair.batch / peer.median,
            overhead=overhead,
            **shared,
            **peer.summary(),
        )


def main() -> None:
    parser = common.parser("DDIM, DPM-Solver++ and Heun compared with diffusers, on the same weights.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each measurement")
    parser.add_argument(
        "--case", choices=tuple(CASES), action="append", help="may be given several times (default: all)"
    )
    arguments = parser.parse_args()
    common.peer_present()
    common.set_threads(arguments.threads)
    log = common.Log("samplers", arguments)
    measure(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
