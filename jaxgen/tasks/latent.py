"""Latent diffusion of images: a convolutional autoencoder, and a diffusion model of its codes."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

from jaxgen import draws
from jaxgen.config import option
from jaxgen.data import ArraySource, Source
from jaxgen.data.coding import coded
from jaxgen.data.images import left_to_right, sides_of
from jaxgen.experiment import Run, StageSpec
from jaxgen.families import latent_autoencoder_model, scaled_codes_model
from jaxgen.families.codec import Codec
from jaxgen.families.latent_autoencoder import encode
from jaxgen.families.scaled_codes import Codes, latent_codes
from jaxgen.families.vae import draw_code, posterior
from jaxgen.nets import decoder, encoder, kl_decoder, kl_encoder, published_form
from jaxgen.samplers import denoiser
from jaxgen.tasks import diffusion, images
from jaxgen.tasks.networks import network
from jaxgen.train import Stage
from jaxgen.types import Array, Batch, Key, Model, Net, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentConfig(diffusion.DiffusionConfig):
    """The options of latent diffusion."""

    code_channels: int = option(4, "channels of the code", ge=1, group="network")
    autoencoder: Literal["plain", "monai", "stable_diffusion"] = option(
        "plain", "form of the autoencoder: ours, or a published one, which folds no pixels", group="network"
    )
    autoencoder_channels: images.Widths = option(
        (16, 32, 64), "widths of the autoencoder; each level but the first halves the image", ge=4, group="network"
    )
    autoencoder_patch: int = option(1, "pixels per side folded into channels first", ge=1, group="network")
    remat: bool = option(False, "compute activations anew in the backward pass, to save memory", group="speed")
    autoencoder_steps: int = option(1000, "training steps of the autoencoder", ge=1, group="training")
    divergence_weight: float = option(
        1e-6, "weight of the KL divergence of the code from a Gaussian", ge=0, group="training"
    )


def autoencoder(run: Run) -> tuple[Net, Net]:
    """Encoder and decoder."""
    config = run.config
    if config.autoencoder != "plain":
        form = published_form(config.autoencoder, config.autoencoder_channels)._replace(remat=config.remat)
        return kl_encoder(config.code_channels, form), kl_decoder(run.facts.image_channels, form)
    options: dict[str, Any] = {"channels": config.autoencoder_channels, "patch": config.autoencoder_patch}
    return encoder(2 * config.code_channels, **options), decoder(run.facts.image_channels, **options)


def shrinkage(config: LatentConfig) -> int:
    """How many pixels of an image, along each axis, lie under one place of a code."""
    return int(config.autoencoder_patch * 2 ** (len(config.autoencoder_channels) - 1))


def code_shape(run: Run) -> tuple[int, ...]:
    """``(*spatial, c)`` of a code."""
    config = run.config
    return *(side // shrinkage(config) for side in sides_of(config.size)), config.code_channels


def codec(run: Run, nets: tuple[Net, Net] | None = None) -> Codec:
    """The trained autoencoder on any number of images; of other networks than `autoencoder`, these are given."""
    return Codec(*(nets or autoencoder(run)), run.params["autoencoder"], run.config.chunk)


def encoded(run: Run, source: Source, nets: tuple[Net, Net] | None = None) -> ArraySource:
    """The images of a source encoded once, mirrored as well if training mirrors them."""
    mirrored = left_to_right(run.config.size) if run.config.mirror else None
    return coded(codec(run, nets), source, run.config.chunk, mirrored)


def draw_codes(run: Run, nets: tuple[Net, Net] | None = None) -> Callable[[Key, Batch], Array]:
    """On the device: a draw of each code, of images that were encoded before (`encoded`) or are encoded now."""
    encoding, trained = (nets or autoencoder(run))[0], run.params["autoencoder"]
    prepared = images.prepare_images(run.config)

    def drawn(key: Key, batch: Batch) -> Array:
        image_key, code_key = draws.split(key, 2)
        if "mean" in batch:
            moments = batch["mean"], batch["log_variance"]
        else:
            moments = posterior(encoding, trained["encoder"], prepared(image_key, {"image": batch["image"]})["image"])
        return draw_code(code_key, *moments)

    return drawn


def autoencoder_model(run: Run) -> Model:
    """The autoencoder, its code slightly regularised."""
    weight = run.config.divergence_weight
    return latent_autoencoder_model(*autoencoder(run), code=code_shape(run), divergence_weight=weight)


def stages(prepare: Callable[[Any], images.Prepare]) -> tuple[StageSpec, StageSpec]:
    """The stages ``autoencoder`` and ``diffusion``, the latter of codes at standard deviation 1.

    Args:
        prepare: ``prepare(config)``, what is done to images on the device.
    """

    def build(run: Run) -> Stage:
        model = scaled_codes_model(diffusion.make_model(run, shape=code_shape(run), data="code"))
        encoding, trained, prepared = autoencoder(run)[0], run.params["autoencoder"], prepare(run.config)

        def coded(key: Key, batch: images.Batch) -> images.Batch:
            return {"code": encode(encoding, trained, prepared(key, batch)["image"], 1.0)}

        return Stage("diffusion", model, {"net": images.optimizer(run.config)}, run.config.steps, coded)

    groups = ("encoder", "decoder")
    first = images.stage("autoencoder", autoencoder_model, steps="autoencoder_steps", prepare=prepare, groups=groups)
    return first, StageSpec("diffusion", build)


def codes(run: Run, params: Params) -> Codes:
    """The networks with the parameters of both stages, which may be arguments of a compiled program."""
    net, trained = network(run, image_channels=run.config.code_channels), params["diffusion"]
    predict = functools.partial(net.apply, trained["net"])
    denoise = denoiser(predict, diffusion.make_path(run.config), run.config.prediction)
    return latent_codes(*autoencoder(run), params["autoencoder"], trained["scale"]["factor"], denoise)
