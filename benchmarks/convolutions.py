"""Large 3 x 3 convolutions and their gradients, plain and in Winograd's form: ``python -m benchmarks.convolutions``.

Multiplications are what such a convolution waits for on CPU. The ratio is the time of the plain form over that of
`jaxgen.nets.winograd`, in turns; "used" says which of the two the networks take.
"""

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks import common

CASES = {
    "16 x 64 x 64, 32 to 32": (16, 64, 32, 32),
    "4 x 64 x 64, 64 to 64": (4, 64, 64, 64),
    "4 x 128 x 128, 32 to 32": (4, 128, 32, 32),
    "4 x 32 x 32, 128 to 128": (4, 32, 128, 128),
    "4 x 64 x 64, 128 to 64": (4, 64, 128, 64),
    "4 x 64 x 64, 192 to 192": (4, 64, 192, 192),
    "4 x 16 x 16, 256 to 256": (4, 16, 256, 256),
}
COLUMNS = {"case": "case", "side": "what", "plain": "s plain", "winograd": "s Winograd", "ratio": "ratio"}
COLUMNS |= {"error": "error", "plain_error": "error of plain", "used": "used"}


def _forms(b: int, n: int, c_in: int, c_out: int) -> dict[str, tuple[Callable[..., Any], Callable[..., Any], Any]]:
    """What is computed, plainly and in Winograd's form, and of which arrays."""
    import jax

    from jaxgen.nets.canonical_convolution import _plain
    from jaxgen.nets.winograd import winograd_convolution, winograd_kernel_gradient

    ones = (1, 1)
    options = {"strides": ones, "padding": (ones, ones), "x_dilation": ones, "kernel_dilation": ones}
    keys = jax.random.split(jax.random.key(0), 3)
    x, cotangent = (jax.random.normal(key, (b, n, n, c)) for key, c in zip(keys, (c_in, c_out), strict=False))
    kernel = jax.random.normal(keys[2], (3, 3, c_in, c_out)) / (9 * c_in) ** 0.5

    def to_kernel(x: Any, cotangent: Any) -> Any:
        shape = jax.ShapeDtypeStruct(kernel.shape, x.dtype)
        return jax.linear_transpose(lambda kernel: _plain(x, kernel, **options), shape)(cotangent)[0]

    return {
        "value": (lambda x, kernel: _plain(x, kernel, **options), winograd_convolution, (x, kernel)),
        "gradient in the kernel": (to_kernel, winograd_kernel_gradient, (x, cotangent)),
    }


def _used(side: str, arrays: Any) -> str:
    import jax

    from jaxgen.nets.canonical_convolution import canonical_convolution

    ones = (1, 1)
    x, other = arrays
    if side == "value":
        lowered = jax.jit(lambda x, k: canonical_convolution(x, k, ones, (ones, ones))).lower(x, other)
    else:
        kernel = jax.ShapeDtypeStruct((3, 3, x.shape[-1], other.shape[-1]), x.dtype)

        def to_kernel(x: Any, cotangent: Any) -> Any:
            return jax.linear_transpose(lambda k: canonical_convolution(x, k, ones, (ones, ones)), kernel)(cotangent)

        lowered = jax.jit(to_kernel).lower(x, other)
    return "Winograd" if "stablehlo.while" in lowered.as_text() else "plain"


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """Each case, both forms."""
    import jax

    for case, (b, n, c_in, c_out) in CASES.items():
        shape = (1, 16, c_in, c_out) if arguments.quick else (b, n, c_in, c_out)
        for side, (plain, winograd, arrays) in _forms(*shape).items():
            with jax.enable_x64(True):
                exact = jax.jit(plain)(*(a.astype("float64") for a in arrays))
            forms = {"plain": jax.jit(plain), "winograd": jax.jit(winograd)}
            errors = {name: common.relative(form(*arrays), exact) for name, form in forms.items()}
            if not max(errors.values()) < 1e-5:
                raise SystemExit(f"{case}, {side}: relative errors {errors}")
            calls = {name: lambda f=form, a=arrays: jax.block_until_ready(f(*a)) for name, form in forms.items()}
            timings = common.interleave(calls, 2 if arguments.quick else arguments.rounds)
            seconds = {name: timing.median for name, timing in timings.items()}
            log.add(
                case,
                side=side,
                **{name: round(s, 5) for name, s in seconds.items()},
                ratio=round(seconds["plain"] / seconds["winograd"], 2),
                error=f"{errors['winograd']:.1e}",
                plain_error=f"{errors['plain']:.1e}",
                used=_used(side, arrays),
            )


def main() -> None:
    parser = common.parser("Large 3 x 3 convolutions and their kernels' gradients, plain and in Winograd's form.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each measurement")
    arguments = parser.parse_args()
    common.set_threads(arguments.threads)
    log = common.Log("convolutions", arguments)
    measure(arguments, log)
    log.table(COLUMNS)


if __name__ == "__main__":
    main()
