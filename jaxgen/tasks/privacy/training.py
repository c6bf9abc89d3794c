"""The stages: an autoencoder, an over-trained generator and a regular one, and the networks that recognise people."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.chunks import in_chunks
from jaxgen.data import ArraySource
from jaxgen.data.generated import DrawnSource
from jaxgen.experiment import Run, StageSpec
from jaxgen.families import regression_model, retrieval_model, verification_model
from jaxgen.families.identity import embed, same_person
from jaxgen.nets import encoder
from jaxgen.tasks import features, images, latent
from jaxgen.tasks.latent_generation import diffusion_stage
from jaxgen.tasks.privacy.data import (
    COPYING,
    PATCH,
    REGULAR,
    PrivacyConfig,
    examples_of,
    in_bytes,
    seen_pairs,
    through_autoencoder,
)
from jaxgen.train import Stage
from jaxgen.types import Array, Batch, Key, Model, Net

NOISE = 0.03
"""Standard deviation of the noise on what the networks that recognise people learn from."""
OTHERS = 10**6
"""Added to the seed for phantoms of people who are in no split."""
CODE = 12


def network(config: PrivacyConfig, features: int) -> Net:
    """A convolutional encoder that ends in a vector."""
    return encoder(features, channels=config.people_channels, blocks=config.people_blocks, patch=PATCH, vector=True)


def noisy(config: PrivacyConfig) -> images.Prepare:
    """On the device: bytes to [-1, 1], with noise, so that no network compares noise."""

    def prepare(key: Key, batch: Batch) -> Batch:
        keys = draws.split(key, 2)
        seen = {name: _unit(batch[name]) for name in ("image", "other") if name in batch}
        drawn = {
            name: x + NOISE * draws.normal(one, x.shape) for one, (name, x) in zip(keys, seen.items(), strict=False)
        }
        return {**batch, **drawn}

    return prepare


def _stage(
    name: str, make: Callable[[PrivacyConfig], Model], groups: tuple[str, ...], steps: str = "people_steps"
) -> Callable[[Run], Stage]:
    def build(run: Run) -> Stage:
        count = getattr(run.config, steps)
        optimizers = dict.fromkeys(groups, images.optimizer(run.config, count))
        return Stage(name, make(run.config), optimizers, count, noisy(run.config))

    return build


def _retrieval(config: PrivacyConfig) -> Model:
    return retrieval_model(network(config, config.embedding), temperature=config.temperature)


def _verification(config: PrivacyConfig) -> Model:
    return verification_model(network(config, config.embedding))


def _code(config: PrivacyConfig) -> Model:
    return regression_model(network(config, CODE))


def _phantoms(run: Run) -> ArraySource:
    """Phantoms of people who are in no split, as they are and through the autoencoder, with their codes."""
    config, side = run.config, len(run.splits.train[0]["image"])
    drawn = DrawnSource(
        "cxr_visits", config.code_images, seed=config.seed + OTHERS, size=side, entries=("image", "covariates")
    )
    image = in_bytes(run, drawn).arrays["image"]
    codes = drawn.arrays["covariates"]
    both = {"image": np.concatenate([image, through_autoencoder(run, image)]), "covariates": np.tile(codes, (2, 1))}
    return ArraySource(both)


STAGES = (
    features.STAGE._replace(examples=images.example_images),
    images.stage(
        "autoencoder", latent.autoencoder_model, steps="autoencoder_steps", groups=("encoder", "decoder")
    )._replace(examples=images.example_images),
    diffusion_stage(COPYING, lambda run: examples_of(run, COPYING), "copying_steps"),
    diffusion_stage(REGULAR, lambda run: examples_of(run, REGULAR)),
    StageSpec("retrieval", _stage("retrieval", _retrieval, ("net",)), examples=seen_pairs),
    StageSpec("verification", _stage("verification", _verification, ("net", "head")), examples=seen_pairs),
    StageSpec("code", _stage("code", _code, ("net",), "code_steps"), lambda config: config.exact, examples=_phantoms),
)
"""In order; the last one measures the codes of phantoms, and is trained on no other data."""


def _unit(x: Array) -> Array:
    """Bytes to [-1, 1]; other images stay as they are."""
    return x.astype(jnp.float32) / 127.5 - 1 if x.dtype == jnp.uint8 else x


class Recognition:
    """The trained networks as functions of images ``[n, h, w, c]``, in [-1, 1] or as bytes.

    Args:
        run: the run, with its stages trained.
    """

    def __init__(self, run: Run) -> None:
        config, self._run = run.config, run
        self._net = network(config, config.embedding)
        self._code_net = network(config, CODE)
        self._embed = jax.jit(lambda params, x: embed(self._net, params, _unit(x)))
        self._verify = jax.jit(lambda params, a, b: same_person(self._net, params, _unit(a), _unit(b)))
        self._code = jax.jit(lambda params, x: self._code_net.apply(params["net"], _unit(x)))

    def embed(self, x: np.ndarray) -> np.ndarray:
        """Embeddings ``[n, d]``."""
        params = self._run.params["retrieval"]
        return in_chunks(lambda x: self._embed(params, x), len(x), self._run.config.chunk, x, exactly=True)

    def verify(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Scores ``[n]`` of pairs, larger for one person."""
        params = self._run.params["verification"]
        return in_chunks(lambda a, b: self._verify(params, a, b), len(a), self._run.config.chunk, a, b, exactly=True)

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Codes ``[n, 12]`` of phantoms."""
        params = self._run.params["code"]
        return in_chunks(lambda x: self._code(params, x), len(x), self._run.config.chunk, x, exactly=True)
