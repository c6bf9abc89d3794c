"""K-space cold diffusion: columns that the scanner left out are put back one by one, with no noise anywhere.

    jaxgen run kspace_cold_diffusion                            # phantom brains with a smooth phase, computed
    jaxgen run kspace_cold_diffusion --data DATA                # your magnitude images: an npz, a folder, a TFDS name
    jaxgen apply runs/kspace_cold_diffusion scan.npz --out o    # your own k-space (array `kspace`, perhaps `mask`)

One network is trained for random columns at all accelerations. It is compared with its direct prediction (a supervised
reconstruction), the same with the measured columns put in, the zero-filled image, and total variation with a weight
chosen on validation images; and on equispaced columns, which it has never seen.

Shen et al. 2024, "Learning to reconstruct accelerated MRI through k-space cold diffusion without noise".
"""

import dataclasses
import functools

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data.kspace import read_kspace
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Reader, Run
from jaxgen.imaging.sampling_masks import mixed_mask
from jaxgen.medical.reconstruction import kspace_cold_diffusion as cold
from jaxgen.tasks import images, networks
from jaxgen.tasks.reconstruction import columns, comparison
from jaxgen.types import Array, Key, Model, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColdConfig(networks.UNetConfig):
    accelerations: tuple[int, ...] = option(
        (4, 8), "how many times fewer columns are measured, in training and evaluation", ge=2, le=32, group="method"
    )
    phase: float = option(
        1.0, "standard deviation of the smooth random phase of images, radians", ge=0, le=10, group="data"
    )
    restore_steps: int = option(0, "evaluations per restoration (0: one per missing column)", ge=0, group="method")
    tv_iterations: int = option(200, "iterations of total variation", ge=1, group="evaluation")
    test_images: int = option(64, "test images to reconstruct", ge=2, group="evaluation")

    def __post_init__(self) -> None:
        super().__post_init__()
        if max(self.accelerations) > self.size // 2:
            raise UserError(f"--accelerations must leave two of {self.size} columns, got {max(self.accelerations)}")


def model(run: Run) -> Model:
    config, shape = run.config, (run.config.size, run.config.size, 2)
    mask = functools.partial(mixed_mask, shape=shape[:2], accelerations=config.accelerations)
    steps = config.restore_steps or config.size
    return cold.kspace_cold_diffusion_model(networks.network(run, image_channels=2), mask, shape, steps=steps)


def restore(run: Run, params: Params, keys: Key, kspace: Array, missing: int) -> dict[str, Array]:
    config, net = run.config, networks.network(run, image_channels=2)
    multiple = config.patch * 2 ** (len(config.channels) - 1)
    predict = cold.predictor(net, params, kspace.shape[2], multiple)
    return cold.reconstructions(predict, keys, kspace, steps=min(config.restore_steps, missing) or missing)


def evaluate(run: Run) -> Evaluation:
    restored = columns.restorations(run, run.params["restorer"]["net"], functools.partial(restore, run))
    return columns.evaluate(run, restored)


EXPERIMENT = comparison.experiment(
    name="kspace_cold_diffusion",
    summary="MRI from few columns of k-space, put back without noise, compared with direct prediction and TV",
    data="phantom brains with a smooth phase, computed; or your magnitude images",
    config=ColdConfig,
    presets={
        "smoke": {"steps": 6, "checkpoint_every": 3, "channels": (8, 12), "attention": (1,)},
        "small": {"chunk": 32},
        "full": {"size": 320, "channels": (64, 128, 256, 512), "blocks": 2, "attention": (3,), "patch": 1}
        | {"accelerations": (8,), "phase": 0.0, "mirror": False, "tv_iterations": 300, "test_images": 500}
        | {"chunk": 8}
        | {"steps": 700_000, "batch_size": 6, "learning_rate": 2e-5, "schedule": "constant"}
        | {"optimizer": "adam", "ema_decay": 0.9995},
    },
    stages=(images.stage("restorer", model, prepare=columns.prepare),),
    evaluate=evaluate,
    apply=lambda run: columns.apply(run.params["restorer"]["net"], functools.partial(restore, run)),
    reader=Reader((".npz", ".h5"), read_kspace),
    baseline="total variation",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
