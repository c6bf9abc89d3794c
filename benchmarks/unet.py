"""The U-Nets of ``flow_sdf --preset small`` compared with equal PyTorch modules: ``python -m benchmarks.unet``.

Equal work: the weights are copied, and before anything is timed outputs, gradients and one optimizer step on the same
batch, noise and times must agree. Then train steps, forward passes and ensembles are timed in turns, once for each
number of threads in a process of its own. Ratios are PyTorch's time over ours: above 1, jaxgen is faster. PyTorch runs
eagerly, in the faster of its two memory formats.
"""

import argparse
import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks import common

TOLERANCE = {"output": 1e-4, "gradient": 1e-3, "update": 1e-2}
"""Largest relative error. Adam's first update is nearly the sign of the gradient, where rounding decides some signs."""

COLUMNS = {
    "case": "case",
    "side": "side",
    "threads": "threads",
    "value": "per second",
    "unit": "of",
    "seconds": "median s",
    "cpu_seconds": "CPU s",
    "ratio": "ratio",
    "cpu_ratio": "CPU ratio",
}


class Side(NamedTuple):
    """One memory format of the peer."""

    name: str
    train: Callable[[], Any]
    forward: Callable[[], Any]
    sample: Callable[[], Any] | None


def peer_module(config: Any, stage: str) -> Any:
    """The PyTorch module of a stage, with weights of its own."""
    from benchmarks import torch_unet as peer

    options = {
        "blocks": config.blocks,
        "attention": config.attention or (),
        "head_width": config.heads_width,
        "patch": config.patch,
    }
    if stage == "unet":
        return peer.UNet(1, 1, channels=config.baseline_channels, **options)
    encoder = peer.UNet(config.patch**2, config.channels[0], channels=config.encoder_channels, blocks=config.blocks)
    denoiser = peer.UNet(1, 1, channels=config.channels, time=True, adaptive=config.adaptive, **options)
    return peer.ConditionalUNet(encoder, denoiser)


def peer_loss(config: Any, stage: str, module: Any, batch: dict[str, Any], noise: Any = None, t: Any = None) -> Any:
    """The loss of a stage, its noise and times drawn unless given."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    image, distance = batch["image"], batch["distance"]
    if stage == "unet":
        return F.binary_cross_entropy_with_logits(module(image), (distance <= 0).to(image.dtype))
    x = torch.cat([distance] * config.repeats)
    features = torch.cat([module.encode(image)] * config.repeats)
    noise = torch.randn_like(x) if noise is None else noise
    t = torch.rand(len(x)) if t is None else t
    at = t[:, None, None, None]
    x_t = at * x + (1 - (1 - config.sigma_min) * at) * noise
    return F.mse_loss(module(x_t, t, features), x)


def peer_trainer(config: Any, stage: str, module: Any, batch: dict[str, Any], **drawn: Any) -> Callable[[], Any]:
    """A train step: the loss, its gradient, clipping, AdamW and the running average."""
    import torch

    parameters = list(module.parameters())
    averages = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    count = itertools.count()

    def step() -> Any:
        number = next(count)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (number + 1) / config.warmup_steps)
        optimizer.zero_grad(set_to_none=True)
        loss = peer_loss(config, stage, module, batch, **drawn)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
        optimizer.step()
        decay = min(config.ema_decay, (1 + number) / (10 + number))
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1 - decay)
        return loss.detach()

    return step


def peer_ensemble(config: Any, module: Any, image: Any) -> Any:
    """Euler's method from noise to distance maps, the image encoded once; all members with the same features."""
    import torch

    with torch.inference_mode():
        features = module.encode(image)
        times = torch.linspace(0, 1, config.ode_steps + 1)
        members = []
        for _ in range(config.members):
            x = torch.randn_like(image[:, :1])
            for t, s in itertools.pairwise(times):
                clean = module(x, t.expand(len(x)), features)
                # On x_t = t x + (1 - (1 - sigma_min) t) noise, dx_t/dt follows from the clean map.
                sigma = 1 - (1 - config.sigma_min) * t
                x = x + (s - t) * (clean - (1 - config.sigma_min) * (x - t * clean) / sigma)
            members.append(x)
        return torch.stack(members)


def _nchw(x: Any, memory_format: Any) -> Any:
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy()).contiguous(memory_format=memory_format)


