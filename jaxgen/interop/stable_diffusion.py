"""Whole pipelines of Stable Diffusion 1 and 2 in diffusers' folders: read, sampled, and written again.

A folder holds ``model_index.json`` and the folders ``unet``, ``vae``, ``text_encoder``, ``tokenizer`` and
``scheduler``. A safety checker, where there is one, is not read: whoever shows images to others looks at them first.
"""

import functools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.errors import UserError
from jaxgen.families.lora import merge
from jaxgen.families.textual_inversion import extend
from jaxgen.interop import autoencoder_kl, clip_text, diffusers, json_files, learned_words, lora, schedulers, tokens
from jaxgen.interop.autoencoders import Autoencoder
from jaxgen.interop.entries import shown
from jaxgen.samplers import sample
from jaxgen.types import Array, Key, Net, Params

_KINDS = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
_PARTS = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "tokenizer": "CLIPTokenizer",
    "scheduler": None,  # of any kind that `jaxgen.interop.schedulers` reads
}
_ADVICE = "give the folder of a whole pipeline, as save_pretrained wrote it"


class Pipeline(NamedTuple):
    """A Stable Diffusion pipeline.

    Attributes:
        net: the U-Net: ``apply(params["net"], z, number, context=c)``; see `jaxgen.interop.diffusers`.
        text: the text encoder: ``apply(params["text"], tokens) -> context``.
        autoencoder: encoder and decoder of images.
        tokenizer: prompts to tokens.
        params: the groups ``"net"``, ``"text"``, ``"encoder"`` and ``"decoder"``; ``pipeline._replace(params=...)`` is
            one with others.
        scale: what codes are multiplied with before they are noised.
        size: height and width of the images that it was trained on.
        configs: the entries of the configurations of ``unet``, ``vae``, ``text_encoder`` and ``scheduler``.
        folder: where it was read from.
    """

    net: Net
    text: Net
    autoencoder: Autoencoder
    tokenizer: tokens.Tokenizer
    params: Params
    scale: float
    size: tuple[int, int]
    configs: dict[str, dict[str, Any]]
    folder: Path

    def encode(self, prompts: Sequence[str], *, cut: bool = False) -> Array:
        """The context of prompts, ``[n, length, width]``.

        Args:
            prompts: texts; an empty one is the null prompt of classifier-free guidance.
            cut: whether a prompt that is too long is cut, with a warning; otherwise it is an error.

        Raises:
            UserError: if a prompt is too long and not to be cut.
        """
        return _encode(self.text, self.params["text"], self.tokenizer.encode(prompts, cut=cut))

    def sample(
        self,
        key: Key,
        prompts: Sequence[str],
        negative: Sequence[str] | None = None,
        *,
        guidance: float = 7.5,
        steps: int = 50,
        size: tuple[int, int] | None = None,
        noise: Array | None = None,
    ) -> Array:
        """Draw an image for every prompt.

        Args:
            key: a typed key, or one per prompt.
            prompts: n texts.
            negative: n texts to push away from, or one for all; None for empty ones.
            guidance: the scale of classifier-free guidance; at 1 or below the U-Net is asked once per step.
            steps: of the pipeline's scheduler.
            size: height and width in pixels; None for that of training.
            noise: the noise to start from ``[n, height / f, width / f, c]``, standard Gaussian; None draws it.

        Returns:
            ``[n, height, width, 3]`` in [-1, 1]. A prompt that is too long is cut, with a warning.

        Raises:
            UserError: if the size does not divide, or there are other than n or one negative prompts.
        """
        prompts, n = list(prompts), len(prompts)
        against = [""] if negative is None else list(negative)
        if len(against) not in (1, n):
            raise UserError(f"{len(against)} negative prompts for {n} prompts: give one, or one for each")
        code = self.code_shape(size or self.size)
        noise_key, step_key = draws.split(key, 2)
        start = draws.normal(noise_key, (n, *code)) if noise is None else jnp.asarray(noise, jnp.float32)
        if start.shape != (n, *code):
            raise UserError(f"the noise has shape {start.shape}, and {n} images of this size start from {(n, *code)}")
        context = self.encode(prompts, cut=True)
        context = jnp.stack([context, jnp.broadcast_to(self.encode(against, cut=True), context.shape)])
        draw = _drawer(self.net, self.autoencoder.decoder, _Frozen(self.configs["scheduler"]), steps, guidance > 1)
        return draw(self.params, step_key, start, context, guidance, self.scale)

    def code_shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """The shape ``(height, width, c)`` of the code of an image of this height and width.

        Raises:
            UserError: if the size does not divide.
        """
        levels = len(self.configs["unet"].get("block_out_channels", range(4))) - 1
        factor, multiple = _factor(self.configs["vae"]), _factor(self.configs["vae"]) * 2**levels
        if any(n < multiple or n % multiple for n in size):
            raise UserError(f"images of {size[0]} x {size[1]}: both must be multiples of {multiple} in this pipeline")
        return (size[0] // factor, size[1] // factor, self.configs["unet"].get("in_channels", 4))


class _Frozen:
    """Entries of a configuration as a key of compiled programs."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self.entries, self._text = dict(entries), repr(sorted(entries.items()))

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Frozen) and self._text == other._text


@functools.partial(jax.jit, static_argnums=0)
def _encode(net: Net, params: Params, numbers: Array) -> Array:
    return net.apply(params, numbers)


@functools.lru_cache(maxsize=8)
def _drawer(net: Net, decoder: Net, scheduler: _Frozen, steps: int, guided: bool) -> Callable[..., Array]:
    """The compiled program that draws images."""
    s = schedulers.from_diffusers(scheduler.entries, steps)

    def draw(params: Params, key: Key, noise: Array, context: Array, guidance: Array, scale: Array) -> Array:
        z = draw_codes(net, s, params["net"], key, noise, context, guidance if guided else None)
        return jnp.clip(decoder.apply(params["decoder"], z / scale), -1.0, 1.0)

    return jax.jit(draw)


def draw_codes(
    net: Net,
    s: schedulers.Scheduler,
    params: Params,
    key: Key,
    noise: Array,
    context: Array,
    guidance: float | Array | None,
) -> Array:
    """Codes of prompts, drawn by a U-Net with a scheduler.

    Args:
        net: the U-Net, told numbers of the scheduler's table.
        s: the scheduler.
        params: of the U-Net.
        key: one key, or one per code.
        noise: standard Gaussian ``[n, h, w, c]``.
        context: of the prompts, and of what is pushed away from, ``[2, n, length, width]``.
        guidance: the scale of classifier-free guidance; None for none.

    Returns:
        ``[n, h, w, c]``, in the unit that the U-Net was trained on.
    """

    def predict(z: Array, number: Array) -> Array:
        if guidance is None:
            return net.apply(params, z, number, context=context[0])
        both = net.apply(params, jnp.concatenate([z, z]), number, context=jnp.concatenate(list(context)))
        told, untold = jnp.split(both, 2)
        return untold + guidance * (told - untold)

    return sample(s.step(predict), s.denoiser(predict), key, s.start * noise, s.grid)


def _factor(vae: Mapping[str, Any]) -> int:
    return 2 ** (len(vae.get("block_out_channels", (64,))) - 1)


def load(
    folder: str | Path, *, words: Sequence[str | Path] = (), skip: int = 0, max_bytes: int | None = None
) -> Pipeline:
    """Read a pipeline's folder.

    Args:
        folder: as written by ``save_pretrained`` of diffusers' StableDiffusionPipeline, or by `save`.
        words: files of textual inversion whose words prompts may use.
        skip: the last blocks of the text encoder that are left out (``clip_skip`` of diffusers).
        max_bytes: the most that the weights of one part may hold; None for ``JAXGEN_MAX_FILE_MIB``, or else 4 GiB.

    Returns:
        The pipeline.

    Raises:
        UserError: if the folder is no pipeline of this kind, a file is missing or damaged, or parts of different
            pipelines are mixed up.

    Example:
        >>> load("nowhere")
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: nowhere/model_index.json: no such file; give the folder of a whole pipeline, as \
save_pretrained wrote it
    """
    folder = Path(folder)
    _check_index(folder)
    files = {name: folder / name / "config.json" for name in ("unet", "vae", "text_encoder")}
    files["scheduler"] = folder / "scheduler" / "scheduler_config.json"
    configs = {name: json_files.read_object(file, _ADVICE) for name, file in files.items()}
    learned = [learned_words.load(file, max_bytes=max_bytes) for file in words]
    tokenizer = tokens.load(
        folder / "tokenizer",
        length=clip_text.length(configs["text_encoder"]),
        added={word: len(rows) for word, rows in learned},
    )
    # What is not supported or does not go together is said before large files are read.
    schedulers.from_diffusers(files["scheduler"], 2)
    _check_parts(folder, configs, tokenizer)
    unet = diffusers.load(folder / "unet", max_bytes=max_bytes)
    vae = diffusers.load(folder / "vae", max_bytes=max_bytes)
    text = clip_text.load(folder / "text_encoder", skip=skip, max_bytes=max_bytes)
    groups = {"net": unet.params, "text": text.params, **vae.params}
    net = text.net
    if learned:
        rows = jnp.asarray(np.concatenate([rows for _, rows in learned]))
        groups, configs["text_encoder"] = _with_words(folder, groups, rows, text.config, tokenizer.size)
        net = clip_text.network(configs["text_encoder"], skip=skip)
    side = unet.config.get("sample_size") or 64
    sides = (side, side) if isinstance(side, int) else side
    return Pipeline(
        unet.net,
        net,
        autoencoder_kl.nets(vae.config, str(files["vae"])),
        tokenizer,
        groups,
        vae.config.get("scaling_factor", 0.18215),
        (sides[0] * _factor(vae.config), sides[1] * _factor(vae.config)),
        configs,
        folder,
    )


def _check_index(folder: Path) -> None:
    file = folder / "model_index.json"
    if not os.path.exists(file) and os.path.exists(folder / "config.json"):
        raise UserError(f"{file}: no such file; {folder} holds one network: {_ADVICE}")
    index = json_files.read_object(file, _ADVICE)
    kind = index.get("_class_name")
    if kind not in _KINDS:
        raise UserError(f"{file}: _class_name is {shown(kind)}; supported: {_KINDS[0]!r}, of Stable Diffusion 1 and 2")
    for part, wanted in _PARTS.items():
        named = index.get(part)
        if not isinstance(named, list) or len(named) != 2 or not isinstance(named[1], str):
            raise UserError(f"{file}: names no {part}; {_ADVICE}")
        if wanted is not None and named[1].removesuffix("Fast") != wanted:
            raise UserError(f"{file}: its {part} is a {shown(named[1])}; supported: {wanted!r}")
        if not (folder / part).is_dir():
            raise UserError(f"{folder / part}: no such folder; {_ADVICE}")


def _check_parts(folder: Path, configs: Mapping[str, Mapping[str, Any]], tokenizer: tokens.Tokenizer) -> None:
    """Parts that do not go together would give images of nothing."""
    unet, vae, text = (configs[name] for name in ("unet", "vae", "text_encoder"))
    width, asked = text.get("hidden_size", 512), unet.get("cross_attention_dim", 1280)
    if width != asked:
        raise UserError(
            f"{folder}: its text_encoder answers {width} channels and its unet takes {shown(asked)}; are they of one "
            "version?"
        )
    codes, channels = vae.get("latent_channels", 4), (unet.get("in_channels", 4), unet.get("out_channels", 4))
    if channels != (codes, codes):
        raise UserError(
            f"{folder}: its vae has codes of {codes} channels and its unet takes {channels[0]} and answers "
            f"{channels[1]}; are they of one pipeline? Inpainting and depth are not supported"
        )
    known, numbers = text.get("vocab_size", 49408), tokenizer.size - sum(map(len, tokenizer.added.values()))
    if numbers > known:
        raise UserError(
            f"{folder}: its tokenizer has {numbers} tokens and its text_encoder knows {known}; are they of one version?"
        )
    if vae.get("shift_factor"):
        raise UserError(f"{folder}: its vae has shift_factor {shown(vae['shift_factor'])}; supported: none")


def _with_words(
    folder: Path, params: Params, rows: Array, config: dict[str, Any], size: int
) -> tuple[Params, dict[str, Any]]:
    """The parameters and the configuration of a text encoder that knows new words."""
    known = params["text"]["tokens"].shape[0]
    if known + len(rows) != size:
        raise UserError(
            f"{folder}: its text_encoder has {known} rows and its tokenizer {size - len(rows)} tokens: new words "
            "need equally many"
        )
    if rows.shape[1] != params["text"]["tokens"].shape[1]:
        raise UserError(
            f"{folder}: its text_encoder is {params['text']['tokens'].shape[1]} wide and the learned words "
            f"{rows.shape[1]}; are they for another version?"
        )
    return extend(params, rows), {**config, "vocab_size": size}


def save(folder: str | Path, pipeline: Pipeline, params: Params | None = None) -> None:
    """Write a pipeline's folder, for ``from_pretrained`` of diffusers (and `load`).

    The tokenizer's and the scheduler's files are copied from where the pipeline was read; learned words have files of
    their own (`jaxgen.interop.learned_words`).

    Args:
        folder: made where it does not exist.
        pipeline: as read.
        params: all groups, such as after fine-tuning; None for the pipeline's own.

    Raises:
        UserError: if the folder is the one that the pipeline was read from, or the pipeline has learned words.
    """
    folder, params = Path(folder), params or pipeline.params
    if folder.resolve() == pipeline.folder.resolve():
        raise UserError(f"{folder}: is where this pipeline was read from; give another folder")
    if pipeline.tokenizer.added:
        raise UserError(
            f"{folder}: a pipeline with learned words is not written; load it without, and keep their files"
        )
    configs = pipeline.configs
    diffusers.save(folder / "unet", params["net"], configs["unet"])
    vae = {name: params[name] for name in ("encoder", "decoder")}
    diffusers.save(folder / "vae", vae, configs["vae"])
    clip_text.save(folder / "text_encoder", params["text"], configs["text_encoder"])
    for part in ("tokenizer", "scheduler"):
        shutil.copytree(pipeline.folder / part, folder / part, dirs_exist_ok=True)
    index = json_files.read_object(pipeline.folder / "model_index.json", _ADVICE)
    index |= {name: [None, None] for name, value in index.items() if isinstance(value, list) and name not in _PARTS}
    if "requires_safety_checker" in index:
        index["requires_safety_checker"] = False
    (folder / "model_index.json").write_text(json_files.written(index), encoding="utf-8")


def adapted(pipeline: Pipeline) -> dict[str, lora.Adapted]:
    """The networks of a pipeline that LoRA files are for, for `jaxgen.interop.lora.load` and ``save``."""
    net, text = pipeline.params["net"], pipeline.params["text"]
    return {
        "unet": lora.Adapted(diffusers.entries(pipeline.configs["unet"], net), net),
        "text_encoder": lora.Adapted(clip_text.entries(pipeline.configs["text_encoder"]), text),
    }


def with_lora(pipeline: Pipeline, path: str | Path, scale: float = 1.0, *, max_bytes: int | None = None) -> Pipeline:
    """A pipeline with the updates of a LoRA file in its weights.

    Args:
        pipeline: the pipeline.
        path: of the file, or of a folder with ``pytorch_lora_weights.safetensors``.
        scale: 1 is all of the update.
        max_bytes: the most that the file may hold.

    Returns:
        The pipeline with other parameters.

    Raises:
        UserError: if the file cannot be read or is for another model.
    """
    updates = lora.load(path, adapted(pipeline), max_bytes=max_bytes)
    groups = {"unet": "net", "text_encoder": "text"}
    merged = {groups[name]: merge(pipeline.params[groups[name]], update, scale) for name, update in updates.items()}
    return pipeline._replace(params={**pipeline.params, **merged})
