"""Densities in the plane at equal size and steps, compared with torchcfm and torchdiffeq.

``python -m benchmarks.planar_density``. One perceptron is trained by flow matching and by maximum likelihood, here and
in PyTorch, from the same weights, with the same optimizer, learning rates and batches of points. Each is evaluated
by one solver, ours, to 1e-5: the nats it loses to the true density at fresh points. Nothing is timed, and nothing
was tuned to either side.
"""

import argparse
import math
from typing import Any

from benchmarks import common
from benchmarks.ode_flows import their_log_prob, torch_module, velocity_net

BATCH, POINTS, FRESH, SOLVER_STEPS = 256, 50_000, 5000, 20
PEAK_RATE, DECAY = 2e-3, 0.995
METHODS = {"flow matching": 20_000, "likelihood": 2000}
"""Training steps of each method; the likelihood by the midpoint rule with `SOLVER_STEPS` steps."""

COLUMNS = {"data": "data", "case": "method", "side": "side", "excess": "nats above entropy", "error": "its error"}


def _rate(step: int, steps: int) -> float:
    """A cosine from the peak to 0."""
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))


def _ours(net: Any, params: Any, x: Any, method: str, steps: int) -> Any:
    """Our averaged parameters after training; row i of `x [steps, BATCH, 2]` is the batch of step i."""
    import jax
    import optax

    from jaxgen.families import cnf_model, flow_matching_model
    from jaxgen.paths import rectified
    from jaxgen.samplers import Sampling, euler, grids
    from jaxgen.train import init_state, make_many_steps, make_train_step

    path = rectified()
    if method == "likelihood":
        model = cnf_model(net, (2,), solver="midpoint", steps=SOLVER_STEPS, data="x")
    else:
        model = flow_matching_model(net, (2,), Sampling(path, euler(path), grids.uniform(path, 2)), data="x")
    model = model._replace(init=lambda key, batch: {"net": params})
    optimizers = {"net": optax.adam(optax.cosine_decay_schedule(PEAK_RATE, steps))}
    state = init_state(model, optimizers, jax.random.key(0), {"x": x[0]})
    many = jax.jit(make_many_steps(make_train_step(model, optimizers, ema_decay=DECAY)))
    for first in range(0, steps, 500):
        state, _ = many(state, {}, {"x": x[first : first + 500]})
    return state.ema["net"]


def _theirs(params: Any, x: Any, method: str, steps: int) -> Any:
    """The same of PyTorch's side, as our tree of parameters."""
    import torch
    import torchcfm.conditional_flow_matching
    import torchdiffeq

    module = torch_module(params)
    matcher = torchcfm.conditional_flow_matching.ConditionalFlowMatcher(sigma=0.0)
    parameters = list(module.parameters())
    averages = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.Adam(parameters, lr=PEAK_RATE)
    for i in range(steps):
        batch = torch.tensor(x[i])
        for group in optimizer.param_groups:
            group["lr"] = _rate(i, steps)
        optimizer.zero_grad(set_to_none=True)
        if method == "likelihood":
            loss = -their_log_prob(torchdiffeq, module, batch, SOLVER_STEPS, None, train=True, method="midpoint").mean()
        else:
            t, x_t, u_t = matcher.sample_location_and_conditional_flow(torch.randn_like(batch), batch)
            loss = ((module(torch.cat([x_t, t[:, None]], -1)) - u_t) ** 2).mean()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1 - DECAY)
    kernels, biases = averages[::2], averages[1::2]
    return {
        f"Dense_{i}": {"kernel": kernel.numpy().T.copy(), "bias": bias.numpy()}
        for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True))
    }


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """All sets and methods, in this process."""
    torch = common.peer()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxgen.data.planar import planar_set
    from jaxgen.samplers.continuous_flow import log_prob

    net = velocity_net()
    params = net.init(jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros(1))
    density = jax.jit(
        lambda params, x: log_prob(lambda x, t: net.apply(params, x, t), None, x, solver="dopri5", rtol=1e-5, atol=1e-5)
    )
    for data in arguments.data:
        distribution = planar_set(data)
        points, fresh = (
            distribution.draw(np.random.default_rng([0, k]), n)[0].astype(np.float32)
            for k, n in enumerate((POINTS, FRESH))
        )
        for method in arguments.method:
            steps = 20 if arguments.quick else METHODS[method]
            chosen = np.random.default_rng(1).integers(0, POINTS, (steps, BATCH))
            for side, train in {
                "jaxgen": lambda x, m=method, n=steps: _ours(net, params, x, m, n),
                "torchcfm" if method == "flow matching" else "torchdiffeq": (
                    lambda x, m=method, n=steps: _theirs(params, x, m, n)
                ),
            }.items():
                lost = distribution.log_prob(fresh) - np.asarray(density(train(points[chosen]), fresh), np.float64)
                error = lost.std(ddof=1) / math.sqrt(FRESH)
                log.add(method, side=side, data=data, excess=round(float(lost.mean()), 4), error=round(error, 4))


def main() -> None:
    parser = common.parser("Densities in the plane at equal size and steps, compared with torchcfm and torchdiffeq.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--data", nargs="+", default=["moons", "eight_gaussians", "spirals", "checkerboard"], help="sets of points"
    )
    parser.add_argument("--method", nargs="+", choices=tuple(METHODS), default=list(METHODS), help="how to train")
    arguments = parser.parse_args()
    common.peer_present("torchcfm", "torchdiffeq")
    common.set_threads(arguments.threads)
    log = common.Log("planar_density", arguments)
    measure(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
