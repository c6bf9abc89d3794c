"""Autoencoding of images: options, networks, and reconstructions compared with principal components."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxgen import nets
from jaxgen.baselines import principal_components
from jaxgen.config import option
from jaxgen.data import most_of
from jaxgen.experiment import Evaluation, Experiment, Metric, Run
from jaxgen.figures.codes import code_scatter, interpolations, reconstructions
from jaxgen.metrics.image_quality import likeness
from jaxgen.metrics.sample_sets import joined
from jaxgen.presets import Changes, make
from jaxgen.tasks import generation, images
from jaxgen.tasks.networks import check_levels
from jaxgen.types import Array, Net, Params

MOST_TRAIN = 2000
"""Training images that the principal components are found on."""

DEFAULTS = {
    "small": {**generation.SMALL, "checkpoint_every": 500},
    "smoke": {**generation.SMOKE, "code": 4, "channels": (8,), "attention": None},
    "full": {
        **generation.FULL,
        "size": 128,
        "channels": (64, 128, 256, 512, 512),
        "blocks": 2,
        "patch": 1,
        "steps": 500_000,
        "batch_size": 64,
        "learning_rate": 2e-4,
        "warmup_steps": 5000,
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodeConfig(images.ImageConfig):
    """The options of every experiment with an encoder and a decoder."""

    code: int = option(64, "latent dimension", ge=1, le=65_536, group="network")
    channels: images.Widths = option((32, 64, 96, 128), "widths of the levels, the finest first", ge=4, group="network")
    blocks: int = option(1, "residual blocks per level", ge=1, le=8, group="network")
    attention: images.Widths | None = option(None, "levels with self-attention, 0 the finest", ge=0, group="network")
    head_width: int = option(32, "width of an attention head", ge=4, group="network")
    patch: int = option(2, "fold blocks of this many pixels per side into channels first", ge=1, le=16, group="network")
    samples: int = option(256, "test images to evaluate on, and images to draw", ge=8, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        check_levels(self.size, self.patch, self.channels, self.attention)


def experiment(
    *, config: type[CodeConfig], presets: Mapping[str, Changes], draws: bool = True, **fields: Any
) -> Experiment:
    """An experiment with an encoder and a decoder.

    Args:
        config: the class of the configuration; if the model draws images a `jaxgen.tasks.features.FeatureConfig` too.
        presets: what each preset changes.
        draws: whether the model draws images, which are compared with real ones (`jaxgen.tasks.generation.experiment`).
        **fields: of the `Experiment`, and ``draw`` and ``caption``.
    """
    if draws:
        return generation.experiment(config=config, presets=presets, defaults=DEFAULTS, **fields)
    return Experiment(
        presets=make(config, presets, **DEFAULTS),
        load=images.load_images,
        measure=images.measure_images,
        facts=images.ImageFacts,
        examples=images.example_images,
        **fields,
    )


def networks(run: Run, *, outputs: int = 1) -> tuple[Net, Net]:
    """The encoder, to `outputs` vectors of the latent dimension in one, and the decoder, from one such vector."""
    config = run.config
    options: dict[str, Any] = {
        "channels": config.channels,
        "blocks": config.blocks,
        "attention": config.attention or (),
        "head_width": config.head_width,
        "patch": config.patch,
    }
    return (
        nets.encoder(outputs * config.code, vector=True, **options),
        nets.decoder(run.facts.image_channels, spatial=(config.size, config.size), **options),
    )


def codec(run: Run, params: Params) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """``encode(x [b, h, w, c]) -> [b, d]`` and ``decode(z)`` of trained networks with one output each."""
    encoder, decoder = networks(run)
    return functools.partial(encoder.apply, params["encoder"]), functools.partial(decoder.apply, params["decoder"])


class Reconstructions:
    """Test images and their reconstructions by an autoencoder and by as many principal components.

    Args:
        run: the run.
        name: of the autoencoder among the metrics.
        encode: images ``[b, h, w, c]`` to codes ``[b, d]``.
        decode: codes to images.

    Attributes:
        test: test images ``[n, h, w, c]`` in [-1, 1], at most ``config.samples``.
        label: their classes ``[n]``, or None.
        codes: their codes ``[n, d]``.
        reconstructed: reconstructions ``[n, h, w, c]`` by method.
        metrics: PSNR and SSIM by method.
    """

    def __init__(self, run: Run, name: str, encode: Callable[[Array], Array], decode: Callable[[Array], Array]) -> None:
        self.run, self.name = run, name
        encode, decode, chunk = jax.jit(encode), jax.jit(decode), run.config.chunk
        self.encode = lambda x: images.in_chunks(encode, len(x), chunk, x)
        self.decode = lambda z: images.in_chunks(decode, len(z), chunk, z)
        train = images.real_images(run, run.splits.train, MOST_TRAIN)["image"]
        test = images.real_images(run, run.splits.test, most_of(run.config.data, run.config.samples))
        self.test, self.label = test["image"], test.get("label") if run.facts.classes else None
        self.codes = self.encode(self.test)
        principal = principal_components(train, run.config.code)
        self.components = principal.axes.shape[1]
        self.reconstructed = {name: self.decode(self.codes), "pca": principal.reconstruct(self.test)}
        self.metrics = {method: likeness(x, self.test) for method, x in self.reconstructed.items()}

    def evaluation(
        self,
        compared: generation.Comparison | None = None,
        *,
        caption: str = "Images drawn by the model.",
        codes: Mapping[str, np.ndarray] = {},
        metrics: Mapping[str, Any] = {},
        remark: str = "",
        describe: Mapping[str, Metric] = {},
    ) -> Evaluation:
        """The evaluation of an autoencoder, and of the images that it draws if it does.

        Args:
            compared: images drawn by the model, compared with real ones.
            caption: of those images.
            codes: other sets of codes to show, such as draws of the prior.
            metrics: more metrics, by method or of the whole.
            remark: the end of the headline.
            describe: how to show the added metrics; these come first.
        """
        dimensions = self.run.config.code
        ours, principal = (self.metrics[name]["psnr"] for name in (self.name, "pca"))
        headline = (
            f"Test images reconstructed from {dimensions} dimensions at {ours:.2f} dB, from as many principal "
            f"components at {principal:.2f} dB. {remark}"
        ).strip()
        caption_of_rows = f"Test images reconstructed from {dimensions} dimensions."
        figures = {
            "reconstructions": reconstructions(self.test, self.reconstructed, caption_of_rows),
            "interpolations": interpolations(self.encode, self.decode, self.test),
            "codes": code_scatter({"codes of test images": self.codes, **codes}, self.label, self.run.facts.classes),
        }
        table, described = joined(self.metrics, {"code": dimensions}, metrics), {**describe, **DESCRIBE}
        if compared is None:
            table |= {"images": len(self.test), "components": self.components}
            return Evaluation(table, figures, headline, described)
        headline = f"{compared.headline(self.name)} {headline}"
        return compared.evaluation(
            caption=caption, metrics=table, figures=figures, headline=headline, describe=described
        )


DESCRIBE = {
    "discrepancy": Metric("Discrepancy of codes", "lower", "squared MMD from draws of the prior, unbiased"),
    "discrepancy_error": Metric("its standard error", "", "by the jackknife"),
    "psnr": Metric("PSNR", "higher", "of reconstructed test images, dB"),
    "ssim": Metric("SSIM", "higher", "of reconstructed test images"),
}


def in_chunks(config: images.ImageConfig, function: Callable[..., Array], *arrays: np.ndarray) -> np.ndarray:
    """A function on images or codes, compiled for ``config.chunk`` of them at once."""
    return images.in_chunks(jax.jit(function), len(arrays[0]), config.chunk, *arrays)
