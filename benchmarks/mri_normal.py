"""``A' A`` of accelerated MRI by its short way and by forward and adjoint: ``python -m benchmarks.mri_normal``.

The data consistency of a posterior sampler (`jaxgen.medical.reconstruction.proximal`) asks for nothing else, once an
iteration of conjugate gradients. The ratio is the time of forward and adjoint over that of the short way.
"""

import argparse
from typing import Any

from benchmarks import common

ITERATIONS = 12
COLUMNS = {
    "case": "mask",
    "coils": "coils",
    "composed": "s, forward and adjoint",
    "short": "s, short",
    "ratio": "ratio",
}


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """One coil and eight, whole columns and points."""
    import jax
    import jax.numpy as jnp

    from jaxgen.imaging.coils import simulated_coils
    from jaxgen.imaging.mri import mri_operator
    from jaxgen.imaging.sampling_masks import poisson_disc_mask, random_mask
    from jaxgen.medical.reconstruction import proximal

    size = (16, 16) if arguments.quick else (128, 128)
    x = jax.random.normal(jax.random.key(0), (2, *size, 2))
    for case, make in {"columns": random_mask, "points": poisson_disc_mask}.items():
        mask = make(jax.random.key(1), size, 4)
        for coils in (1, 8):
            maps = None if coils == 1 else simulated_coils(jax.random.key(2), size, coils)
            y = mri_operator(mask, maps, channels=2).forward(x)

            def consistent(mask: Any, y: Any, short: bool, maps: Any = maps, columns: bool = case == "columns") -> Any:
                operator = mri_operator(mask, maps, channels=2, columns=columns)
                if not short:
                    operator = operator._replace(normal=None)
                return proximal(operator, y, jnp.zeros_like(x), 0.1, iterations=ITERATIONS)

            run = jax.jit(consistent, static_argnames="short")
            error = common.relative(run(mask, y, short=False), run(mask, y, short=True))
            if not error < 1e-4:
                raise SystemExit(f"{case}, {coils} coils: the two ways differ by {error:.1e}")
            calls = {
                name: lambda run=run, mask=mask, y=y, short=short: jax.block_until_ready(run(mask, y, short=short))
                for name, short in (("composed", False), ("short", True))
            }
            timings = common.interleave(calls, 2 if arguments.quick else arguments.rounds)
            seconds = {name: timing.median for name, timing in timings.items()}
            ratio = round(seconds["composed"] / seconds["short"], 2)
            log.add(case, coils=coils, **{name: round(s, 5) for name, s in seconds.items()}, ratio=ratio)


def main() -> None:
    parser = common.parser("A' A of accelerated MRI by its short way and by forward and adjoint.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each measurement")
    arguments = parser.parse_args()
    common.set_threads(arguments.threads)
    log = common.Log("mri_normal", arguments)
    measure(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
