"""Flow matching and continuous flows in the plane, compared with torchcfm and torchdiffeq.

``python -m benchmarks.ode_flows``.

The same multilayer perceptron on both sides, with the same weights: losses, samples and log-densities must agree before
anything is timed. Ratios are the peer's time over ours: above 1, jaxgen is faster. PyTorch runs eagerly.
"""

import argparse
import itertools
from collections.abc import Callable
from typing import Any

from benchmarks import common

WIDTHS = (64, 64, 64)
TOLERANCE = 1e-3
"""Largest relative difference of losses, samples and log-densities in float32."""
LEARNING_RATE = 1e-3

COLUMNS = {
    "case": "case",
    "batch": "batch",
    "side": "side",
    "seconds": "median s",
    "cpu_seconds": "CPU s",
    "error": "error",
    "ratio": "ratio",
    "cpu_ratio": "CPU ratio",
}


def velocity_net() -> Any:
    """The velocity, on x and t itself, side by side."""
    import jax.numpy as jnp

    from jaxgen.nets import mlp
    from jaxgen.types import Net

    net = mlp(2, widths=WIDTHS)

    def column(x: Any, t: Any) -> Any:
        return jnp.broadcast_to(jnp.asarray(t, x.dtype), x.shape[:1])[:, None]

    return Net(
        lambda key, x, t: net.init(key, x, None, column(x, t)),
        lambda params, x, t, key=None: net.apply(params, x, None, column(x, t)),
    )


def torch_module(params: Any) -> Any:
    """The same in PyTorch."""
    import numpy as np
    import torch

    sizes = (3, *WIDTHS, 2)
    layers: list[Any] = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layer = torch.nn.Linear(a, b)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(np.array(params[f"Dense_{i}"]["kernel"]).T.copy()))
            layer.bias.copy_(torch.tensor(np.array(params[f"Dense_{i}"]["bias"])))
        layers += [layer, torch.nn.SiLU()]
    return torch.nn.Sequential(*layers[:-1])


def _velocity(module: Any) -> Callable[[Any, Any], Any]:
    import torch

    def velocity(t: Any, x: Any) -> Any:
        return module(torch.cat([x, t.expand(len(x), 1)], dim=-1))

    return velocity


def _relative(ours: Any, theirs: Any) -> float:
    import numpy as np

    ours, theirs = np.asarray(ours), theirs.detach().numpy()
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


class _Case:
    """One piece of work: a call of each side, and how far their answers are apart."""

    def __init__(self, name: str, ours: Callable[[], Any], theirs: Callable[[], Any], error: float):
        self.name, self.ours, self.theirs, self.error = name, ours, theirs, error


