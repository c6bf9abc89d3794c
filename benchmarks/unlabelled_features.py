"""Whether features of images without classes rank good and poor samples: ``python -m benchmarks.unlabelled_features``.

The Frechet distance to training images, in whitened energies of oriented filters, of held-out images and of these made
worse in one way each. Nothing is trained, nothing is timed.
"""

import argparse
import sys
from typing import Any

from benchmarks import common


def poor(train: Any, real: Any) -> dict[str, Any]:
    """Sets of images by what is wrong with them."""
    import numpy as np

    from jaxgen.baselines import gaussian_images, principal_components
    from jaxgen.imaging.smoothing import gaussian_filter

    rng, n = np.random.default_rng(0), len(real)
    half = real.shape[1] // 2
    return {
        "held-out images": real,
        "noise of 0.02": real + 0.02 * rng.normal(size=real.shape),
        "smoothed by 0.5 pixels": gaussian_filter(real, 0.5),
        "64 principal components": principal_components(train, 64).reconstruct(real),
        "a Gaussian of images": gaussian_images(train, n, 0),
        "lower halves of others": np.concatenate([real[:, :half], np.roll(real, 1, 0)[:, half:]], axis=1),
        "20 images, repeated": real[rng.integers(0, 20, n)],
        "smoothed by 1.5 pixels": gaussian_filter(real, 1.5),
        "noise of 0.1": real + 0.1 * rng.normal(size=real.shape),
        "upside down": real[:, ::-1],
    }


def measure(arguments: argparse.Namespace, log: common.Log) -> None:
    """One line per set."""
    from jaxgen.data import load, measure_range, resized
    from jaxgen.families.image_features import Energies
    from jaxgen.metrics import frechet_distance
    from jaxgen.metrics.sample_sets import Whitened

    for data in arguments.data.split(","):
        splits = load(data, wants=("image",), spatial=2)
        low, high = measure_range(splits.train)
        held = (splits.train, splits.test)
        train, real = (resized(part, arguments.size, (tuple(low), tuple(high))).arrays["image"] for part in held)
        features = Whitened(Energies(), train[: arguments.most])
        known = features(train[: arguments.most])
        for name, images in poor(train, real).items():
            distance = float(frechet_distance(known, features(images)))
            log.add(name, data=splits.name, size=arguments.size, images=len(images), frechet=round(distance, 2))


def main() -> None:
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--data", default="cxr_phantom/48", help="names or files, separated by commas")
    parser.add_argument("--size", type=int, default=48, help="pixels along one side")
    parser.add_argument("--most", type=int, default=1000, help="training images")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.data, arguments.size = "cxr_phantom/16", 16
    log = common.Log("unlabelled_features", arguments)
    measure(arguments, log)
    print("| images | data | Frechet |\n|---|---|---|", file=sys.stderr)
    for row in log.rows:
        print(f"| {row['case']} | {row['data']} | {row['frechet']:g} |", file=sys.stderr)


if __name__ == "__main__":
    main()
