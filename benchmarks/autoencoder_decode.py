"""A brain volume decoded here, whole and in tiles, and by MONAI: ``python -m benchmarks.autoencoder_decode``.

The autoencoder is that of MONAI's brain bundle (13.8 million parameters), with the same random weights in all. Every
measurement is a process of its own, so that its peak memory is its own; the volumes must agree before any is reported.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import common

METHODS = ("tiles", "whole", "monai")
SIZES = {"quick": (2, 3, 2), "full": (20, 28, 20)}
"""Of the code; volumes are eight times as long along each axis."""


def arguments_of(quick: bool) -> dict[str, Any]:
    return {
        "spatial_dims": 3,
        "channels": (8, 16, 16, 16) if quick else (64, 128, 128, 128),
        "num_res_blocks": 2,
        "attention_levels": (False,) * 4,
        "norm_num_groups": 8 if quick else 32,
        "with_encoder_nonlocal_attn": False,
        "with_decoder_nonlocal_attn": False,
    }


def config_of(quick: bool) -> dict[str, Any]:
    return {"_target_": "AutoencoderKL", **arguments_of(quick)}


def decoder_here(method: str, folder: Path, arguments: argparse.Namespace) -> Any:
    """A function without arguments that decodes, here."""
    import jax
    import numpy as np

    from jaxgen.interop import monai_autoencoder, monai_kl
    from jaxgen.nets import tiled_kl_decoder

    z = np.load(folder / "code.npy")
    loaded = monai_autoencoder.load(folder / "weights.pt", config_of(arguments.quick))
    params = loaded.params["decoder"]
    if method == "whole":
        decode = jax.jit(loaded.decoder.apply)
    else:
        form, _ = monai_kl.entries_of(arguments_of(arguments.quick), "config", False)
        decode = tiled_kl_decoder(1, form, rows=arguments.rows).apply
    return lambda: np.asarray(decode(params, z))


def decoder_there(folder: Path, arguments: argparse.Namespace) -> Any:
    """A function without arguments that decodes, in MONAI."""
    import numpy as np

    torch = common.peer()
    from monai.networks.nets import AutoencoderKL

    z = torch.from_numpy(np.moveaxis(np.load(folder / "code.npy"), -1, 1).copy())
    net = AutoencoderKL(**arguments_of(arguments.quick)).eval()
    net.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))

    def decode() -> Any:
        with torch.inference_mode():
            return np.moveaxis(net.decode(z).numpy(), 1, -1)

    return decode


def one(method: str, folder: Path, arguments: argparse.Namespace, log: common.Log) -> None:
    """Measure one method in this process."""
    import numpy as np

    made = decoder_there(folder, arguments) if method == "monai" else decoder_here(method, folder, arguments)
    scale = 2**20 if sys.platform != "darwin" else 2**30  # kilobytes on Linux, bytes on macOS
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    began = time.perf_counter()
    volume = made()
    first = time.perf_counter() - began
    timing = common.interleave({method: made}, arguments.rounds, warm=0)[method] if arguments.rounds else None
    np.save(folder / f"{method}.npy", volume)
    log.add(
        method,
        code=list(arguments.code),
        rows=arguments.rows if method == "tiles" else None,
        first_seconds=round(first, 3),
        **(timing.summary() if timing else {}),
        peak_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, 3),
        before_gib=round(before, 3),
    )


def prepare(folder: Path, arguments: argparse.Namespace) -> None:
    """Random weights and a random code, in files."""
    import jax
    import numpy as np

    from jaxgen.interop import monai_autoencoder

    rng, config = np.random.default_rng(0), config_of(arguments.quick)

    def draw(path: Any, shape: Any) -> np.ndarray:
        kind = path[-1].key
        x = rng.standard_normal(shape.shape).astype(np.float32)
        return x / np.sqrt(np.prod(shape.shape[:-1])) if kind == "kernel" else 0.1 * x + (kind == "scale")

    params = jax.tree_util.tree_map_with_path(draw, monai_autoencoder.shapes(config))
    monai_autoencoder.save(folder / "weights.pt", params, config)
    np.save(folder / "code.npy", rng.standard_normal((1, *arguments.code, 3)).astype(np.float32))


def main() -> None:
    parser = common.parser("Decoding a volume with MONAI's brain autoencoder: seconds and peak memory.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--method", choices=METHODS, action="append", help="default: all")
    parser.add_argument("--code", type=int, nargs=3, help="size of the code; default: 20 28 20")
    parser.add_argument("--rows", type=int, default=8, help="planes of a tile")
    parser.add_argument("--rounds", type=int, default=1, help="timed decodes after the first, which compiles")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.code = tuple(arguments.code or SIZES["quick" if arguments.quick else "full"])
    methods = arguments.method or METHODS
    common.set_threads(arguments.threads)
    log = common.Log("autoencoder_decode", arguments)
    if arguments.folder is not None:
        one(methods[0], arguments.folder, arguments, log)
        return
    if "monai" in methods:
        common.peer_present("monai")
    import numpy as np

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments)
        for method in methods:
            flags = ["--folder", name, "--method", method, "--code", *map(str, arguments.code)]
            flags += ["--rows", str(arguments.rows), "--rounds", str(arguments.rounds)]
            flags += ["--threads", str(arguments.threads), *["--quick"] * arguments.quick]
            (row,) = common.child("benchmarks.autoencoder_decode", flags)
            apart = common.relative(np.load(folder / f"{method}.npy"), np.load(folder / f"{methods[0]}.npy"))
            if apart > 1e-4:
                raise SystemExit(f"{method} and {methods[0]} differ by {apart:.2g}")
            log.append(row | {"relative_difference": apart})
    log.table(
        {
            "case": "method",
            "first_seconds": "first s",
            "seconds": "s",
            "cpu_seconds": "CPU s",
            "peak_gib": "peak GiB",
            "relative_difference": "difference",
        }
    )


if __name__ == "__main__":
    main()
