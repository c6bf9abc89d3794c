"""Model families, one a file: each builds a `jaxgen.types.Model`."""

from jaxgen.families.adversarial_autoencoder import (
    adversarial_autoencoder_model,
    normal_prior,
    ring_prior,
    semi_supervised_adversarial_autoencoder_model,
    swiss_roll_prior,
)
from jaxgen.families.autoencoder import autoencoder_model, denoising_autoencoder_model
from jaxgen.families.classifier import classifier_model
from jaxgen.families.cnf import cnf_model
from jaxgen.families.diffusion import LearnedVariance, diffusion_model
from jaxgen.families.flow_matching import flow_matching_model
from jaxgen.families.gan import gan_model
from jaxgen.families.interpolant import interpolant_model
from jaxgen.families.latent_autoencoder import latent_autoencoder_model
from jaxgen.families.mean_flow import mean_flow_model
from jaxgen.families.reflow import reflow_model
from jaxgen.families.vae import bernoulli_likelihood, gaussian_likelihood, logistic_likelihood, vae_model
from jaxgen.families.vector_quantised import vector_quantised_model

__all__ = [
    "LearnedVariance",
    "adversarial_autoencoder_model",
    "autoencoder_model",
    "bernoulli_likelihood",
    "classifier_model",
    "cnf_model",
    "denoising_autoencoder_model",
    "diffusion_model",
    "flow_matching_model",
    "gan_model",
    "gaussian_likelihood",
    "interpolant_model",
    "latent_autoencoder_model",
    "logistic_likelihood",
    "mean_flow_model",
    "normal_prior",
    "reflow_model",
    "ring_prior",
    "semi_supervised_adversarial_autoencoder_model",
    "swiss_roll_prior",
    "vae_model",
    "vector_quantised_model",
]
