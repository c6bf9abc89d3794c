"""An autoencoder of images, beside principal components with a code of the same size.

    jaxgen run autoencoder                                # phantom brains, computed
    jaxgen run autoencoder --code 16 --data DATA          # your images, into 16 numbers

Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks".
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxgen.app.cli import run_module
from jaxgen.baselines import principal_components
from jaxgen.experiment import Evaluation, StageSpec
from jaxgen.families import autoencoder_model
from jaxgen.tasks import autoencoding as reconstruction
from jaxgen.tasks import before
from jaxgen.tasks.old import images
from jaxgen.train import Stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(reconstruction.CodeConfig):
    """The configuration of `autoencoder`."""


def _build(config: AutoencoderConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    model = autoencoder_model(*reconstruction.networks(config, constants))
    optimizers = reconstruction.optimizers(config, "encoder", "decoder")
    return Stage("autoencoder", model, optimizers, config.steps, images.prepare_images(config))


def _evaluate(config: AutoencoderConfig, constants, trained, splits, key) -> Evaluation:
    held = reconstruction.held_images(config, constants, splits)
    encoder, decoder = reconstruction.networks(config, constants)
    params = trained["autoencoder"]
    encode = lambda x: reconstruction.in_chunks(config, lambda x: encoder.apply(params["encoder"], x), x)  # noqa: E731
    decode = lambda z: reconstruction.in_chunks(config, lambda z: decoder.apply(params["decoder"], z), z)  # noqa: E731
    principal = principal_components(held.train, config.code)
    codes = encode(held.test)
    restored = {"autoencoder": decode(codes), "pca": principal.reconstruct(held.test)}
    metrics: dict[str, Any] = {name: reconstruction.likeness(x, held.test) for name, x in restored.items()}
    metrics |= {"images": len(held.test), "code": config.code, "components": principal.axes.shape[1]}
    caption = f"Test images had back from {config.code} numbers by the autoencoder and by principal components."
    figures = {
        "reconstructions": reconstruction.reconstructions(held.test, restored, caption),
        "interpolations": reconstruction.interpolations(encode, decode, held.test),
        "codes": reconstruction.code_scatter({"autoencoder": codes}, held.label, constants["classes"]),
    }
    headline = (
        f"{metrics['autoencoder']['psnr']:.2f} dB from {config.code} numbers an image; principal components "
        f"{metrics['pca']['psnr']:.2f} dB ({len(held.test)} test images)."
    )
    return Evaluation(metrics, figures, headline, reconstruction.DESCRIBE)


SMALL = AutoencoderConfig(
    steps=2000,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.995,
    checkpoint_every=500,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=6,
    batch_size=4,
    size=16,
    code=4,
    channels=(8,),
    samples=16,
    chunk=16,
    checkpoint_every=3,
    log_every=1,
)
FULL = AutoencoderConfig(
    data="",
    size=256,
    code=512,
    channels=(128, 128, 256, 256, 512, 512),
    blocks=2,
    patch=1,
    steps=500_000,
    batch_size=64,
    learning_rate=2e-4,
    warmup_steps=5000,
    ema_decay=0.9999,
    samples=2000,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="autoencoder",
    summary="An autoencoder of images, beside principal components with a code of the same size",
    data="phantom brains, computed; or your images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=images.load_images,
    measure=images.measure_images,
    stages=(StageSpec("autoencoder", _build),),
    evaluate=_evaluate,
    baseline="pca",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
