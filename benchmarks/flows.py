"""Normalizing flows in the plane compared with zuko's and normflows', with the same weights.

``python -m benchmarks.flows``: RealNVP with 16 affine couplings (zuko), and a spline flow with 8 couplings of 8 bins
(normflows): the same couplings, perceptrons (SiLU, widths 64 and 64), base and Adam. Log-likelihoods, samples and the
loss after one training step must agree before anything is timed. Ratios are the peer's time over ours: above 1, jaxgen
is faster.
"""

import argparse
import itertools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import common

WIDTHS = (64, 64)
BINS, BOUND, SLOPE, RATE = 8, 3.0, 1e-3, 1e-3
TOLERANCE = 2e-3
"""Largest relative difference of log-likelihoods, samples and losses in float32."""

COLUMNS = {
    "case": "case",
    "side": "side",
    "value": "examples/s",
    "seconds": "median s",
    "cpu_seconds": "CPU s",
    "compile_seconds": "compile s",
    "error": "error",
    "ratio": "ratio",
    "cpu_ratio": "CPU ratio",
}


class Peer(NamedTuple):
    """A PyTorch flow: its parameters, and data to base and back, each ``x -> (y, log_det)``."""

    name: str
    parameters: list[Any]
    forward: Callable[[Any], tuple[Any, Any]]
    inverse: Callable[[Any], tuple[Any, Any]]
    perceptrons: list[Any]
    slope_offset: float


def _perceptron(inputs: int, outputs: int) -> Any:
    import torch

    sizes = (inputs, *WIDTHS)
    layers: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(a, b), torch.nn.SiLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(WIDTHS[-1], outputs))


def _zuko(layers: int) -> Peer:
    """RealNVP of zuko's transforms."""
    import torch
    import zuko

    nets = torch.nn.ModuleList([_perceptron(1, 2) for _ in range(layers)])
    masks = [torch.tensor([i % 2 == 0, i % 2 == 1]) for i in range(layers)]

    def coupling(net: Any, mask: Any) -> Any:
        def meta(kept: Any) -> Any:
            shift, scale = net(kept).split(1, dim=-1)
            univariate = zuko.transforms.MonotonicAffineTransform(shift, scale, slope=SLOPE)
            return zuko.transforms.DependentTransform(univariate, 1)

        return zuko.transforms.CouplingTransform(meta, mask)

    whole = zuko.transforms.ComposedTransform(*(coupling(n, m) for n, m in zip(nets, masks, strict=True)))
    return Peer(f"zuko {zuko.__version__}", list(nets.parameters()), whole.call_and_ladj, whole.inv.call_and_ladj,
                list(nets), 0.0)  # fmt: skip


def _normflows(layers: int) -> Peer:
    """A spline flow of normflows' couplings, without the extra splines of what a coupling keeps."""
    import torch
    from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling

    class Conditioner(torch.nn.Module):
        def __init__(self, inputs: int, outputs: int):
            super().__init__()
            self.net = _perceptron(inputs, outputs)

        def forward(self, x: Any, context: Any = None) -> Any:
            return self.net(x)

    couplings = torch.nn.ModuleList(
        [
            PiecewiseRationalQuadraticCoupling(
                torch.tensor([i % 2, 1 - i % 2]), Conditioner, num_bins=BINS, tails="linear", tail_bound=BOUND
            )
            for i in range(layers)
        ]
    )

    def through(x: Any, order: Any) -> tuple[Any, Any]:
        total = 0.0
        for way in order:
            x, log_det = way(x)
            total = total + log_det
        return x, total

    version = common._version("normflows")
    return Peer(
        f"normflows {version}",
        list(couplings.parameters()),
        lambda x: through(x, couplings),
        lambda z: through(z, [c.inverse for c in reversed(couplings)]),
        [c.transform_net.net for c in couplings],
        math.log(math.expm1(1 - SLOPE)),
    )


