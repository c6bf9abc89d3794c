"""An autoencoder of images, compared with principal components of the same dimension.

    jaxgen run autoencoder                                # phantom brains, computed
    jaxgen run autoencoder --code 16 --data DATA          # your images, to 16 dimensions

Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks".
"""

import dataclasses

from jaxgen.app.cli import run_module
from jaxgen.experiment import Evaluation, Run
from jaxgen.families import autoencoder_model
from jaxgen.tasks import autoencoding, images
from jaxgen.types import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(autoencoding.CodeConfig):
    """No options of its own."""


def model(run: Run) -> Model:
    return autoencoder_model(*autoencoding.networks(run))


def evaluate(run: Run) -> Evaluation:
    encode, decode = autoencoding.codec(run, run.params["autoencoder"])
    return autoencoding.Reconstructions(run, "autoencoder", encode, decode).evaluation()


EXPERIMENT = autoencoding.experiment(
    name="autoencoder",
    summary="An autoencoder of images, compared with principal components of the same dimension",
    data="phantom brains, computed; or your images",
    config=AutoencoderConfig,
    presets={"full": {"size": 256, "code": 512, "channels": (128, 128, 256, 256, 512, 512), "samples": 2000}},
    stages=(images.stage("autoencoder", model, groups=("encoder", "decoder")),),
    evaluate=evaluate,
    baseline="pca",
    draws=False,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
