"""MONAI's SPADEAutoencoderKL: the encoder of its AutoencoderKL, and a decoder whose norms read a segmentation."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.errors import UserError
from jaxgen.interop import monai_kl, monai_spade
from jaxgen.interop.autoencoders import Autoencoder
from jaxgen.interop.entries import Entries, Kind
from jaxgen.interop.tensors import Entry
from jaxgen.nets.kl_autoencoder import KLForm
from jaxgen.nets.spade import MONAI_FORM
from jaxgen.nets.spade_decoder import spade_kl_decoder
from jaxgen.types import Params

TARGET = "SPADEAutoencoderKL"
_DEFAULTS = {"label_nc": None, "spade_intermediate_channels": 128}
_COUNT = Kind((int,), 1, 2**16)
_KINDS = {"label_nc": _COUNT._replace(null=True), "spade_intermediate_channels": _COUNT}


def entries_of(config: Mapping[str, Any], file: str) -> tuple[KLForm, Entries, Entries]:
    """Our form of its keyword arguments.

    Args:
        config: the arguments.
        file: where they are from, for messages.

    Returns:
        The form; the entries that an AutoencoderKL has as well; and those that it has not.

    Raises:
        UserError: if an entry is not supported, or ``label_nc`` is missing.
    """
    own = {name: value for name, value in config.items() if name in _DEFAULTS}
    entries = Entries(own, file, _DEFAULTS, _KINDS, "jaxgen.interop.monai_autoencoder")
    if entries["label_nc"] is None:
        raise UserError(f"{file}: lacks label_nc; give the number of classes of the segmentation")
    form, common = monai_kl.entries_of({name: x for name, x in config.items() if name not in own}, file, False)
    return form, common, entries


def nets(form: KLForm, common: Entries, entries: Entries) -> Autoencoder:
    """The two networks; the decoder is ``apply(params, z, segmentation)``."""
    spade_form = MONAI_FORM._replace(affine=False)
    hidden = entries["spade_intermediate_channels"]
    decoder = spade_kl_decoder(common["out_channels"], form, hidden=hidden, spade_form=spade_form)
    return Autoencoder(monai_kl.nets(form, common).encoder, decoder)


def shapes(form: KLForm, common: Entries, entries: Entries) -> Params:
    """The shapes of the parameters of both networks."""
    made, size = nets(form, common, entries), 2 ** (len(form.channels) - 1)

    def some(factor: int, channels: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, *(2 * factor,) * common["spatial_dims"], channels), jnp.float32)

    key = jax.random.key(0)
    code, label_map = some(1, common["latent_channels"]), some(size, entries["label_nc"])
    return {
        "encoder": jax.eval_shape(made.encoder.init, key, some(size, common["in_channels"])),
        "decoder": jax.eval_shape(made.decoder.init, key, code, label_map),
    }


def names(form: KLForm, common: Entries, params: Params) -> Iterator[Entry]:
    """Our parameters and MONAI's tensors.

    Args:
        form: of `entries_of`.
        common: of `entries_of`.
        params: the parameters of both networks, or their shapes.

    Yields:
        One entry for each parameter.
    """
    for entry in monai_kl.names(form, common, params, False):
        side, layer, *rest = entry.path
        if side == "decoder" and layer.startswith("residual") and rest[0].startswith("GroupNorm"):
            if rest[1] == "scale":
                path = (side, layer, rest[0].replace("GroupNorm", "Spade"))
                yield from monai_spade.convolutions(path, entry.names[0].removesuffix(".weight"))
        else:
            yield entry
