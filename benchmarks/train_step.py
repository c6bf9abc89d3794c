"""Diffusion train steps compared with diffusers, with the same U-Net weights: ``python -m benchmarks.train_step``.

Equal work: noise prediction, mean squared error, clipping, AdamW and a running average; the loss and the norm of its
gradient for the same images, noise and times must agree before anything is timed. Then the time to trace and compile
the ``full`` preset's train step, which is not run. Ratios are the peer's time over ours: above 1, jaxgen is faster.
"""

import argparse
import copy
import time
from typing import Any
from unittest import mock

from benchmarks import common

TOLERANCE = 1e-3
"""Largest relative difference of the loss and of the norm of its gradient in float32."""

COLUMNS = {
    "case": "case",
    "side": "side",
    "value": "per second",
    "seconds": "median s",
    "cpu_seconds": "CPU s",
    "trace_seconds": "trace s",
    "compile_seconds": "compile s",
    "temporary_gib": "temporary GiB",
    "error": "error",
    "ratio": "ratio",
    "cpu_ratio": "CPU ratio",
}
PLAIN = "jaxgen, without Winograd's form"
LEARNING_RATE, CLIP, DECAY = 1e-4, 1.0, 0.9999


def _peer_step(module: Any, x: Any, noise: Any, number: Any) -> Any:
    """A train step on fixed draws: the loss, its gradient, clipping, AdamW and the running average."""
    import torch

    parameters = list(module.parameters())
    averages = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    kept = _kept(number)
    noisy = kept.sqrt()[:, None, None, None] * x + (1 - kept).sqrt()[:, None, None, None] * noise

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.mse_loss(module(noisy, number).sample, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1 - DECAY)
        return loss.detach()

    return step


def _kept(number: Any) -> Any:
    import torch

    from jaxgen.schedules import linear_betas

    return torch.cumprod(1 - torch.from_numpy(linear_betas(1000).astype("float64")), 0)[number].float()


