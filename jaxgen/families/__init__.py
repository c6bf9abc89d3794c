"""Model families, one a file: each builds a `jaxgen.types.Model`."""

from jaxgen.families.adversarial_autoencoder import (
    SemiSupervisedNets,
    adversarial_autoencoder_model,
    normal_prior,
    ring_prior,
    semi_supervised_adversarial_autoencoder_model,
    swiss_roll_prior,
)
from jaxgen.families.attributes import Attributes, attribute_diffusion_model
from jaxgen.families.autoencoder import autoencoder_model, denoising_autoencoder_model
from jaxgen.families.classifier import classifier_model
from jaxgen.families.cnf import Costs, cnf_model
from jaxgen.families.conditions import Conditions
from jaxgen.families.controlnet import ControlledNets, controlnet_model
from jaxgen.families.cycle_gan import CycleGame, CycleNets, cycle_gan
from jaxgen.families.dequantisation import (
    Dequantiser,
    checkerboard_dequantiser,
    uniform_dequantiser,
    variational_dequantiser,
)
from jaxgen.families.diffusion import LearnedVariance, diffusion_model
from jaxgen.families.flow_matching import flow_matching_model
from jaxgen.families.flows import glow, masked_autoregressive_flow, neural_spline_flow, real_nvp
from jaxgen.families.gan import Game, gan_model
from jaxgen.families.identity import retrieval_model, verification_model
from jaxgen.families.image_vae import image_vae
from jaxgen.families.interpolant import interpolant_model
from jaxgen.families.labels import Labels
from jaxgen.families.latent_autoencoder import latent_autoencoder_model
from jaxgen.families.latent_diffusion import Autoencoder, latent_diffusion_model, trained_autoencoder
from jaxgen.families.lora import init_lora, lora_model, merge, unmerge
from jaxgen.families.mean_flow import mean_flow_model
from jaxgen.families.normalizing_flow import flow_model
from jaxgen.families.reflow import reflow_model
from jaxgen.families.regression import regression_model
from jaxgen.families.scaled_codes import scaled_codes_model
from jaxgen.families.text_diffusion import text_diffusion_model
from jaxgen.families.textual_inversion import textual_inversion_model
from jaxgen.families.translation import conditional_diffusion, direct_translation
from jaxgen.families.translation_gan import PairedGame, translation_gan
from jaxgen.families.vae import bernoulli_likelihood, gaussian_likelihood, logistic_likelihood, vae_model
from jaxgen.families.vector_quantised import vector_quantised_model

__all__ = [
    "Attributes",
    "attribute_diffusion_model",
    "Autoencoder",
    "Conditions",
    "ControlledNets",
    "Costs",
    "CycleGame",
    "CycleNets",
    "Dequantiser",
    "Game",
    "Labels",
    "LearnedVariance",
    "PairedGame",
    "SemiSupervisedNets",
    "adversarial_autoencoder_model",
    "autoencoder_model",
    "bernoulli_likelihood",
    "checkerboard_dequantiser",
    "classifier_model",
    "conditional_diffusion",
    "controlnet_model",
    "cycle_gan",
    "cnf_model",
    "denoising_autoencoder_model",
    "diffusion_model",
    "direct_translation",
    "flow_matching_model",
    "flow_model",
    "gan_model",
    "gaussian_likelihood",
    "glow",
    "init_lora",
    "image_vae",
    "interpolant_model",
    "latent_autoencoder_model",
    "latent_diffusion_model",
    "logistic_likelihood",
    "lora_model",
    "masked_autoregressive_flow",
    "mean_flow_model",
    "merge",
    "neural_spline_flow",
    "normal_prior",
    "real_nvp",
    "reflow_model",
    "regression_model",
    "retrieval_model",
    "scaled_codes_model",
    "ring_prior",
    "semi_supervised_adversarial_autoencoder_model",
    "swiss_roll_prior",
    "text_diffusion_model",
    "textual_inversion_model",
    "trained_autoencoder",
    "translation_gan",
    "uniform_dequantiser",
    "unmerge",
    "vae_model",
    "variational_dequantiser",
    "vector_quantised_model",
    "verification_model",
]
