"""Convolutions and their gradients inside of a loop and outside: ``python -m benchmarks.loops``.

On CPU XLA runs the gradients that JAX derives of a convolution slowly inside of a loop. Beside them are those of
`jaxgen.nets.canonical_convolution`, which the networks use there. The ratio is the time in a loop over that outside.
"""

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks import common

TURNS = 5
COLUMNS = {"case": "case", "side": "convolution", "outside": "s outside", "inside": "s in a loop", "ratio": "ratio"}


def convolutions() -> dict[str, Callable[[Any, Any], Any]]:
    """The convolution of 3 x 3 that keeps the size, by its name in the table."""
    import jax

    from jaxgen.nets.canonical_convolution import canonical_convolution

    one, same = (1, 1), ((1, 1), (1, 1))
    layout = ("NHWC", "HWIO", "NHWC")
    return {
        "JAX": lambda x, kernel: jax.lax.conv_general_dilated(x, kernel, one, same, dimension_numbers=layout),
        "canonical": lambda x, kernel: canonical_convolution(x, kernel, one, same),
    }


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """Each gradient, by each convolution."""
    import jax
    import jax.numpy as jnp

    b, n = (2, 8) if arguments.quick else (32, 16)
    keys = jax.random.split(jax.random.key(0))
    x, kernel = jax.random.normal(keys[0], (b, n, n, 32)), 0.05 * jax.random.normal(keys[1], (3, 3, 32, 64))
    for side, convolution in convolutions().items():

        def total(x: Any, kernel: Any, convolution: Any = convolution) -> Any:
            return jnp.sum(jnp.tanh(convolution(x, kernel)))

        turns: dict[str, Callable[[Any, Any], Any]] = {
            "value": lambda x, kernel, total=total: x + 1e-6 * total(x, kernel),
            "gradient in x": lambda x, kernel, total=total: x - 1e-3 * jax.grad(total, 0)(x, kernel),
            "gradient in the kernel": lambda x, kernel, total=total: x - 1e-6 * jnp.sum(jax.grad(total, 1)(x, kernel)),
        }
        for case, turn in turns.items():
            once = jax.jit(turn)
            loop = jax.jit(lambda x, kernel, turn=turn: jax.lax.fori_loop(0, TURNS, lambda _, x: turn(x, kernel), x))

            def outside(once: Any = once) -> Any:
                y = x
                for _ in range(TURNS):
                    y = once(y, kernel)
                return jax.block_until_ready(y)

            error = common.relative(outside(), loop(x, kernel))
            if not error < 1e-3:
                raise SystemExit(f"{case}, {side}: inside and outside of the loop differ by {error:.1e}")
            calls = {"outside": outside, "inside": lambda loop=loop: jax.block_until_ready(loop(x, kernel))}
            timings = common.interleave(calls, 2 if arguments.quick else arguments.rounds)
            seconds = {place: timing.median / TURNS for place, timing in timings.items()}
            ratio = round(seconds["inside"] / seconds["outside"], 2)
            log.add(case, side=side, **{place: round(s, 5) for place, s in seconds.items()}, ratio=ratio)


def main() -> None:
    parser = common.parser("Convolutions and their gradients inside of a loop and outside.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each measurement")
    arguments = parser.parse_args()
    common.set_threads(arguments.threads)
    log = common.Log("loops", arguments)
    measure(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