def _training(net: Any, params: Any, x: Any, steps: int, *, likelihood: bool) -> _Case:
    """Steps of Adam on one batch; for flow matching with fresh noise and times, as torchcfm's users write it."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    import torch
    import torchcfm.conditional_flow_matching
    import torchdiffeq

    from jaxgen.families import cnf_model, flow_matching_model
    from jaxgen.losses import flow_matching
    from jaxgen.paths import rectified
    from jaxgen.samplers import Sampling, euler, grids
    from jaxgen.train import init_state, make_many_steps, make_train_step

    path, b = rectified(), len(x)
    module, rng = torch_module(params), np.random.default_rng(1)
    matcher = torchcfm.conditional_flow_matching.ConditionalFlowMatcher(sigma=0.0)
    theirs_x, euler_steps = torch.tensor(x), 10

    def peer_log_prob(module: Any, x: Any) -> Any:
        return their_log_prob(torchdiffeq, module, x, euler_steps, None, train=True)

    if likelihood:
        model = cnf_model(net, (2,), solver="euler", steps=euler_steps, data="x")
        ours = model.objectives[0].loss({"net": params}, jax.random.key(0), {"x": jnp.asarray(x)})[0].mean()
        theirs = -peer_log_prob(module, theirs_x).mean()
    else:
        model = flow_matching_model(net, (2,), Sampling(path, euler(path), grids.uniform(path, 2)), data="x")
        noise, t = rng.standard_normal((b, 2)).astype(np.float32), rng.random(b).astype(np.float32)
        predict = lambda x_t, t: net.apply(params, x_t, t)  # noqa: E731
        ours = flow_matching(predict, path, jax.random.key(0), x, noise=noise, t=t).mean()
        t_, x_t, u_t = matcher.sample_location_and_conditional_flow(torch.tensor(noise), theirs_x, t=torch.tensor(t))
        theirs = ((module(torch.cat([x_t, t_[:, None]], -1)) - u_t) ** 2).mean()
    error = abs(float(ours) / theirs.item() - 1)

    optimizers = {"net": optax.adam(LEARNING_RATE)}
    batch = {"x": jnp.asarray(x)}
    state = init_state(model, optimizers, jax.random.key(0), batch)
    many = jax.jit(make_many_steps(make_train_step(model, optimizers, ema_decay=0.999)), donate_argnums=0)
    held, indices = [state], jnp.broadcast_to(jnp.arange(b), (steps, b))

    def our_steps() -> None:
        held[0], metrics = many(held[0], batch, indices)
        jax.block_until_ready(metrics)

    trained = torch_module(params)
    parameters = list(trained.parameters())
    averages = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)

    def their_steps() -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            if likelihood:
                loss = -peer_log_prob(trained, theirs_x).mean()
            else:
                t, x_t, u_t = matcher.sample_location_and_conditional_flow(torch.randn_like(theirs_x), theirs_x)
                loss = ((trained(torch.cat([x_t, t[:, None]], -1)) - u_t) ** 2).mean()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(averages, parameters, 1e-3)

    name = f"CNF, {steps} train steps of {euler_steps} Euler steps" if likelihood else f"FM, {steps} train steps"
    return _Case(name, our_steps, their_steps, error)


def their_log_prob(
    torchdiffeq: Any, module: Any, x: Any, steps: int, probe: Any, *, train: bool = False, method: str = "euler"
) -> Any:
    """From data (t=1) to noise (t=0), by as many steps; the trace exact where there is no probe."""
    import math

    import torch

    velocity = _velocity(module)

    def rates(t: Any, state: Any) -> Any:
        with torch.enable_grad():
            y = state[0] if train and state[0].requires_grad else state[0].detach().requires_grad_(True)
            value = velocity(t, y)
            if probe is None:
                trace = sum(
                    torch.autograd.grad(value[:, i].sum(), y, create_graph=train, retain_graph=True)[0][:, i]
                    for i in range(y.shape[1])
                )
            else:
                product = torch.autograd.grad(value, y, probe, create_graph=train, retain_graph=train)[0]
                trace = (product * probe).sum(-1)
        return (value, trace) if train else (value.detach(), trace.detach())

    times = torch.linspace(1, 0, steps + 1)
    states, traces = torchdiffeq.odeint(rates, (x, torch.zeros(len(x))), times, method=method)
    return -0.5 * (states[-1] ** 2).sum(-1) - math.log(2 * math.pi) + traces[-1]


def _cases(net: Any, params: Any, batch: int, *, quick: bool) -> list[_Case]:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch
    import torchdiffeq

    from jaxgen.paths import rectified
    from jaxgen.samplers import continuous_flow, euler, from_velocity, grids, sample
    from jaxgen.samplers.ode import solve_ode

    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 2)).astype(np.float32)
    probe = rng.choice([-1.0, 1.0], (batch, 2)).astype(np.float32)
    module, theirs_x, path = torch_module(params), torch.tensor(x), rectified()
    velocity = _velocity(module)
    steps = 10 if quick else 100
    made = [_training(net, params, x, 5 if quick else 50, likelihood=False)]
    made.append(_training(net, params, x, 2 if quick else 10, likelihood=True))

    @jax.jit
    def by_euler(params: Any, x: Any) -> Any:
        denoise = from_velocity(lambda x, t: net.apply(params, x, t), path)
        return sample(euler(path), denoise, jax.random.key(0), x, grids.uniform(path, steps))

    @jax.jit
    def by_dopri5(params: Any, x: Any) -> Any:
        return solve_ode(net.apply, params, x, 0.0, 1.0, solver="dopri5", rtol=1e-5, atol=1e-5)

    def their_samples(**options: Any) -> Any:
        with torch.no_grad():
            return torchdiffeq.odeint(velocity, theirs_x, **options)[-1]

    even, ends = torch.linspace(0, 1, steps + 1), torch.tensor([0.0, 1.0])
    peers: dict[str, tuple[Any, Any]] = {
        f"sampling, {steps} Euler steps": (by_euler, lambda: their_samples(t=even, method="euler")),
        "sampling, Dopri5 to 1e-5": (by_dopri5, lambda: their_samples(t=ends, method="dopri5", rtol=1e-5, atol=1e-5)),
    }
    half = max(1, steps // 2)
    for name, probes in (("exact", None), ("Hutchinson", probe)):

        @jax.jit
        def ours(params: Any, x: Any, probes: Any = probes) -> Any:
            carried = continuous_flow.carry(
                lambda x, t: net.apply(params, x, t),
                x,
                1.0,
                0.0,
                probes=None if probes is None else jnp.asarray(probes)[None],
                solver="euler",
                steps=half,
            )
            return continuous_flow.normal_log_prob(carried.x) + carried.gained

        given = None if probes is None else torch.tensor(probes)
        peers[f"log-likelihood, {half} Euler steps, {name}"] = (
            ours,
            lambda given=given: their_log_prob(torchdiffeq, module, theirs_x, half, given),
        )
    for name, (ours, theirs) in peers.items():
        error = _relative(ours(params, x), theirs())
        made.append(_Case(name, lambda f=ours: jax.block_until_ready(f(params, x)), theirs, error))
    return made


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """All cases, in this process."""
    torch = common.peer()
    torch.set_num_threads(arguments.threads)
    import jax
    import jax.numpy as jnp
    import torchcfm
    import torchdiffeq

    torch.manual_seed(0)
    net = velocity_net()
    params = net.init(jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros(1))
    about = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "torchcfm": getattr(torchcfm, "__version__", None),
        "torchdiffeq": torchdiffeq.__version__,
    }
    for batch in arguments.batch:
        for case in _cases(net, params, batch, quick=arguments.quick):
            if not case.error < TOLERANCE:
                raise SystemExit(f"{case.name}: the answers differ by {case.error:.1e}, more than {TOLERANCE:.0e}")
            rounds = 2 if arguments.quick else arguments.rounds
            timings = common.interleave({"jaxgen": case.ours, "torch": case.theirs}, rounds)
            own, peer = timings["jaxgen"], timings["torch"]
            log.add(
                case.name,
                side="jaxgen",
                batch=batch,
                error=float(f"{case.error:.1e}"),
                **about,
                **own.summary(),
                ratio=round(peer.median / own.median, 3),
                cpu_ratio=round(peer.summary()["cpu_seconds"] / own.summary()["cpu_seconds"], 3),
            )
            log.add(case.name, side="torchcfm, torchdiffeq", batch=batch, **about, **peer.summary())


def main() -> None:
    parser = common.parser("Flow matching and continuous flows in the plane compared with torchcfm and torchdiffeq.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10, help="turns of each measurement")
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 4096], help="points at a time")
    arguments = parser.parse_args()
    common.peer_present("torchcfm", "torchdiffeq")
    common.set_threads(arguments.threads)
    log = common.Log("ode_flows", arguments)
    measure(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