def _ours(layers: int, spline: bool) -> Any:
    from jaxgen.bijections import affine, chain, coupling, rational_quadratic, scan_chain
    from jaxgen.families import flow_model
    from jaxgen.nets import dense_conditioner

    transform = rational_quadratic(BINS, BOUND) if spline else affine(-math.log(SLOPE))
    net = dense_conditioner(transform.parameters, widths=WIDTHS)
    pair = chain(coupling(net, transform), coupling(net, transform, swap=True))
    return flow_model(scan_chain(pair, layers // 2), (2,), data="x")


def _load(peer: Peer, params: Any) -> Any:
    """The peer's weights as ours: layers of one parity are stacked."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    flow = {}
    for parity in (0, 1):
        stacks: dict[str, dict[str, list]] = {}
        for net in peer.perceptrons[parity::2]:
            linear = [module for module in net if hasattr(module, "weight")]
            for i, module in enumerate(linear):
                weight, bias = module.weight.detach().numpy().T, module.bias.detach().numpy().copy()
                if i == len(linear) - 1:
                    bias[2 * BINS :] -= peer.slope_offset
                entry = stacks.setdefault(f"Dense_{i}", {"kernel": [], "bias": []})
                entry["kernel"].append(weight)
                entry["bias"].append(bias)
        flow[str(parity)] = {
            name: {kind: jnp.asarray(np.stack(parts)) for kind, parts in entry.items()}
            for name, entry in stacks.items()
        }
    loaded = {"net": {"flow": flow}}
    assert jax.tree.map(jnp.shape, loaded) == jax.tree.map(jnp.shape, params)
    return loaded


def _case(case: str, layers: int, peer: Peer, batch: int, rounds: int, log: common.Log) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    import torch

    model = _ours(layers, spline=peer.slope_offset != 0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 2)).astype(np.float32)
    torch_x = torch.from_numpy(x)
    params = _load(peer, model.init(jax.random.key(0), {"x": jnp.asarray(x)}))
    tx = optax.adam(RATE)

    def mean_loss(params: Any, x: Any) -> Any:
        return jnp.mean(model.objectives[0].loss(params, None, {"x": x})[0])

    def train(params: Any, state: Any, x: Any) -> Any:
        loss, grads = jax.value_and_grad(mean_loss)(params, x)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    def draw(params: Any, key: Any) -> Any:
        return model.sample(params, key, batch)

    def their_loss(x: Any) -> Any:
        y, log_det = peer.forward(x)
        return (0.5 * (y**2).sum(-1) + math.log(2 * math.pi) - log_det).mean()

    adam = torch.optim.Adam(peer.parameters, RATE)

    def their_step() -> Any:
        adam.zero_grad(set_to_none=True)
        loss = their_loss(torch_x)
        loss.backward()
        adam.step()
        return loss

    def their_samples(z: Any) -> Any:
        with torch.inference_mode():
            return peer.inverse(z)[0]

    key, state = jax.random.key(1), tx.init(params)
    began = time.perf_counter()
    step = jax.jit(train, donate_argnums=(0, 1)).lower(params, state, x).compile()
    sampler = jax.jit(draw).lower(params, key).compile()
    compiled = time.perf_counter() - began

    with torch.inference_mode():
        y, log_det = peer.forward(torch_x)
        log_prob = -0.5 * (y**2).sum(-1) - math.log(2 * math.pi) + log_det
    same_noise = jax.random.normal(key, (batch, 2))
    errors = [
        common.relative(model.log_prob(params, None, jnp.asarray(x)), log_prob),
        common.relative(sampler(params, key), their_samples(torch.from_numpy(np.array(same_noise)))),
    ]
    params, state, _ = step(params, state, x)
    params, state, ours = step(params, state, x)
    their_step()
    errors.append(common.relative(ours, their_step().detach()))
    if not max(errors) < TOLERANCE:
        raise SystemExit(f"{case}: densities, samples, losses differ from {peer.name}'s by {errors}")

    held = [params, state]

    def our_step() -> None:
        held[0], held[1], loss = step(held[0], held[1], x)
        jax.block_until_ready(loss)

    works = {
        "train": (our_step, their_step),
        "sample": (
            lambda: jax.block_until_ready(sampler(held[0], key)),
            lambda: their_samples(torch.randn(batch, 2)),
        ),
    }
    for work, (own_call, peer_call) in works.items():
        timings = common.interleave({"jaxgen": own_call, "peer": peer_call}, rounds, warm=5)
        own, other = timings["jaxgen"], timings["peer"]
        shared = {"layers": layers, "batch": batch, "unit": "examples"}
        log.add(
            f"{case}, {work}",
            side="jaxgen",
            value=batch / own.median,
            compile_seconds=round(compiled, 2),
            error=float(f"{max(errors):.1e}"),
            **shared,
            **own.summary(),
            ratio=round(other.median / own.median, 3),
            cpu_ratio=round(other.summary()["cpu_seconds"] / own.summary()["cpu_seconds"], 3),
        )
        log.add(f"{case}, {work}", side=peer.name, value=batch / other.median, **shared, **other.summary())


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """Both flows, in this process."""
    torch = common.peer()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rounds = 5 if arguments.quick else arguments.rounds
    affine, spline = (2, 2) if arguments.quick else (16, 8)
    for batch in (256,) if arguments.quick else (256, 4096):
        _case(f"RealNVP, batch {batch}", affine, _zuko(affine), batch, rounds, log)
        _case(f"spline flow, batch {batch}", spline, _normflows(spline), batch, rounds, log)


def main() -> None:
    parser = common.parser("RealNVP and a spline flow compared with zuko and normflows, on the same weights.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=50, help="turns of each measurement")
    arguments = parser.parse_args()
    common.peer_present()
    common.set_threads(arguments.threads)
    log = common.Log("flows", arguments)
    measure(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
