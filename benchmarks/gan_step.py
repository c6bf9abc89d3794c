"""A GAN's train step compared with an equal PyTorch one, with the same weights: ``python -m benchmarks.gan_step``.

Equal work: the DCGAN-size pair at 64 pixels, the non-saturating losses with R1 on every step, a step of Adam for the
critic and one for the generator, and a running average of both. The two losses and the norms of their gradients for
the same images and latents must agree before anything is timed. Ratios are PyTorch's time over ours: above 1, jaxgen
is faster.
"""

import argparse
from typing import Any

from benchmarks import common

TOLERANCE = 1e-3
"""Largest relative difference of a loss or of the norm of its gradient in float32."""
CHANNELS, LATENT, SIZE, GAMMA, RATE, DECAY = (256, 128, 64, 32, 16), 64, 64, 1.0, 2e-4, 0.999
COLUMNS = {
    "case": "case",
    "side": "side",
    "batch": "batch",
    "value": "steps a second",
    "seconds": "median s",
    "cpu_seconds": "CPU s",
    "error": "error",
    "ratio": "ratio",
    "cpu_ratio": "CPU ratio",
}


def _modules(params: Any) -> tuple[Any, Any]:
    """The two networks in PyTorch, with our weights."""
    import numpy as np
    import torch
    from torch import nn

    from jaxgen.nets.layers import group_count

    def dense(leaf: Any) -> Any:
        made = nn.Linear(*leaf["kernel"].shape)
        made.weight.data = torch.from_numpy(np.asarray(leaf["kernel"]).T.copy())
        made.bias.data = torch.from_numpy(np.asarray(leaf["bias"]).copy())
        return made

    def convolution(leaf: Any, stride: int = 1) -> Any:
        width, _, fan_in, fan_out = leaf["kernel"].shape
        made = nn.Conv2d(fan_in, fan_out, width, stride, 1)
        made.weight.data = torch.from_numpy(np.asarray(leaf["kernel"]).transpose(3, 2, 0, 1).copy())
        made.bias.data = torch.from_numpy(np.asarray(leaf["bias"]).copy())
        return made

    class Generator(nn.Module):
        def __init__(self, params: Any):
            super().__init__()
            self.dense = dense(params["Dense_0"])
            self.convolutions = nn.ModuleList(convolution(params[f"Conv_{i}"]) for i in range(len(CHANNELS)))
            self.norms = nn.ModuleList(nn.GroupNorm(group_count(c, 32), c, 1e-5) for c in CHANNELS)
            for i, norm in enumerate(self.norms):
                norm.weight.data = torch.from_numpy(np.asarray(params[f"GroupNorm_{i}"]["scale"]).copy())
                norm.bias.data = torch.from_numpy(np.asarray(params[f"GroupNorm_{i}"]["shift"]).copy())

        def forward(self, z: Any) -> Any:
            side = SIZE // 2 ** (len(CHANNELS) - 1)
            h = self.dense(z).view(len(z), side, side, CHANNELS[0]).permute(0, 3, 1, 2)
            for level, (norm, convolve) in enumerate(zip(self.norms, self.convolutions, strict=True)):
                h = torch.relu(norm(h))
                if level < len(CHANNELS) - 1:
                    h = nn.functional.interpolate(h, scale_factor=2, mode="nearest")
                h = convolve(h)
            return torch.tanh(h)

    class Critic(nn.Module):
        def __init__(self, params: Any):
            super().__init__()
            self.convolutions = nn.ModuleList(convolution(params[f"Conv_{i}"], 2) for i in range(len(CHANNELS)))
            self.dense = dense(params["Dense_0"])

        def forward(self, x: Any) -> Any:
            for convolve in self.convolutions:
                x = nn.functional.leaky_relu(convolve(x), 0.2)
            return self.dense(x.permute(0, 2, 3, 1).flatten(1))[:, 0]

    return Generator(params["generator"]), Critic(params["critic"])


def _peer_losses(generator: Any, critic: Any, x: Any, z: Any, side: str) -> Any:
    """One player's loss; the other player's parameters get no gradient."""
    import torch
    from torch.nn.functional import softplus

    if side == "generator":
        return softplus(-critic(generator(z))).mean()
    with torch.no_grad():
        drawn = generator(z)
    real = x.detach().requires_grad_(True)
    logits = critic(real)
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    penalty = 0.5 * GAMMA * gradient.square().sum((1, 2, 3))
    return (softplus(-logits) + softplus(critic(drawn)) + penalty).mean()


def _peer_step(params: Any, x: Any, memory: Any) -> Any:
    import torch

    networks = [module.to(memory_format=memory) for module in _modules(params)]
    generator, critic = networks
    optimizers = {
        name: torch.optim.Adam(module.parameters(), lr=RATE, betas=(0.0, 0.99), fused=True)
        for name, module in (("generator", generator), ("critic", critic))
    }
    everything = [p for module in networks for p in module.parameters()]
    averages = [p.detach().clone() for p in everything]
    x = x.contiguous(memory_format=memory)

    def step() -> None:
        for name, other in (("critic", generator), ("generator", critic)):
            other.requires_grad_(False)
            loss = _peer_losses(generator, critic, x, torch.randn(len(x), LATENT), name)
            optimizers[name].zero_grad(set_to_none=True)
            loss.backward()
            optimizers[name].step()
            other.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(averages, everything, 1 - DECAY)

    return step


