"""How many modes of a known mixture each GAN loss finds, over 10 keys: ``python -m benchmarks.mode_coverage``.

The same small networks, optimizer and number of generator steps for all; nothing was tuned to any of them, and every
penalty has the weight 0.1. All keys of a loss train at once, in one program. Of each
key 2,500 samples of the averaged generator are evaluated: the modes that hold a tenth of their due within 3 standard
deviations, the share of samples as near to any mode, and the divergence of the modes' frequencies from even ones.
"""

import argparse
import functools
import sys
import time
from typing import Any

from benchmarks import common

SAMPLES, BATCH, LATENT = 2500, 128, 2
DEVIATION = {"eight_gaussians": 0.2, "25_gaussians": 0.05}


def cases() -> dict[str, dict[str, Any]]:
    """The games by name: arguments of `gan_model`, and `spectral` for a critic under spectral norm."""
    from jaxgen.losses import adversarial as games

    return {
        "minimax": {"adversarial": games.minimax()},
        "non-saturating": {"adversarial": games.non_saturating()},
        "least squares": {"adversarial": games.least_squares()},
        "hinge": {"adversarial": games.hinge()},
        "hinge, spectral norm": {"adversarial": games.hinge(), "spectral": True},
        "Wasserstein, gradient penalty": {
            "adversarial": games.wasserstein(),
            "gradient_penalty": 0.1,
            "critic_steps": 5,
        },
        "non-saturating, R1": {"adversarial": games.non_saturating(), "r1": 0.1},
        "relativistic": {"adversarial": games.relativistic()},
        "relativistic, R1 and R2": {"adversarial": games.relativistic(), "r1": 0.1, "r2": 0.1},
    }


def train(options: dict[str, Any], data: str, keys: int, steps: int, widths: tuple[int, ...]) -> Any:
    """Samples ``[keys, SAMPLES, 2]`` of the averaged generators."""
    import jax
    import jax.numpy as jnp

    from jaxgen.data import planar
    from jaxgen.families import Game, gan_model
    from jaxgen.nets import mlp, spectral_norm
    from jaxgen.train import init_state, make_optimizer, make_train_step

    options = dict(options)
    critic = mlp(1, widths=widths)
    if options.pop("spectral", False):
        critic = spectral_norm(critic)
    model = gan_model(mlp(2, widths=widths), critic, (2,), latent=LATENT, game=Game(**options), data="points")
    optimizers = {
        name: make_optimizer(1e-3, 0, steps, "cosine", name="adam", b1=0.0, b2=0.99) for name in ("generator", "critic")
    }
    step = make_train_step(model, optimizers, ema_decay=0.999)
    modes = jnp.asarray(planar.planar_set(data).modes, jnp.float32)

    def points(key: Any) -> dict[str, Any]:
        mode_key, noise_key = jax.random.split(key)
        chosen = modes[jax.random.randint(mode_key, (BATCH,), 0, len(modes))]
        return {"points": chosen + DEVIATION[data] * jax.random.normal(noise_key, (BATCH, 2))}

    def start(key: Any) -> Any:
        return init_state(model, optimizers, key, points(key))

    @functools.partial(jax.jit, static_argnums=2, donate_argnums=0)
    def many(states: Any, key: Any, count: int) -> Any:
        def one(states: Any, key: Any) -> tuple[Any, None]:
            return jax.vmap(lambda state, key: step(state, points(key))[0])(states, jax.random.split(key, keys)), None

        return jax.lax.scan(one, states, jax.random.split(key, count))[0]

    first = jax.random.split(jax.random.key(0), keys)
    states = jax.jit(jax.vmap(start))(first)
    for chunk in range(0, steps, 500):
        states = jax.block_until_ready(
            many(states, jax.random.fold_in(jax.random.key(1), chunk), min(500, steps - chunk))
        )
    draw = jax.vmap(lambda params, key: model.sample(params, key, SAMPLES))
    return jax.jit(draw)(states.ema, jax.random.split(jax.random.key(2), keys))


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """One line a loss and set."""
    import numpy as np

    from jaxgen.data import planar
    from jaxgen.metrics.modes import mode_coverage

    games = cases()
    chosen = arguments.losses.split(";") if arguments.losses else list(games)
    if unknown := set(chosen) - set(games):
        raise SystemExit(f"--losses: there is no {'; '.join(unknown)}; choose from {'; '.join(games)}")
    widths = tuple(int(width) for width in arguments.widths.split(","))
    for data in arguments.data.split(","):
        distribution = planar.planar_set(data)
        for name in chosen:
            began = time.perf_counter()
            samples = np.asarray(train(games[name], data, arguments.keys, arguments.steps, widths))
            finite = [x for x in samples if np.isfinite(x).all()]
            found = [mode_coverage(x, distribution.modes, DEVIATION[data]) for x in finite]
            covered = [entry.covered for entry in found] + [0] * (len(samples) - len(finite))
            log.add(
                name,
                data=data,
                modes=len(distribution.modes),
                covered=round(float(np.mean(covered)), 2),
                covered_least=min(covered),
                complete=sum(count == len(distribution.modes) for count in covered),
                quality=round(float(np.mean([entry.quality for entry in found])), 4),
                divergence=round(float(np.mean([entry.divergence for entry in found])), 4),
                keys=len(samples),
                steps=arguments.steps,
                widths=arguments.widths,
                seconds=round(time.perf_counter() - began, 1),
            )


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table."""
    lines = [
        "| set | loss | modes found, mean (least) | keys with all | quality | divergence (nats) |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['data']} | {row['case']} | {row['covered']:g} ({row['covered_least']}) of {row['modes']} | "
            f"{row['complete']} of {row['keys']} | {row['quality']:.3f} | {row['divergence']:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=10, help="runs of each loss")
    parser.add_argument("--steps", type=int, default=3000, help="steps of the generator")
    parser.add_argument("--widths", default="64,64", help="hidden layers of both networks")
    parser.add_argument("--losses", default="", help="some of them, separated by semicolons")
    parser.add_argument("--data", default=",".join(DEVIATION), help="sets, separated by commas")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.keys, arguments.steps = 2, 20
    log = common.Log("mode_coverage", arguments)
    measure(arguments, log)
    print(markdown(log.rows), file=sys.stderr)


if __name__ == "__main__":
    main()
