"""Images and volumes by latent diffusion, told classes and covariates: options, stages, drawing, baselines."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.config import option
from jaxgen.data import Source
from jaxgen.data.images import sides_of
from jaxgen.errors import UserError
from jaxgen.experiment import Run, StageSpec
from jaxgen.families import Conditions, image_vae, latent_diffusion_model, trained_autoencoder
from jaxgen.metrics.image_quality import likeness
from jaxgen.metrics.sample_sets import cut
from jaxgen.presets import Changes
from jaxgen.samplers import Sampling, grids
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks import covariates, diffusion, generation, images, latent
from jaxgen.tasks.networks import check_levels, network
from jaxgen.train import Stage
from jaxgen.types import Array, Batch, Key, Model, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConditionalConfig(latent.LatentConfig):
    """The options of latent diffusion that is told classes and covariates."""

    cross_attention: images.Widths | None = option(None, "levels that attend to covariates", ge=0, group="network")
    drop_condition: float = option(0.1, "share of examples trained without conditions", ge=0, lt=1, group="method")
    null_condition: Literal["learned", "marked"] = option(
        "learned", "what stands for unknown covariates: a learned vector, or zeros and a mark", group="method"
    )
    cached_codes: bool = option(True, "encode the training images once, not at every step", group="speed")
    guidance: float = option(1.0, "scale of classifier-free guidance; 1 is none", ge=0, group="sampling")
    sampler: str = option("ddim", "how codes are drawn", choices=SAMPLERS, group="sampling")
    sampler_steps: int = option(50, "steps from noise to code", ge=1, le=10_000, group="sampling")

    def __post_init__(self) -> None:
        """Check every field, and that the levels divide a code."""
        super().__post_init__()
        check_levels(self.size, latent.shrinkage(self) * self.patch, self.channels, self.cross_attention)
        if self.autoencoder != "plain" and self.autoencoder_patch > 1:
            raise UserError(f"--autoencoder-patch must be 1 with --autoencoder {self.autoencoder}")
        if self.guidance != 1 and not self.drop_condition:
            raise UserError("--guidance needs a model that was trained with --drop-condition above 0; leave it at 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentGenerationConfig(ConditionalConfig):
    """The options of generation by latent diffusion, with what it is compared with."""

    vae_steps: int = option(0, "training steps of a VAE to compare samples with (0: none)", ge=0, group="evaluation")
    ancestral_steps: int = option(250, "steps of ancestral sampling to compare with", ge=2, group="evaluation")


def conditions(run: Run) -> Conditions:
    """What the network is told: the covariates and classes that the training data have."""
    config, facts = run.config, run.facts
    if config.cross_attention and not facts.covariates:
        raise UserError(f"--cross-attention: {config.data} has no covariates to attend to; leave it out")
    told: dict[str, Any] = {"covariates": len(facts.covariates), "classes": len(facts.classes) or None}
    tokens, drop, null = bool(config.cross_attention), config.drop_condition, config.null_condition
    return Conditions(**told, tokens=tokens, drop=drop, null=null)


def make_model(run: Run, params: Params, sampler: str | None = None, steps: int | None = None) -> Model:
    """The latent diffusion model on an autoencoder with these parameters, and how it draws if not as configured."""
    config, path = run.config, diffusion.make_path(run.config)
    step, grid = SAMPLERS[sampler or config.sampler].step(path), grids.uniform(path, steps or config.sampler_steps)
    options: dict[str, Any] = {"cross_attention": config.cross_attention or (), "remat": config.remat}
    options |= {"epsilon": 1e-6} if config.autoencoder == "monai" else {}
    return latent_diffusion_model(
        network(run, classes=len(run.facts.classes) or None, image_channels=config.code_channels, **options),
        latent.code_shape(run),
        Sampling(path, step, grid, config.prediction),
        trained_autoencoder(*latent.autoencoder(run), params),
        conditions=conditions(run),
        weight=diffusion.loss_weight(config, path),
    )


def diffusion_stage(name: str, examples: Callable[[Run], Source], steps: str = "steps") -> StageSpec:
    """The stage that trains a diffusion model of codes, drawn from their distributions.

    Args:
        name: its name.
        examples: ``examples(run)``, the images as bytes.
        steps: the field of the configuration that holds the number of steps.
    """

    def build(run: Run) -> Stage:
        drawn, model = latent.draw_codes(run), make_model(run, run.params["autoencoder"])

        def prepare(key: Key, batch: Batch) -> Batch:
            return {"code": drawn(key, batch), **covariates.conditions_of(batch, run.facts)}

        count = getattr(run.config, steps)
        optimizers = dict.fromkeys(("net", *conditions(run).groups), images.optimizer(run.config, count))
        return Stage(name, model, optimizers, count, prepare)

    def codes(run: Run) -> Source:
        return latent.encoded(run, examples(run)) if run.config.cached_codes else examples(run)

    return StageSpec(name, build, examples=codes)


def stages(examples: Callable[[Run], Source]) -> tuple[StageSpec, ...]:
    """The stages ``autoencoder``, ``diffusion``, and ``vae`` if asked for."""
    pair = ("encoder", "decoder")
    first = images.stage("autoencoder", latent.autoencoder_model, steps="autoencoder_steps", groups=pair)
    wanted = lambda config: config.vae_steps > 0  # noqa: E731
    last = images.stage("vae", vae, steps="vae_steps", groups=(*pair, "law"), wanted=wanted)
    return first, diffusion_stage("diffusion", examples), last


def vae(run: Run) -> Model:
    """The variational autoencoder to compare samples with, of the widths of the autoencoder."""
    config, shape = run.config, (*sides_of(run.config.size), run.facts.image_channels)
    return image_vae(shape, channels=config.autoencoder_channels, patch=config.autoencoder_patch)


def drawing(
    run: Run, sampler: str | None = None, steps: int | None = None, *, stage: str = "diffusion"
) -> Callable[..., np.ndarray]:
    """Draw images, as the configuration says or by another sampler, with the model that a stage trained.

    Returns:
        ``draw(key, n, cond={}) -> [n, *spatial, c]`` in [-1, 1]. The key is one key or ``[n]``; `cond` holds
        ``covariates [n, k]`` in the units of the data and ``label [n]``, if the model is to be told any.
    """

    @jax.jit
    def some(params: Params, keys: Key, cond: Mapping[str, Array], guidance: Array | None) -> Array:
        model = make_model(run, params["autoencoder"], sampler, steps)
        return cut(model.sample(params["diffusion"], keys, len(keys), cond, guidance))

    params = {"autoencoder": run.params["autoencoder"], "diffusion": run.params[stage]}
    guidance = None if run.config.guidance == 1 else jnp.float32(run.config.guidance)

    def draw(key: Key, n: int, cond: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        keys = key if key.ndim else jax.random.split(key, n)
        told = covariates.conditions_of(cond, run.facts) if cond else {}
        arrays = map(np.asarray, told.values())

        def chunk(keys: Key, *values: Array) -> Array:
            return some(params, keys, dict(zip(told, values, strict=True)), guidance)

        return images.in_chunks(chunk, n, run.config.chunk, keys, *arrays, exactly=True)

    return draw


class Compared:
    """What the trained models reconstruct and draw, with the baselines.

    Args:
        run: the run.
        train: training images ``[n, *spatial, c]`` in [-1, 1].
        test: images that were not trained on.
        cond: what samples are asked for, empty where nothing is.

    Attributes:
        draw: see `drawing`.
        reconstructed: test images by method.
        metrics: PSNR and SSIM by method, the latent dimension, and the standard deviation of the scaled codes.
        sentence: the autoencoder compared with principal components.
    """

    def __init__(self, run: Run, train: np.ndarray, test: np.ndarray, cond: Mapping[str, np.ndarray]) -> None:
        self._run, self._cond, self._codec, self.draw = run, cond, latent.codec(run), drawing(run)
        self.reconstructed, dimensions = self._codec.reconstructions(train, test)
        self._codes, scale = self._codec.encode(train), float(run.params["diffusion"]["scale"]["factor"])
        self.metrics: dict[str, Any] = {name: likeness(x, test) for name, x in self.reconstructed.items()}
        ours, theirs = (found["psnr"] for found in self.metrics.values())
        self.sentence = f"Autoencoder {ours:.1f} dB, as many principal components {theirs:.1f} dB."
        self.metrics |= {"code": dimensions, "code_std": float(self._codes.std()) * scale}

    def sets(self, n: int) -> dict[str, np.ndarray]:
        """Images drawn by each method; the first three start from the same noise."""
        run, (key, other_key) = self._run, jax.random.split(self._run.key)
        drawn = {
            "latent diffusion": self.draw(key, n, self._cond),
            "by ancestral steps": drawing(run, "ddpm", run.config.ancestral_steps)(key, n, self._cond),
        }
        drawn |= {"told nothing": self.draw(key, n)} if self._cond else {}
        drawn["gaussian of codes"] = self._codec.gaussian(self._codes, n, run.config.seed)
        if "vae" in run.params:
            some = jax.jit(lambda params, keys: cut(vae(run).sample(params, keys, len(keys))))
            drawn["vae"] = images.draw_in_chunks(run, lambda keys: some(run.params["vae"], keys), other_key, n)
        return drawn


_PLAIN: Changes = {"patch": 1, "attention": None, "mirror": False}
_TINY: Changes = {"autoencoder_channels": (8, 8), "channels": (8, 8), "code_channels": 2, "chunk": 8}
DEFAULTS: dict[str, Changes] = {
    "small": {**generation.SMALL, **_PLAIN, "path": "scaled_linear"},
    "smoke": {**generation.SMOKE, **_PLAIN, **_TINY, "autoencoder_steps": 4, "vae_steps": 2, "ancestral_steps": 3},
    "full": {**generation.FULL, **_PLAIN, "cached_codes": False},
}
"""What each preset changes in both experiments."""
