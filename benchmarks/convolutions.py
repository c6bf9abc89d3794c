"""Large 3 x 3 convolutions and their gradients, plain and in Winograd's form: ``python -m benchmarks.convolutions``.

Multiplications are what such a convolution waits for on CPU. The ratio is the time of the plain form over that of
`jaxgen.nets.winograd`, in turns; "used" says which of the two the networks take.
"""

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks import common
from benchmarks.loops import convolutions

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


def _forms(convolution: Callable[[Any, Any], Any]) -> dict[str, Callable[[Any, Any], Any]]:
    """The value of x and a kernel, and of x and a cotangent the gradient in the kernel."""
    import jax

    def to_kernel(x: Any, cotangent: Any) -> Any:
        kernel = jax.ShapeDtypeStruct((3, 3, x.shape[-1], cotangent.shape[-1]), x.dtype)
        return jax.linear_transpose(lambda kernel: convolution(x, kernel), kernel)(cotangent)[0]

    return {"value": convolution, "gradient in the kernel": to_kernel}


def _arrays(b: int, n: int, c_in: int, c_out: int) -> dict[str, tuple[Any, Any]]:
    """What each is computed of."""
    import jax

    keys = jax.random.split(jax.random.key(0), 3)
    x, cotangent = (jax.random.normal(key, (b, n, n, c)) for key, c in zip(keys, (c_in, c_out), strict=False))
    kernel = jax.random.normal(keys[2], (3, 3, c_in, c_out)) / (9 * c_in) ** 0.5
    return {"value": (x, kernel), "gradient in the kernel": (x, cotangent)}


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """Each case, both forms."""
    import jax

    from jaxgen.nets.winograd import winograd_convolution, winograd_kernel_gradient

    plain, taken = (_forms(convolution) for convolution in convolutions().values())
    winograd = {"value": winograd_convolution, "gradient in the kernel": winograd_kernel_gradient}
    for case, (b, n, c_in, c_out) in CASES.items():
        shape = (1, 16, c_in, c_out) if arguments.quick else (b, n, c_in, c_out)
        for side, arrays in _arrays(*shape).items():
            with jax.enable_x64(True):
                exact = jax.jit(plain[side])(*(a.astype("float64") for a in arrays))
            forms = {"plain": jax.jit(plain[side]), "winograd": jax.jit(winograd[side])}
            errors = {name: common.relative(form(*arrays), exact) for name, form in forms.items()}
            if not max(errors.values()) < 1e-5:
                raise SystemExit(f"{case}, {side}: relative errors {errors}")
            calls = {name: lambda f=form, a=arrays: jax.block_until_ready(f(*a)) for name, form in forms.items()}
            timings = common.interleave(calls, 2 if arguments.quick else arguments.rounds)
            seconds = {name: timing.median for name, timing in timings.items()}
            loops = "stablehlo.while" in jax.jit(taken[side]).lower(*arrays).as_text()
            log.add(
                case,
                side=side,
                **{name: round(s, 5) for name, s in seconds.items()},
                ratio=round(seconds["plain"] / seconds["winograd"], 2),
                error=f"{errors['winograd']:.1e}",
                plain_error=f"{errors['plain']:.1e}",
                used="Winograd" if loops else "plain",
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
