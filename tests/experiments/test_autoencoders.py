"""The autoencoders' experiments: from the command line to the files they leave, and their full presets by shape."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.anomaly import denoising_autoencoder
from experiments.generation import adversarial_autoencoder, autoencoder, vae
from jaxgen.app.cli import main
from jaxgen.baselines import principal_components
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.families.pixel_likelihood import PIXELS

MODULES = (autoencoder, denoising_autoencoder, vae, adversarial_autoencoder)
EXPERIMENTS = {module.EXPERIMENT.name: module.EXPERIMENT for module in MODULES}
NAMES = list(EXPERIMENTS)


def facts(experiment):
    return experiment.facts.from_json({"channels": 1, "classes": [], "value_range": [[0.0], [255.0]]})


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_smoke_preset_on_images_of_the_user(name, data, tmp_path):
    run = tmp_path / "run"
    flags = ["--samples", "8", "--chunk", "8"]
    assert main(["run", name, "--preset", "smoke", "--data", str(data), "--workdir", str(run), *flags]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    numbers = [v for entry in metrics.values() if isinstance(entry, dict) for v in entry.values()]
    assert numbers
    assert np.isfinite(numbers).all()
    assert (run / "report.html").stat().st_size > 20_000
    if name == "adversarial_autoencoder":
        assert main(["sample", str(run), "--n", "3"]) == 0
        (drawn,) = run.glob("samples*/samples.npz")
        assert np.load(drawn)["images"].shape == (3, 16, 16, 1)


@pytest.mark.thorough
def test_lesions_are_looked_for_in_the_phantoms(tmp_path):
    run = tmp_path / "run"
    flags = ["--steps", "2", "--workdir", str(run)]
    assert main(["run", "denoising_autoencoder", "--preset", "smoke", *flags]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    detectors = ["intensity", "z-scores", "pca-32", "pca-128", "white noise", "coarse noise"]
    assert all(0 < metrics[name][f"ap_{kind}"] <= 1 for name in detectors for kind in ("L1", "L2", "L3", "L4"))


def test_configurations_that_do_not_fit():
    with pytest.raises(UserError, match="--size must"):
        dataclasses.replace(autoencoder.EXPERIMENT.presets["small"], size=20)
    with pytest.raises(UserError, match="--attention must"):
        dataclasses.replace(autoencoder.EXPERIMENT.presets["small"], attention=(4,))
    with pytest.raises(UserError, match="--code 2"):
        dataclasses.replace(adversarial_autoencoder.EXPERIMENT.presets["small"], prior="ring")


@pytest.mark.parametrize("likelihood", ["logistic", "bernoulli"])
def test_other_likelihoods_of_the_vae(likelihood):
    config = dataclasses.replace(vae.EXPERIMENT.presets["smoke"], likelihood=likelihood)
    stage = vae.EXPERIMENT.stages[1].build(Run(config, facts(vae.EXPERIMENT)))
    batch = {"image": jax.ShapeDtypeStruct((2, 16, 16, 1), jnp.uint8)}
    prepared = jax.eval_shape(stage.prepare, jax.random.split(jax.random.key(0), 2), batch)
    params = jax.eval_shape(stage.model.init, jax.random.key(0), prepared)
    assert set(params) == set(stage.optimizers)


def test_bytes_become_what_each_likelihood_is_one_of_and_images_again():
    whole = np.array([[0, 128, 255]], np.uint8)
    image = whole / 127.5 - 1
    for name, low, noise in (("gaussian", -1, 2 / 256), ("logistic", -1, 0), ("bernoulli", 0, 0)):
        pixels = PIXELS[name]
        values = pixels.values(jax.random.key(0), jnp.asarray(whole))
        scaled = whole / 255 if low == 0 else image
        np.testing.assert_allclose(values, scaled, atol=noise + 1e-6)
        np.testing.assert_allclose(pixels.to_image(values), image, atol=noise + 1e-6)
        np.testing.assert_allclose(pixels.from_image(pixels.to_image(values)), values, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("likelihood", ["logistic", "bernoulli"])
def test_the_vae_runs_with_other_likelihoods(likelihood, data, tmp_path):
    run = tmp_path / "run"
    flags = ["--samples", "8", "--chunk", "8", "--steps", "2", "--feature-steps", "2", "--likelihood", likelihood]
    assert main(["run", "vae", "--preset", "smoke", "--data", str(data), "--workdir", str(run), *flags]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert ("bits" in metrics["vae"]) == (likelihood == "logistic")
    assert np.isfinite(list(metrics["vae"].values())).all()


def test_principal_components_are_those_of_the_covariance():
    rng = np.random.default_rng(0)
    train = (rng.normal(size=(60, 3)) * [3.0, 2.0, 1.0]) @ rng.normal(size=(3, 16)) * 0.05
    for x in (train.reshape(60, 4, 4, 1), train[:10].reshape(10, 4, 4, 1)):  # by either Gram matrix
        found = principal_components(x, 2)
        flat = x.reshape(len(x), -1)
        want = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:2]
        np.testing.assert_allclose(np.abs(np.sum(found.axes.T * want, 1)), 1, rtol=1e-6)
        restored = flat.mean(0) + (flat - flat.mean(0)) @ want.T @ want
        np.testing.assert_allclose(found.reconstruct(x).reshape(len(x), -1), restored.clip(-1, 1), atol=1e-6)
