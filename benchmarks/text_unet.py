"""A U-Net of latent images with text, compared with diffusers on the same weights: ``python -m benchmarks.text_unet``.

Stable Diffusion's architecture in a size for a CPU. Before anything is timed, outputs and the gradients of all
parameters must agree. Then forward passes and gradients are timed in turns. Ratios are PyTorch's time over ours: above
1, jaxgen is faster. PyTorch runs eagerly, in the faster of its two memory formats.
"""

import argparse
import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import common

TOLERANCE = {"output": 1e-4, "gradient": 1e-3}
"""Largest relative error."""

COLUMNS = {
    "case": "case",
    "side": "side",
    "threads": "threads",
    "value": "images per second",
    "seconds": "median s",
    "cpu_seconds": "CPU s",
    "ratio": "ratio",
    "cpu_ratio": "CPU ratio",
}


class Size(NamedTuple):
    """What is timed.

    Attributes:
        widths: channels of each level; all but the last have transformers.
        pixels: along one side of the latent image.
        batch: images at a time.
        tokens: number and width of the tokens of a text.
    """

    widths: tuple[int, ...]
    pixels: int
    batch: int
    tokens: tuple[int, int]


QUICK, FULL = Size((8, 16), 8, 2, (5, 8)), Size((64, 128, 256, 256), 32, 4, (77, 256))


def configuration(size: Size) -> dict[str, Any]:
    """The entries of diffusers' UNet2DConditionModel."""
    crossed = len(size.widths) - 1
    return {
        "_class_name": "UNet2DConditionModel",
        "block_out_channels": list(size.widths),
        "down_block_types": [*["CrossAttnDownBlock2D"] * crossed, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * crossed],
        "layers_per_block": 2,
        "norm_num_groups": min(32, size.widths[0]),
        "attention_head_dim": min(8, size.widths[0] // 8),
        "cross_attention_dim": size.tokens[1],
    }


class Case(NamedTuple):
    """Both networks with the same weights, and inputs as NumPy arrays, channels last.

    Attributes:
        module: diffusers'.
        net: ours.
        params: ours.
        config: of both.
        inputs: noisy image, entry of the table of times, tokens, and the target of the loss.
    """

    module: Any
    net: Any
    params: Any
    config: dict[str, Any]
    inputs: tuple[Any, Any, Any, Any]


def make(size: Size) -> Case:
    """Weights drawn at random by diffusers, and read here."""
    import numpy as np
    import torch
    from diffusers import UNet2DConditionModel

    from jaxgen.interop import diffusers

    config = configuration(size)
    torch.manual_seed(0)
    module = UNet2DConditionModel.from_config(config)
    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        net, params, _ = diffusers.load(folder)
    rng = np.random.default_rng(0)
    shape = (size.batch, size.pixels, size.pixels, 4)
    x, target = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    context = rng.standard_normal((size.batch, *size.tokens)).astype(np.float32)
    return Case(module, net, params, config, (x, rng.integers(0, 1000, size.batch), context, target))


def our_calls(case: Case) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Our forward pass and our gradient."""
    import jax
    import jax.numpy as jnp

    net = case.net
    apply = jax.jit(lambda params, x, t, context: net.apply(params, x, t, context=context))
    gradient = jax.jit(
        jax.grad(lambda params, x, t, context, y: jnp.mean((net.apply(params, x, t, context=context) - y) ** 2))
    )
    given = jax.device_put(case.inputs)
    return (
        lambda: jax.block_until_ready(apply(case.params, *given[:3])),
        lambda: jax.block_until_ready(gradient(case.params, *given)),
    )


def their_calls(case: Case, memory_format: Any) -> tuple[Any, Callable[[], Any], Callable[[], Any]]:
    """diffusers' module in a memory format, its forward pass, and its gradient, which stays in the module."""
    import numpy as np
    import torch

    module = copy.deepcopy(case.module).to(memory_format=memory_format)

    def image(x: Any) -> Any:
        return torch.from_numpy(np.moveaxis(x, -1, 1).copy()).contiguous(memory_format=memory_format)

    x, t, context, target = case.inputs
    x, target, t, context = image(x), image(target), torch.from_numpy(t), torch.from_numpy(context)

    def forward() -> Any:
        with torch.inference_mode():
            return module(x, t, context, return_dict=False)[0]

    def gradient() -> None:
        module.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(module(x, t, context, return_dict=False)[0], target).backward()

    return module, forward, gradient


def check(case: Case) -> dict[str, float]:
    """Compare outputs and the gradients of all parameters.

    Raises:
        SystemExit: if they differ by more than `TOLERANCE`.
    """
    import numpy as np
    import torch
    from safetensors.numpy import load_file

    from jaxgen.interop import diffusers

    ours, our_gradient = our_calls(case)
    module, theirs, their_gradient = their_calls(case, torch.contiguous_format)
    their_gradient()
    with tempfile.TemporaryDirectory() as folder:  # which gives the gradients diffusers' names and layouts
        diffusers.save(folder, our_gradient(), case.config)
        gradients = load_file(Path(folder) / "diffusion_pytorch_model.safetensors")
    expected = {name: p.grad.numpy() for name, p in module.named_parameters()}
    errors = {
        "output": common.relative(np.moveaxis(np.asarray(ours()), -1, 1), theirs().numpy()),
        "gradient": common.relative(*(np.concatenate([g[n].ravel() for n in expected]) for g in (gradients, expected))),
    }
    for name, error in errors.items():
        if not error < TOLERANCE[name]:
            raise SystemExit(f"{name} differs from diffusers' by {error:.1e}, more than {TOLERANCE[name]:.0e}")
    return errors


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """Both cases at one number of threads."""
    torch = common.peer()
    torch.set_num_threads(arguments.threads)
    import jax

    from jaxgen.app import caching

    caching.enable()
    size = QUICK if arguments.quick else FULL
    case = make(size)
    errors = check(case)
    calls = {"jaxgen": our_calls(case)}
    for name, memory in (("diffusers nchw", torch.contiguous_format), ("diffusers nhwc", torch.channels_last)):
        calls[name] = their_calls(case, memory)[1:]
    about = {
        "parameters": sum(p.size for p in jax.tree.leaves(case.params)),
        "size": size.pixels,
        "batch": size.batch,
        "errors": {name: float(f"{error:.1e}") for name, error in errors.items()},
    }
    for i, kind in enumerate(("forward", "gradient")):
        turns = {name: pair[i] for name, pair in calls.items()}
        timings = common.interleave(turns, 3 if arguments.quick else arguments.rounds)
        own = timings.pop("jaxgen")
        name = min(timings, key=lambda name: timings[name].median)
        seconds, best = own.summary(), timings[name].summary()
        ratios = {f"{key}ratio": round(best[f"{key}seconds"] / seconds[f"{key}seconds"], 3) for key in ("", "cpu_")}
        log.add(kind, side="jaxgen", value=size.batch / seconds["seconds"], **about, **seconds, **ratios)
        log.add(kind, side=name, value=size.batch / best["seconds"], **about, **best)


def main() -> None:
    parser = common.parser("Forward passes and gradients of a U-Net with text, compared with diffusers.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each measurement")
    arguments = parser.parse_args()
    common.peer_present("diffusers")
    common.set_threads(arguments.threads)
    log = common.Log("text_unet", arguments)
    measure(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
