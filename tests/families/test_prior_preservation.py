"""Prior preservation: both halves of a batch, each with its own noise, and what stays as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws
from jaxgen.families.lora import lora_model
from jaxgen.families.prior_preservation import prior_preservation_model
from jaxgen.types import Model, Objective


def noisy(params, key, batch):
    """A loss that depends on image, text and key of each example, and on nothing else."""
    noise = draws.normal(key, batch["image"].shape)
    value = ((batch["image"] @ params["net"]["kernel"] + noise) ** 2).mean(1) + batch["text"].sum(1)
    return value, {"noise": noise.mean(1)}


MODEL = Model(lambda key, batch: {"net": {"kernel": jnp.ones((3, 3))}}, (Objective("net", noisy),), print)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    image, other = jnp.asarray(rng.normal(size=(2, 4, 3)), jnp.float32)
    text, other_text = jnp.asarray(rng.integers(0, 9, (2, 4, 2)))
    return {"image": image, "text": text, "class_image": other, "class_text": other_text}


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_that_of_the_subject_plus_a_weight_times_that_of_the_class(batch, weight):
    params, keys = {"net": {"kernel": 0.5 * jnp.eye(3)}}, jax.random.split(jax.random.key(0), 4)
    (objective,) = prior_preservation_model(MODEL, weight).objectives
    value, info = objective.loss(params, keys, batch)
    of_subject, of_class = draws.split(keys, 2)
    subject, noise = noisy(params, of_subject, {name: batch[name] for name in ("image", "text")})
    of_class, _ = noisy(params, of_class, {name: batch[f"class_{name}"] for name in ("image", "text")})
    assert value.shape == (4,)
    np.testing.assert_allclose(value.mean(), subject.mean() + weight * of_class.mean(), rtol=1e-6)
    np.testing.assert_allclose(value, subject + weight * of_class, rtol=1e-6)
    np.testing.assert_allclose(info["subject"], subject, rtol=1e-6)
    np.testing.assert_allclose(info["class"], of_class, rtol=1e-6)
    np.testing.assert_allclose(info["noise"], noise["noise"], rtol=1e-6)


def test_the_same_image_in_both_halves_meets_another_noise(batch):
    twice = batch | {"class_image": batch["image"], "class_text": batch["text"]}
    keys = jax.random.split(jax.random.key(0), 4)
    _, info = prior_preservation_model(MODEL).objectives[0].loss({"net": {"kernel": jnp.eye(3)}}, keys, twice)
    assert np.abs(info["subject"] - info["class"]).min() > 1e-4


def test_an_entry_without_a_partner_is_refused(batch):
    (objective,) = prior_preservation_model(MODEL).objectives
    del batch["class_text"]
    with pytest.raises(ValueError, match="each entry of a batch needs one of class images, got class_image, image"):
        objective.loss({}, jax.random.split(jax.random.key(0), 4), batch)


def test_it_trains_what_the_model_trains_and_samples_as_it_does(batch):
    adapted = prior_preservation_model(lora_model(MODEL, 1, targets="kernel"))
    assert [one.trains for one in adapted.objectives] == ["lora"]
    params = adapted.init(jax.random.key(0), batch)
    keys = jax.random.split(jax.random.key(1), 4)
    gradient = jax.grad(lambda lora: adapted.objectives[0].loss({**params, "lora": lora}, keys, batch)[0].mean())
    assert float(jnp.abs(gradient(params["lora"])["net"]["kernel"]["b"]).max()) > 1e-3
    assert prior_preservation_model(MODEL).sample is MODEL.sample