def check(config: Any, stage: str, module: Any) -> dict[str, float]:
    """Compare outputs, gradients and one optimizer step on the same batch, noise and times.

    Raises:
        SystemExit: if they differ by more than `TOLERANCE`.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch

    from benchmarks import torch_unet as peer
    from benchmarks import workload
    from experiments.segmentation import flow_sdf
    from jaxgen.losses import likelihood
    from jaxgen.losses.matching import flow_matching
    from jaxgen.paths import rectified
    from jaxgen.tasks.segmentation.data import baseline_network

    made = workload.trainer(config, stage, donate=False)
    batch, params = made.batch, made.state.params["net"]
    rng = np.random.default_rng(3)
    repeats = config.repeats if stage == "flow_sdf" else 1
    clean = jnp.concatenate([batch["distance"]] * repeats)
    noise = jnp.asarray(rng.standard_normal(clean.shape), jnp.float32)
    t = jnp.asarray(rng.uniform(size=len(clean)), jnp.float32)

    def loss(params: Any) -> tuple[Any, Any]:
        if stage == "unet":
            out = baseline_network(config).apply(params, batch["image"])
            target = (batch["distance"] <= 0).astype(out.dtype)
            return jnp.mean(likelihood.bernoulli(out, target, reduce="mean")), out
        net = flow_sdf.flow_network(config)
        features = jnp.concatenate([net.encode(params, batch["image"])] * repeats)
        values = flow_matching(
            lambda x_t, t: net.apply(params, x_t, t, features),
            rectified(config.sigma_min),
            jax.random.key(0),
            clean,
            noise=noise,
            t=t,
            prediction="x0",
            target="x0",
        )
        return jnp.mean(values), net.apply(params, clean, t, features)

    (optimizer,) = workload.make_stage(config, stage).optimizers.values()

    @jax.jit
    def step(params: Any) -> tuple[Any, Any, Any]:
        grads, out = jax.grad(loss, has_aux=True)(params)
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        return out, grads, updates

    out, grads, updates = step(params)
    module = copy.deepcopy(module)
    peer.load(module, params)
    memory = torch.contiguous_format
    theirs = {name: _nchw(x, memory) for name, x in batch.items()}
    drawn = {"noise": _nchw(noise, memory), "t": torch.from_numpy(np.array(t))} if stage == "flow_sdf" else {}
    with torch.no_grad():
        if stage == "unet":
            expected = module(theirs["image"])
        else:
            features = torch.cat([module.encode(theirs["image"])] * repeats)
            expected = module(_nchw(clean, memory), drawn["t"], features)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    peer_loss(config, stage, module, theirs, **drawn).backward()
    expected_grads = {name: p.grad.clone() for name, p in module.named_parameters()}
    peer_trainer(config, stage, module, theirs, **drawn)()

    def flat(tree: dict[str, Any]) -> Any:
        return np.concatenate([np.asarray(tree[name]).ravel() for name in before])

    after = {name: p.detach() - before[name] for name, p in module.named_parameters()}
    errors = {
        "output": common.relative(np.asarray(out).transpose(0, 3, 1, 2), expected),
        "gradient": common.relative(flat(peer.named_like_torch(module, grads)), flat(expected_grads)),
        "update": common.relative(flat(peer.named_like_torch(module, updates)), flat(after)),
    }
    for name, error in errors.items():
        if not error < TOLERANCE[name]:
            raise SystemExit(f"{stage}: {name} differs from PyTorch's by {error:.1e}, more than {TOLERANCE[name]:.0e}")
    return errors


def peer_sides(config: Any, stage: str, params: Any, batch: dict[str, Any], image: Any) -> Iterator[Side]:
    """The peer in both memory formats."""
    import torch

    from benchmarks import torch_unet as peer

    for name, memory in (("nchw", torch.contiguous_format), ("nhwc", torch.channels_last)):
        module = peer_module(config, stage)
        peer.load(module, params)
        module = module.to(memory_format=memory)
        own, own_image = {k: _nchw(x, memory) for k, x in batch.items()}, _nchw(image, memory)
        fixed = copy.deepcopy(module)

        def forward(module: Any = fixed, image: Any = own_image) -> Any:
            with torch.inference_mode():
                if stage == "unet":
                    return module(image)
                return module(image, torch.full((len(image),), 0.5), module.encode(image))

        def ensemble(module: Any = fixed, image: Any = own_image) -> Any:
            return peer_ensemble(config, module, image)

        sample = ensemble if stage == "flow_sdf" else None
        yield Side(f"torch {name}", peer_trainer(config, stage, module, own), forward, sample)


def our_side(config: Any, stage: str, image: Any) -> tuple[Side, Any]:
    """Ours, and the parameters that it starts from."""
    import jax
    import numpy as np

    from benchmarks import workload
    from experiments.segmentation import flow_sdf
    from jaxgen.tasks.segmentation.data import baseline_network

    made = workload.trainer(config, stage)
    params = jax.tree.map(np.asarray, made.state.params["net"])
    fixed = jax.device_put(params)
    held = [made.state]

    def train() -> None:
        held[0], metrics = made.step(held[0], made.batch)
        jax.block_until_ready(metrics)

    if stage == "unet":
        net = baseline_network(config)
        apply = jax.jit(net.apply)
        return Side("jaxgen", train, lambda: jax.block_until_ready(apply(fixed, image)), None), params

    net = flow_sdf.flow_network(config)
    apply = jax.jit(lambda params, image: net.apply(params, image, 0.5, net.encode(params, image)))
    ensemble = jax.jit(
        lambda params, key, image: flow_sdf.flow_sdf.ensemble(
            net, flow_sdf.sampling(config), params, key, image, config.members
        )
    )
    key = jax.random.key(0)
    return (
        Side(
            "jaxgen",
            train,
            lambda: jax.block_until_ready(apply(fixed, image)),
            lambda: jax.block_until_ready(ensemble(fixed, key, image)),
        ),
        params,
    )


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """All measurements at one number of threads, in this process."""
    torch = common.peer()
    torch.set_num_threads(arguments.threads)
    from benchmarks import workload
    from jaxgen.app import caching

    caching.enable()
    config = workload.small(quick=arguments.quick)
    rounds = 3 if arguments.quick else arguments.rounds
    for stage in workload.STAGES:
        errors = check(config, stage, peer_module(config, stage))
        image = workload.make_batch(config, 2 if arguments.quick else config.chunk)["image"]
        ours, params = our_side(config, stage, image)
        batch = workload.make_batch(config, config.batch_size)
        sides = [ours, *peer_sides(config, stage, params, batch, image)]
        about = {
            "parameters": workload.count_parameters(params),
            "size": config.size,
            "errors": {name: float(f"{error:.1e}") for name, error in errors.items()},
        }
        for kind, unit, amount, turns in (
            ("train", "steps", 1, rounds),
            ("forward", "images", len(image), rounds),
            ("sample", "images", len(image), max(3, rounds // 4)),
        ):
            calls = {side.name: getattr(side, kind) for side in sides if getattr(side, kind) is not None}
            if not calls:
                continue
            timings = common.interleave(calls, turns)
            own = timings.pop("jaxgen")
            name = min(timings, key=lambda name: timings[name].median)
            best = timings[name]
            seconds, best_seconds = own.summary(), best.summary()
            case = f"{stage} {kind}"
            shared = about | {"unit": unit, "batch": config.batch_size if kind == "train" else len(image)}
            if kind == "sample":
                shared |= {"members": config.members, "ode_steps": config.ode_steps}
            ratio = best_seconds["seconds"] / seconds["seconds"]
            cpu_ratio = best_seconds["cpu_seconds"] / seconds["cpu_seconds"]
            ratios = {"ratio": round(ratio, 3), "cpu_ratio": round(cpu_ratio, 3)}
            log.add(case, side="jaxgen", value=amount / own.median, **shared, **seconds, **ratios)
            log.add(case, side=name, value=amount / best.median, **shared, **best_seconds)


def main() -> None:
    parser = common.parser("Train steps, forward passes and ensembles compared with PyTorch.")
    parser.add_argument("--threads", type=int, action="append", help="may be given several times (default: 2 and 1)")
    parser.add_argument("--rounds", type=int, default=25, help="turns of each measurement")
    arguments = parser.parse_args()
    counts = arguments.threads or [2, 1]
    common.peer_present()
    if len(counts) > 1:
        log = common.Log("unet", arguments)
        for count in counts:
            flags = ["--threads", str(count), "--rounds", str(arguments.rounds), *["--quick"] * arguments.quick]
            for row in common.child("benchmarks.unet", flags):
                log.append(row)
    else:
        arguments.threads = counts[0]
        common.set_threads(arguments.threads)
        log = common.Log("unet", arguments)
        measure(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
