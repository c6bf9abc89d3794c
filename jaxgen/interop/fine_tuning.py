"""Fine-tuning of a Stable Diffusion pipeline: its networks as a model of codes, on the noise levels they know."""

import functools
import zlib
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.errors import UserError
from jaxgen.families import text_diffusion_model
from jaxgen.interop import schedulers, stable_diffusion
from jaxgen.interop.diffusers import at_path_time
from jaxgen.interop.stable_diffusion import Pipeline
from jaxgen.interop.tokens import Tokenizer
from jaxgen.paths import Path
from jaxgen.samplers import Sampling, grids
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.types import Array, Key, Model, Net, Params

Weight = Callable[[Path, str], Callable[[Array], Array]]


def opened(folder: str) -> tuple[Pipeline, str]:
    """The pipeline of a folder, read once while its files stay the same, and a checksum of its weights.

    Args:
        folder: see `jaxgen.interop.stable_diffusion.load`.

    Raises:
        UserError: if it holds no whole pipeline, or parts that do not go together.
    """
    files = sorted(file for file in FilePath(folder).rglob("*") if file.is_file())
    return _opened(folder, tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@functools.lru_cache(maxsize=1)
def _opened(folder: str, files: tuple[tuple[str, int, int], ...]) -> tuple[Pipeline, str]:
    pipeline, checksum = stable_diffusion.load(folder), 0
    for leaf in jax.tree.leaves(pipeline.params):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data, checksum)
    return pipeline, f"{checksum:08x}"


def check(pipeline: Pipeline, size: tuple[int, int], channels: int) -> None:
    """Refuse images that the networks do not take.

    Args:
        pipeline: the pipeline.
        size: height and width of the images.
        channels: of the images.

    Raises:
        UserError: if the size does not divide, or the channels are neither one nor those of the pipeline's images.
    """
    pipeline.code_shape(size)
    theirs = pipeline.configs["vae"].get("in_channels", 3)
    if channels not in (1, theirs):
        raise UserError(f"{pipeline.folder}: its vae takes {theirs} channels, and images have {channels}")


def parameters(pipeline: Pipeline) -> dict[str, Params]:
    """The weights as stages of training leave them: ``autoencoder``, and ``generic`` with the scale of its codes."""
    params, scale = pipeline.params, {"factor": jnp.float32(pipeline.scale)}
    return {
        "autoencoder": {name: params[name] for name in ("encoder", "decoder")},
        "generic": {"net": params["net"], "text": params["text"], "scale": scale},
    }


def autoencoder(pipeline: Pipeline, channels: int) -> tuple[Net, Net]:
    """Encoder and decoder; grey images are three times the same, and grey again by their mean.

    Args:
        pipeline: the pipeline.
        channels: of the images, see `check`.
    """
    encoder, decoder = pipeline.autoencoder
    theirs = pipeline.configs["vae"].get("in_channels", 3)
    if channels == theirs:
        return encoder, decoder

    def coloured(params: Params, x: Array, *rest: Any, **named: Any) -> Array:
        return encoder.apply(params, jnp.repeat(x, theirs, axis=-1), *rest, **named)

    def grey(params: Params, z: Array, *rest: Any, **named: Any) -> Array:
        # Cut as the pipeline cuts its images, so that this is the mean of those.
        return jnp.mean(jnp.clip(decoder.apply(params, z, *rest, **named), -1, 1), axis=-1, keepdims=True)

    return Net(encoder.init, coloured), Net(decoder.init, grey)


def pieces(tokenizer: Tokenizer, word: str) -> list[int]:
    """The tokens of a word, without begin and end: one, or the pieces that it falls into."""
    nothing, found = tokenizer.encode(["", word])[:, 1:].tolist()
    return found[: found.index(nothing[0])]


def codes_model(
    pipeline: Pipeline,
    size: tuple[int, int],
    *,
    sampler: str | None = None,
    steps: int = 50,
    drop: float = 0.1,
    weight: Weight | None = None,
    trains: tuple[str, ...] = ("net", "text"),
) -> Model:
    """The diffusion model of codes with a pipeline's networks, on the path and with the prediction of its scheduler.

    Args:
        pipeline: the pipeline.
        size: height and width of the images.
        sampler: one of `jaxgen.samplers.catalogue.SAMPLERS`, on the path; None samples as the pipeline does.
        steps: of the sampler.
        drop: see `jaxgen.families.text_diffusion_model`.
        weight: ``weight(path, prediction)``, one of `jaxgen.losses.weights`; None weighs all noise levels alike.
        trains: the groups that learn.

    Returns:
        The `Model` of ``batch["code"]`` given tokens ``batch["text"]``, see `jaxgen.families.text_diffusion_model`; the
        codes are those of the encoder times ``pipeline.scale``.

    Raises:
        UserError: if the size does not divide, or the scheduler has no table of noise rates.
    """
    entries = pipeline.configs["scheduler"]
    path, prediction, timesteps = schedulers.training(entries)
    shape, nothing = pipeline.code_shape(size), pipeline.tokenizer.encode([""])
    step, grid = SAMPLERS[sampler or "ddim"].step(path), grids.uniform(path, steps)
    model = text_diffusion_model(
        at_path_time(pipeline.net, timesteps),
        pipeline.text,
        shape,
        Sampling(path, step, grid, prediction),
        empty=nothing[0].tolist(),
        drop=drop,
        weight=None if weight is None else weight(path, prediction),
        data="code",
        trains=trains,
    )
    if sampler is not None:
        return model
    scheduler = schedulers.from_diffusers(entries, steps)

    def draw(params: Params, key: Key, n: int, cond: Array | None = None, guidance: float | Array = 1.0) -> Array:
        noise_key, step_key = draws.split(key, 2)
        empty = jnp.broadcast_to(jnp.asarray(nothing), (n, nothing.shape[1]))
        both = jnp.stack([empty if cond is None else jnp.asarray(cond), empty])
        context = jax.vmap(lambda x: pipeline.text.apply(params["text"], x))(both)
        scale, noise = None if cond is None else guidance, draws.normal(noise_key, (n, *shape))
        return stable_diffusion.draw_codes(pipeline.net, scheduler, params["net"], step_key, noise, context, scale)

    return model._replace(sample=draw)