def _check(pair: Any, x: Any, noise: Any, number: Any) -> float:
    """The relative difference of the losses or of the norms of their gradients, whichever is larger."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch

    from benchmarks import diffusers_unet
    from jaxgen.interop import diffusers
    from jaxgen.losses import flow_matching
    from jaxgen.paths import discrete
    from jaxgen.schedules import linear_betas

    path = discrete(linear_betas(1000))
    net = diffusers.at_path_time(pair.net)

    def loss(params: Any) -> Any:
        t = (jnp.asarray(number) + 1.0) / 1000
        values = flow_matching(
            lambda x_t, t: net.apply(params, x_t, t),
            path,
            jax.random.key(0),
            x,
            noise=noise,
            t=t,
            prediction="noise",
            target="noise",
        )
        return jnp.mean(values)

    value, gradient = jax.jit(jax.value_and_grad(loss))(pair.params)
    module = copy.deepcopy(pair.module)
    kept = _kept(torch.from_numpy(number))[:, None, None, None]
    theirs_x, theirs_noise = diffusers_unet.to_torch(x), diffusers_unet.to_torch(noise)
    noisy = kept.sqrt() * theirs_x + (1 - kept).sqrt() * theirs_noise
    expected = torch.nn.functional.mse_loss(module(noisy, torch.from_numpy(number)).sample, theirs_noise)
    expected.backward()
    norm = float(np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient))))
    theirs = float(torch.sqrt(sum((p.grad**2).sum() for p in module.parameters())))
    return max(abs(float(value) / expected.item() - 1), abs(norm / theirs - 1))


def _our_step(pair: Any, x: Any) -> Any:
    import jax
    import jax.numpy as jnp

    from jaxgen.families import diffusion_model
    from jaxgen.interop import diffusers
    from jaxgen.paths import discrete
    from jaxgen.samplers import Sampling, ddpm, grids
    from jaxgen.schedules import linear_betas
    from jaxgen.train import init_state, make_optimizer, make_train_step

    path = discrete(linear_betas(1000))
    net = diffusers.at_path_time(pair.net)
    model = diffusion_model(net, pair.shape, Sampling(path, ddpm(path), grids.uniform(path, 2), "noise"))
    optimizers = {"net": make_optimizer(LEARNING_RATE, 0, 10**6, "constant", clip=CLIP)}
    batch = {"image": jnp.asarray(x)}
    state = jax.jit(lambda batch: init_state(model, optimizers, jax.random.key(0), batch))(batch)
    step = jax.jit(make_train_step(model, optimizers, ema_decay=DECAY), donate_argnums=0)
    held = [state]

    def train() -> None:
        held[0], metrics = step(held[0], batch)
        jax.block_until_ready(metrics)

    return train


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """The train step of both, in this process."""
    torch = common.peer()
    torch.set_num_threads(arguments.threads)
    import jax
    import numpy as np

    from benchmarks import diffusers_unet
    from jaxgen.nets import canonical_convolution

    pair = diffusers_unet.make(quick=arguments.quick)
    batch = pair.batch if arguments.quick else arguments.batch
    rng = np.random.default_rng(0)
    x, noise = (rng.standard_normal((batch, *pair.shape)).astype(np.float32) for _ in range(2))
    number = rng.integers(0, 1000, batch)
    error = _check(pair, x, noise, number)
    if not error < TOLERANCE:
        raise SystemExit(f"loss or gradient norm differ from diffusers' by {error:.1e}, more than {TOLERANCE:.0e}")
    calls: dict[str, Any] = {"jaxgen": _our_step(pair, x)}
    if arguments.plain:
        calls[PLAIN] = _our_step(pair, x)
        with mock.patch.object(canonical_convolution, "LARGE", float("inf")):
            calls[PLAIN]()  # compiled here
    for name, memory in {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}.items():
        module = copy.deepcopy(pair.module).train().to(memory_format=memory)
        own = [diffusers_unet.to_torch(a).contiguous(memory_format=memory) for a in (x, noise)]
        calls[f"diffusers {name}"] = _peer_step(module, *own, torch.from_numpy(number))
    timings = common.interleave(calls, 2 if arguments.quick else arguments.rounds)
    ours, plain = timings.pop("jaxgen"), timings.pop(PLAIN, None)
    best = min(timings, key=lambda name: timings[name].median)
    peer = timings[best]
    about = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(pair.params)),
        "size": pair.shape[0],
        "batch": batch,
        "unit": "steps",
    }
    log.add(
        "train step",
        side="jaxgen",
        value=1 / ours.median,
        error=float(f"{error:.1e}"),
        **about,
        **ours.summary(),
        ratio=round(peer.median / ours.median, 3),
        cpu_ratio=round(peer.summary()["cpu_seconds"] / ours.summary()["cpu_seconds"], 3),
    )
    log.add("train step", side=best, value=1 / peer.median, **about, **peer.summary())
    if plain:
        log.add("train step", side=PLAIN, value=1 / plain.median, **about, **plain.summary())


def compile_full(arguments: argparse.Namespace, log: common.Log) -> None:
    """Trace and compile the train step of ``ddpm --preset full`` (256 pixels, 114 million parameters), cold."""
    import jax
    import jax.numpy as jnp

    from experiments.generation import ddpm
    from jaxgen.experiment import Run
    from jaxgen.tasks.images import ImageFacts
    from jaxgen.train import init_state, make_train_step

    preset = "smoke" if arguments.quick else "full"
    config = ddpm.EXPERIMENT.presets[preset]
    facts = ImageFacts(value_range=((0.0,), (1.0,)), image_channels=1)
    stage = ddpm.EXPERIMENT.stages[-1].build(Run(config, facts))
    batch = {"image": jax.ShapeDtypeStruct((4, config.size, config.size, 1), jnp.uint8)}
    prepared = {"image": jax.ShapeDtypeStruct((4, config.size, config.size, 1), jnp.float32)}
    key = jax.random.key(0)
    state = jax.eval_shape(lambda batch: init_state(stage.model, stage.optimizers, key, batch), prepared)
    step = make_train_step(
        stage.model, stage.optimizers, ema_decay=0.999, prepare=stage.prepare, precision=config.precision
    )
    began = time.perf_counter()
    lowered = jax.jit(step, donate_argnums=0).lower(state, batch)
    traced = time.perf_counter()
    program = lowered.compile()
    compiled = time.perf_counter()
    log.add(
        f"compile ddpm {preset}",
        side="jaxgen",
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        size=config.size,
        batch=4,
        trace_seconds=round(traced - began, 1),
        compile_seconds=round(compiled - traced, 1),
        temporary_gib=round(program.memory_analysis().temp_size_in_bytes / 2**30, 2),
    )


def main() -> None:
    parser = common.parser("A diffusion train step compared with diffusers, and the compilation of the full preset.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10, help="turns of the measurement")
    parser.add_argument("--batch", type=int, default=4, help="images per step")
    parser.add_argument("--plain", action="store_true", help="time the step without Winograd's form as well")
    arguments = parser.parse_args()
    common.peer_present()
    common.set_threads(arguments.threads)
    log = common.Log("train_step", arguments)
    measure(arguments, log)
    compile_full(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
