"""Networks as pure functions: ``Net(init, apply)``."""

from jaxgen.nets.autoencoder import decoder, encoder
from jaxgen.nets.classifier import classifier
from jaxgen.nets.clip_text import TextSizes, clip_text
from jaxgen.nets.conditioner import conditioner, dense_conditioner
from jaxgen.nets.controlnet import controlnet, controlnet_from_unet
from jaxgen.nets.deformation import deformation_net
from jaxgen.nets.discriminator import dcgan_discriminator, residual_discriminator
from jaxgen.nets.dit import dit
from jaxgen.nets.dose import dose_critic, plain_cnn, red_cnn
from jaxgen.nets.generator import dcgan_generator, residual_generator
from jaxgen.nets.interval import interval
from jaxgen.nets.kl_autoencoder import KLForm, kl_decoder, kl_encoder, monai_form, published_form
from jaxgen.nets.masked_mlp import masked_mlp
from jaxgen.nets.mlp import mlp
from jaxgen.nets.multiscale import multiscale_critic
from jaxgen.nets.plain_classifier import plain_classifier
from jaxgen.nets.rrdb import rrdb_encoder
from jaxgen.nets.spectral import spectral_norm
from jaxgen.nets.tiled_decoding import tiled_kl_decoder
from jaxgen.nets.translator import patch_critic, residual_translator, skip_translator
from jaxgen.nets.unet import unet, with_fresh_output
from jaxgen.nets.unet_variant import Control, Transformer, UNetVariant
from jaxgen.nets.volumetric import of_volumes, split_volumetric
from jaxgen.nets.vqvae import VQForm, vqvae_decoder, vqvae_encoder

__all__ = [
    "Control",
    "KLForm",
    "Transformer",
    "UNetVariant",
    "VQForm",
    "TextSizes",
    "classifier",
    "clip_text",
    "conditioner",
    "controlnet",
    "controlnet_from_unet",
    "dense_conditioner",
    "dcgan_discriminator",
    "deformation_net",
    "dcgan_generator",
    "decoder",
    "dit",
    "dose_critic",
    "encoder",
    "interval",
    "kl_decoder",
    "kl_encoder",
    "masked_mlp",
    "mlp",
    "monai_form",
    "patch_critic",
    "plain_cnn",
    "published_form",
    "red_cnn",
    "multiscale_critic",
    "of_volumes",
    "plain_classifier",
    "residual_discriminator",
    "residual_generator",
    "residual_translator",
    "skip_translator",
    "rrdb_encoder",
    "spectral_norm",
    "split_volumetric",
    "tiled_kl_decoder",
    "unet",
    "vqvae_decoder",
    "vqvae_encoder",
    "with_fresh_output",
]
