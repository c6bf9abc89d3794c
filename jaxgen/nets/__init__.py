"""Networks as pure functions: ``Net(init, apply)``."""

from jaxgen.nets.autoencoder import decoder, encoder
from jaxgen.nets.classifier import classifier
from jaxgen.nets.conditioner import conditioner, dense_conditioner
from jaxgen.nets.controlnet import controlnet, controlnet_from_unet
from jaxgen.nets.discriminator import dcgan_discriminator, residual_discriminator
from jaxgen.nets.dit import dit
from jaxgen.nets.generator import dcgan_generator, residual_generator
from jaxgen.nets.interval import interval
from jaxgen.nets.masked_mlp import masked_mlp
from jaxgen.nets.mlp import mlp
from jaxgen.nets.rrdb import rrdb_encoder
from jaxgen.nets.spectral import spectral_norm
from jaxgen.nets.unet import unet
from jaxgen.nets.unet_variant import Control, Transformer, UNetVariant

__all__ = [
    "Control",
    "Transformer",
    "UNetVariant",
    "classifier",
    "conditioner",
    "controlnet",
    "controlnet_from_unet",
    "dense_conditioner",
    "dcgan_discriminator",
    "dcgan_generator",
    "decoder",
    "dit",
    "encoder",
    "interval",
    "masked_mlp",
    "mlp",
    "residual_discriminator",
    "residual_generator",
    "rrdb_encoder",
    "spectral_norm",
    "unet",
]
