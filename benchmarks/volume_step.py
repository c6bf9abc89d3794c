"""A training step of ``brain_ldm --preset full``, and of the same by MONAI: ``python -m benchmarks.volume_step``.

The U-Net of 553 million parameters on the code of a volume of 160 x 224 x 160, batch 1, Adam, in float32. Every
measurement is a process of its own, so that its peak memory is its own. With ``--remat`` blocks are computed anew in
the backward pass here, as the preset does, which larger batches need; MONAI keeps its activations.
"""

import argparse
import dataclasses
import resource
import sys
import time
from typing import Any

from benchmarks import common

METHODS = ("jaxgen", "monai")
PARAMETERS = 553_168_899
"""Of the U-Net, here and there."""
QUICK: dict[str, Any] = {"channels": (32, 64, 96), "head_width": 32, "size": (64, 64, 64)}


def step_here(arguments: argparse.Namespace) -> Any:
    """A function without arguments that takes a step, and returns the loss; and the number of parameters."""
    import jax
    import numpy as np

    from experiments.generation import brain_ldm
    from jaxgen.experiment import Run
    from jaxgen.tasks.covariates import CovariateFacts
    from jaxgen.train import init_state, make_train_step

    preset = brain_ldm.EXPERIMENT.presets["full"]
    changes = QUICK if arguments.quick else {}
    config = dataclasses.replace(
        preset, batch_size=1, ema_decay=0.0, precision="float32", remat=arguments.remat, **changes
    )
    names = ("age", "sex", "ventricles", "brain")
    facts = CovariateFacts(
        value_range=((0.0,), (1.0,)), image_channels=1, covariates=names, covariate_range=((0.0,) * 4, (1.0,) * 4)
    )
    (spec,) = (spec for spec in brain_ldm.EXPERIMENT.stages if spec.name == "diffusion")
    stage = spec.build(Run(config, facts, {"autoencoder": {}}))
    rng = np.random.default_rng(0)
    code = rng.standard_normal((1, *(side // 8 for side in config.size), 3)).astype(np.float32)
    batch = {"code": code, "covariates": rng.uniform(size=(1, 4)).astype(np.float32)}
    state = jax.jit(lambda batch: init_state(stage.model, stage.optimizers, jax.random.key(0), batch))(batch)
    step = make_train_step(stage.model, stage.optimizers, ema_decay=config.ema_decay)
    began = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    taken = time.perf_counter() - began
    held = [state]
    del state

    def once() -> float:
        held[0], metrics = compiled(held[0], batch)
        return float(metrics["loss"])

    return once, sum(leaf.size for leaf in jax.tree.leaves(held[0].params["net"])), taken


def step_there(arguments: argparse.Namespace) -> Any:
    """The same of MONAI's."""
    torch = common.peer()
    from monai.networks.nets import DiffusionModelUNet

    widths, heads = (32, 64, 96), (0, 64, 96)
    net = DiffusionModelUNet(
        spatial_dims=3,
        in_channels=7,
        out_channels=3,
        channels=widths if arguments.quick else (256, 512, 768),
        num_res_blocks=2,
        attention_levels=(False, True, True),
        num_head_channels=heads if arguments.quick else (0, 512, 768),
        norm_num_groups=32,
        resblock_updown=True,
        with_conditioning=True,
        cross_attention_dim=4,
        upcast_attention=True,
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=2.5e-5)
    sides = (8, 8, 8) if arguments.quick else (20, 28, 20)
    x, noise, told = torch.randn(1, 7, *sides), torch.randn(1, 3, *sides), torch.rand(1, 1, 4)

    def once() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.mse_loss(net(x, torch.tensor([500]), told), noise)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return once, sum(p.numel() for p in net.parameters()), None


def one(method: str, arguments: argparse.Namespace, log: common.Log) -> None:
    """Measure one method in this process."""
    once, count, compiling = (step_there if method == "monai" else step_here)(arguments)
    if not arguments.quick and count != PARAMETERS:
        raise SystemExit(f"{method}: {count} parameters, not {PARAMETERS}")
    timing = common.interleave({method: once}, arguments.rounds, warm=1)[method]
    scale = 2**20 if sys.platform != "darwin" else 2**30  # kilobytes on Linux, bytes on macOS
    log.add(
        method,
        parameters=count,
        compile_seconds=compiling and round(compiling, 1),
        **timing.summary(),
        peak_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, 2),
    )


def main() -> None:
    parser = common.parser("A training step on a brain volume's code: seconds and peak memory, compared with MONAI.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--method", choices=METHODS, action="append", help="default: both")
    parser.add_argument("--rounds", type=int, default=1, help="timed steps after the first")
    parser.add_argument("--remat", action="store_true", help="compute blocks anew in the backward pass")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    methods = arguments.method or METHODS
    common.set_threads(arguments.threads)
    log = common.Log("volume_step", arguments)
    if arguments.inside:
        one(methods[0], arguments, log)
        return
    if "monai" in methods:
        common.peer_present("monai")
    for method in methods:
        flags = ["--inside", "--method", method, "--rounds", str(arguments.rounds)]
        flags += ["--threads", str(arguments.threads), *["--quick"] * arguments.quick]
        flags += ["--remat"] * arguments.remat
        (row,) = common.child("benchmarks.volume_step", flags)
        log.append(row)
    log.table(
        {
            "case": "method",
            "parameters": "parameters",
            "compile_seconds": "compile s",
            "seconds": "s per step",
            "cpu_seconds": "CPU s",
            "peak_gib": "peak GiB",
        }
    )


if __name__ == "__main__":
    main()
