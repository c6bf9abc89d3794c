"""Latent diffusion models in the folders of MONAI bundles, as pure functions: encode, decode, denoise, sample.

A bundle is a folder with ``configs/*.json`` and ``models/*.pt``, such as the model zoo's
``brain_image_synthesis_latent_diffusion_model``, ``brats_mri_generative_diffusion`` and ``maisi_ct_generative``. No
code of it is run: not the expressions of its configuration, not its scripts, not its pickles::

    bundle = load_bundle("brain_image_synthesis_latent_diffusion_model")
    print(bundle.covariates)  # their names, and the values that the bundle itself uses
    conditions = Conditions(covariates=jnp.array([[0.0, 0.7, 0.8, 0.4]]))
    image = jax.jit(bundle.sample, static_argnums=2)(bundle.params, jax.random.key(0), 1, conditions)
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxgen import draws, samplers
from jaxgen.errors import UserError
from jaxgen.families import latent_autoencoder
from jaxgen.interop import monai_autoencoder, monai_config, monai_unet, weight_files
from jaxgen.interop import monai_definitions as described
from jaxgen.interop.entries import shown
from jaxgen.interop.monai_config import Config
from jaxgen.interop.monai_definitions import Definition
from jaxgen.interop.monai_schedulers import from_monai
from jaxgen.interop.monai_unet_form import Form, form_of
from jaxgen.interop.schedulers import Scheduler
from jaxgen.nets.quantiser import quantise
from jaxgen.types import Array, Denoise, Key, Net, Params


class Conditions(NamedTuple):
    """What images are made for; a bundle takes some of it.

    Attributes:
        covariates: ``[b, k]``, such as age and sex: they enter as further channels, or as one token, or both, wherever
            the network has room for k of them.
        context: tokens ``[b, m, e]``, in place of the one of the covariates.
        vector: MAISI's top region index, bottom region index and spacing, as far as the network takes them, ``[b, e]``.
        label: class numbers ``[b]``, such as MAISI's modality.
        segmentation: a one-hot map ``[b, *spatial, k]`` of SPADE's networks.
        hint: the image ``[b, *spatial, k]`` of a ControlNet.
    """

    covariates: Array | None = None
    context: Array | None = None
    vector: Array | None = None
    label: Array | None = None
    segmentation: Array | None = None
    hint: Array | None = None


class Bundle(NamedTuple):
    """A latent diffusion model of a bundle. Where it has no autoencoder, the code is the image.

    Attributes:
        params: the groups ``"encoder"``, ``"decoder"`` (and ``"codebook"``), ``"unet"`` and ``"controlnet"``, as far as
            the bundle has them.
        encode: ``encode(params, x [b, *image], key=None) -> z [b, *shape]``: codes times the scale factor; the mean, or
            a draw with a key.
        decode: ``decode(params, z, segmentation=None) -> [b, *image]``.
        denoiser: ``denoiser(params, conditions) -> Denoise``, for any sampler and any guidance.
        from_noise: ``from_noise(params, key, noise [b, *shape], conditions) -> [b, *image]`` with the bundle's sampler.
        sample: ``sample(params, key, n, conditions=None) -> [n, *image]``; without conditions the bundle's own.
        scheduler: path, prediction, grid and step.
        shape: of a code, ``(*spatial, c)``; None where the configuration does not say.
        scale: the scale factor of codes.
        covariates: their names, with the values that the bundle uses itself.
        definitions: what the configuration says of each network: ``"autoencoder"``, ``"unet"``, ``"controlnet"``.
    """

    params: Params
    encode: Callable[..., Array]
    decode: Callable[..., Array]
    denoiser: Callable[[Params, Conditions], Denoise]
    from_noise: Callable[[Params, Key, Array, Conditions], Array]
    sample: Callable[..., Array]
    scheduler: Scheduler
    shape: tuple[int, ...] | None
    scale: float
    covariates: dict[str, float]
    definitions: dict[str, Definition]


def load_bundle(
    folder: str | Path,
    *,
    configs: Sequence[str] = ("inference.json",),
    part: str = "",
    overrides: Mapping[str, Any] | None = None,
    steps: int | None = None,
    max_bytes: int | None = None,
) -> Bundle:
    """Read the folder of a bundle of latent diffusion.

    Args:
        folder: it has ``configs`` and ``models``.
        configs: files of ``configs``, later ones over earlier ones.
        part: what the ids of the model begin with, where there are several: ``"mask_generation_"`` for the masks of
            ``maisi_ct_generative``. Without it the first of each kind of network is taken.
        overrides: entries of the configuration by id, such as ``{"age": 0.7}`` or ``{"load_unet_path":
            "models/mine.pt"}``: as MONAI's command line takes them.
        steps: sampler steps; None for those of the configuration, or else one per entry of the scheduler's table.
        max_bytes: the most that one file of weights may hold; see `jaxgen.interop.weight_files.read`.

    Returns:
        The model.

    Raises:
        UserError: if the folder is no bundle of latent diffusion, a file is missing, damaged or runs code, an entry is
            not resolved or not supported, or weights and configuration do not belong together.

    Example:
        >>> load_bundle("brain")
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: brain/configs/inference.json: cannot be read (No such file or directory); give the \
folder of a MONAI bundle, with configs/*.json
    """
    folder = Path(folder)
    config = monai_config.read(folder / "configs", configs, overrides)
    found = _definitions(config, part)
    loaded = {name: _load(folder, config, one, max_bytes) for name, one in found.items()}
    autoencoder = _autoencoder(loaded.get("autoencoder"), found.get("autoencoder"))
    scale = _scale(folder, config, part, max_bytes)
    form = form_of(found["unet"].options | {"_target_": found["unet"].target}, str(config.file))
    shape = _shape(config, part, form)
    scheduler = _scheduler(config, part, shape, steps)
    params: dict[str, Params] = dict(loaded["autoencoder"].params) if "autoencoder" in loaded else {}
    params |= {name: loaded[name].params for name in ("unet", "controlnet") if name in loaded}
    covariates = {} if part else described.covariates(config)
    control = _controlled(loaded["controlnet"].net, found["controlnet"]) if "controlnet" in loaded else None
    denoiser = _denoiser(loaded["unet"].net, form, control, scheduler)

    def encode(params: Params, x: Array, key: Key | None = None) -> Array:
        return autoencoder.encode(params, x, scale, key)

    def decode(params: Params, z: Array, segmentation: Array | None = None) -> Array:
        return autoencoder.decode(params, z / scale, segmentation)

    def from_noise(params: Params, key: Key, noise: Array, conditions: Conditions) -> Array:
        denoise = denoiser(params, conditions)
        start = scheduler.start * noise
        z = samplers.sample(scheduler.step(None), denoise, key, start, scheduler.grid)
        return decode(params, z, conditions.segmentation)

    def sample(params: Params, key: Key, n: int, conditions: Conditions | None = None) -> Array:
        if shape is None:
            raise UserError(f"{config.file}: does not say the shape of a code; give it as the override latent_shape")
        if conditions is None:
            own = jnp.tile(jnp.array(list(covariates.values())), (n, 1)) if covariates else None
            conditions = Conditions(covariates=own)
        noise_key, step_key = draws.split(key, 2)
        return from_noise(params, step_key, draws.normal(noise_key, (n, *shape)), conditions)

    return Bundle(params, encode, decode, denoiser, from_noise, sample, scheduler, shape, scale, covariates, found)


def _definitions(config: Config, part: str) -> dict[str, Definition]:
    kinds = {
        "autoencoder": described.AUTOENCODERS,
        "unet": described.UNETS,
        "controlnet": described.CONTROLNETS,
    }
    found = {name: described.definitions(config, classes, part) for name, classes in kinds.items()}
    if not found["unet"]:
        said = f" with an id that begins with {shown(part)}" if part else ""
        raise UserError(
            f"{config.file}: defines no U-Net of diffusion{said} ({', '.join(described.UNETS[:3])}); give the folder "
            "of a bundle of latent diffusion"
        )
    return {name: ones[0] for name, ones in found.items() if ones}


def _load(folder: Path, config: Config, definition: Definition, max_bytes: int | None) -> Any:
    if definition.source is None:
        raise UserError(
            f"{config.file}: does not say which file holds the weights of {definition.name}: no expression loads a "
            "state dict into it; give the configuration that samples, such as inference.json"
        )
    file = described.inside_folder(folder, definition.source.file, _root(config))
    options = definition.options | {"_target_": definition.target}
    reader = monai_autoencoder if definition.kind in described.AUTOENCODERS else monai_unet
    return reader.load(file, options, inside=definition.source.inside, max_bytes=max_bytes)


def _root(config: Config) -> str:
    root = config.value("bundle_root") if "bundle_root" in config else "."
    return root if isinstance(root, str) else "."


def _scale(folder: Path, config: Config, part: str, max_bytes: int | None) -> float:
    scale = described.scale_factor(config, part)
    if isinstance(scale, float):
        return scale
    file = described.inside_folder(folder, scale.file, _root(config))
    tensors = weight_files.read(file, max_bytes=max_bytes)
    found = tensors.get(str(scale.inside))
    if found is None or found.size != 1 or not 0 < found.item() < 1e9:
        raise UserError(f"{file}: holds no number above 0 named {scale.inside}; give scale_factor as an override")
    return float(found.item())


def _shape(config: Config, part: str, form: Form) -> tuple[int, ...] | None:
    found = described.latent_shape(config, part)
    if found is None:
        return None
    channels, *spatial = found
    if len(spatial) != form.spatial_dims or channels != form.out_channels:
        raise UserError(
            f"{config.file}: a code of shape {list(found)} does not fit a U-Net of {form.spatial_dims} dimensions and "
            f"{form.out_channels} channels; correct latent_shape"
        )
    return (*spatial, channels)


def _scheduler(config: Config, part: str, shape: tuple[int, ...] | None, steps: int | None) -> Scheduler:
    found = described.definitions(config, described.SCHEDULERS, part)
    if not found:
        raise UserError(f"{config.file}: defines no scheduler ({', '.join(described.SCHEDULERS)}); add one")
    positions = None
    if shape is not None:
        positions = 1
        for n in shape[:-1]:
            positions *= n
    steps = described.steps(config, part) if steps is None else steps
    options = found[0].options | {"_target_": found[0].target}
    return from_monai(options, steps, positions=positions, file=f"{config.file}: {found[0].name}")


class _Autoencoder(NamedTuple):
    encode: Callable[[Params, Array, float, Key | None], Array]
    decode: Callable[[Params, Array, Array | None], Array]


def _autoencoder(loaded: Any, definition: Definition | None) -> _Autoencoder:
    if definition is None:
        return _Autoencoder(lambda params, x, scale, key: x * scale, lambda params, z, segmentation: z)
    encoder, decoder = loaded.encoder, loaded.decoder
    if definition.kind == "VQVAE":

        def replaced(params: Params, z: Array, segmentation: Array | None) -> Array:
            return decoder.apply(params["decoder"], quantise(params["codebook"]["entries"], z).codes)

        return _Autoencoder(lambda params, x, scale, key: scale * encoder.apply(params["encoder"], x), replaced)

    def encode(params: Params, x: Array, scale: float, key: Key | None) -> Array:
        return latent_autoencoder.encode(encoder, params, x, scale, key)

    def decode(params: Params, z: Array, segmentation: Array | None) -> Array:
        given = (segmentation,) if definition.kind.startswith("SPADE") else ()
        return decoder.apply(params["decoder"], z, *given)

    return _Autoencoder(encode, decode)


def _controlled(net: Net, definition: Definition) -> Callable[..., Any]:
    """``(params, x, t, hint, given) -> Control``: it takes those inputs of the U-Net that it was made for."""
    form = form_of(definition.options | {"_target_": definition.target}, definition.name)
    takes = {"context": form.context is not None, "label": form.options["classes"] is not None}

    def control(params: Params, x: Array, t: Array, hint: Array, given: Mapping[str, Array]) -> Any:
        return net.apply(params, x, t, hint, **{name: one for name, one in given.items() if takes.get(name)})

    return control


def _denoiser(
    net: Net, form: Form, control: Callable[..., Any] | None, scheduler: Scheduler
) -> Callable[[Params, Conditions], Denoise]:
    def denoiser(params: Params, conditions: Conditions) -> Denoise:
        given = _inputs(form, conditions)

        def predict(x: Array, number: Array) -> Array:
            t = jnp.broadcast_to(number, x.shape[:1])
            more = dict(given)
            if control is not None and conditions.hint is not None:
                more["control"] = control(params["controlnet"], x, t, conditions.hint, given)
            return net.apply(params["unet"], _with_channels(x, form, conditions.covariates), t, **more)

        return scheduler.denoiser(predict)

    return denoiser


def _inputs(form: Form, conditions: Conditions) -> dict[str, Array]:
    covariates, context = conditions.covariates, conditions.context
    if context is None and form.context is not None:
        if covariates is None or covariates.shape[-1] != form.context:
            raise ValueError(f"give {form.context} covariates per image, or tokens of width {form.context} as context")
        context = covariates[:, None]
    given = {
        "context": context,
        "vector": conditions.vector,
        "label": conditions.label,
        "segmentation": conditions.segmentation if form.maps is not None else None,
    }
    width = sum(n for _, n in form.parts)
    if (0 if conditions.vector is None else conditions.vector.shape[-1]) != width:
        names = ", ".join(name.removesuffix("_layer") for name, _ in form.parts) or "none"
        raise ValueError(f"give a vector of {width} numbers per image ({names})")
    return {name: one for name, one in given.items() if one is not None}


def _with_channels(x: Array, form: Form, covariates: Array | None) -> Array:
    more = form.in_channels - x.shape[-1]
    if more == 0:
        return x
    if covariates is None or covariates.shape[-1] != more:
        raise ValueError(f"give {more} covariates per image, which this network takes as channels")
    channels = covariates.reshape(covariates.shape[0], *(1,) * (x.ndim - 2), more)
    return jnp.concatenate([x, jnp.broadcast_to(channels, (*x.shape[:-1], more)).astype(x.dtype)], axis=-1)