def _check(nets: Any, params: Any, x: Any, z: Any) -> float:
    """The largest relative difference of the losses and of the norms of their gradients."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch

    from jaxgen.losses import adversarial

    generator, critic = nets
    game = adversarial.non_saturating()

    def ours(params: Any, side: str) -> Any:
        drawn = generator.apply(params["generator"], z)
        score = lambda x: critic.apply(params["critic"], x)  # noqa: E731
        if side == "generator":
            return jnp.mean(game.generator(score(x), score(drawn)))
        logits, square = adversarial.squared_gradient(score, x)
        return jnp.mean(game.critic(logits, score(drawn)) + 0.5 * GAMMA * square)

    worst = 0.0
    for side in ("generator", "critic"):
        value, gradient = jax.jit(jax.value_and_grad(lambda params, side=side: ours(params, side)))(params)
        norm = float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient[side]))))
        modules = dict(zip(("generator", "critic"), _modules(params), strict=True))
        images = torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())
        expected = _peer_losses(*modules.values(), images, torch.from_numpy(np.asarray(z)), side)
        expected.backward()
        theirs = float(torch.sqrt(sum((p.grad**2).sum() for p in modules[side].parameters())))
        worst = max(worst, abs(float(value) / expected.item() - 1), abs(norm / theirs - 1))
    return worst


def _our_step(nets: Any, params: Any, x: Any) -> Any:
    import jax
    import jax.numpy as jnp

    from jaxgen.families import Game, gan_model
    from jaxgen.losses import adversarial
    from jaxgen.train import init_state, make_optimizer, make_train_step

    game = adversarial.non_saturating()
    model = gan_model(*nets, x.shape[1:], latent=LATENT, game=Game(game, r1=GAMMA))
    optimizers = {
        name: make_optimizer(RATE, 0, 10**6, "constant", name="adam", b1=0.0, b2=0.99)
        for name in ("generator", "critic")
    }
    batch = {"image": jnp.asarray(x)}
    held = [jax.jit(lambda batch: init_state(model, optimizers, jax.random.key(0), batch))(batch)]
    step = jax.jit(make_train_step(model, optimizers, ema_decay=DECAY), donate_argnums=0)

    def train() -> None:
        held[0], metrics = step(held[0], batch)
        jax.block_until_ready(metrics)

    return train


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    torch = common.peer()
    torch.set_num_threads(arguments.threads)
    import jax
    import numpy as np

    from jaxgen.nets import dcgan_discriminator, dcgan_generator

    batch = 2 if arguments.quick else arguments.batch
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (batch, SIZE, SIZE, 1)).astype(np.float32)
    z = rng.standard_normal((batch, LATENT)).astype(np.float32)
    nets = dcgan_generator(x.shape[1:], channels=CHANNELS), dcgan_discriminator(channels=CHANNELS[::-1])
    init = lambda key: {"generator": nets[0].init(key, z), "critic": nets[1].init(key, x)}  # noqa: E731
    params = jax.jit(init)(jax.random.key(0))
    error = _check(nets, params, x, z)
    if not error < TOLERANCE:
        raise SystemExit(f"losses or gradient norms differ from PyTorch's by {error:.1e}, more than {TOLERANCE:.0e}")
    calls: dict[str, Any] = {"jaxgen": _our_step(nets, params, x)}
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    for name, memory in {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}.items():
        calls[f"torch {name}"] = _peer_step(params, images, memory)
    timings = common.interleave(calls, 2 if arguments.quick else arguments.rounds)
    ours = timings.pop("jaxgen")
    best = min(timings, key=lambda name: timings[name].median)
    peer = timings[best]
    about = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "size": SIZE,
        "batch": batch,
        "unit": "steps",
    }
    log.add(
        "gan step",
        side="jaxgen",
        value=1 / ours.median,
        error=float(f"{error:.1e}"),
        **about,
        **ours.summary(),
        ratio=round(peer.median / ours.median, 3),
        cpu_ratio=round(peer.summary()["cpu_seconds"] / ours.summary()["cpu_seconds"], 3),
    )
    log.add("gan step", side=best, value=1 / peer.median, **about, **peer.summary())


def main() -> None:
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="threads of both")
    parser.add_argument("--batch", type=int, default=16, help="images per step")
    parser.add_argument("--rounds", type=int, default=20, help="turns that are timed")
    arguments = parser.parse_args()
    common.peer_present()
    common.set_threads(arguments.threads)
    log = common.Log("gan_step", arguments)
    measure(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
