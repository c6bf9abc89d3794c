"""The image-generation experiments: from the command line to the files they leave, and their full presets by shape."""

import dataclasses
import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from experiments.generation import ddpm, guidance, image_to_image, score_sde
from jaxgen import baselines
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.tasks.old import images
from jaxgen.tasks.old.networks import network

NAMES = ("ddpm", "guidance", "image_to_image", "score_sde")


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
    before = (run / "metrics.json").read_bytes()
    assert main(["eval", str(run)]) == 0
    assert (run / "metrics.json").read_bytes() == before
    if name != "image_to_image":
        assert main(["sample", str(run), "--n", "3"]) == 0
        (drawn,) = run.glob("samples*/samples.npz")
        assert np.load(drawn)["images"].shape == (3, 16, 16, 1)


def test_images_without_labels_are_judged_by_quarter_turns(tmp_path):
    path = tmp_path / "plain.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 255, (40, 16, 16), np.uint8))
    run = tmp_path / "run"
    flags = ["--samples", "8", "--chunk", "8", "--steps", "2", "--judge-steps", "2"]
    assert main(["run", "ddpm", "--preset", "smoke", "--data", str(path), "--workdir", str(run), *flags]) == 0
    constants = json.loads((run / "constants.json").read_text())
    assert constants["classes"] == []


def test_guidance_asks_for_labels(tmp_path, capsys):
    path = tmp_path / "plain.npz"
    np.savez(path, images=np.zeros((40, 16, 16), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None])
    assert main(["run", "guidance", "--preset", "smoke", "--data", str(path), "--workdir", str(tmp_path / "r")]) == 2
    assert "labels" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "size"), [("size", 20), ("attention", (3,))])
def test_configurations_that_do_not_fit(name, size):
    with pytest.raises(UserError, match=f"--{name} must"):
        dataclasses.replace(ddpm.SMALL, **{name: size})


COUNTS = {"ddpm": 113_673_219, "guidance": 295_900_035, "image_to_image": 113_673_219, "score_sde": 62_513_667}


@pytest.mark.parametrize("name", NAMES)
def test_the_full_preset_is_the_paper_s_network(name):
    """By shape alone: DDPM at 256 pixels (Ho et al. 2020), ADM at 64 (Dhariwal & Nichol 2021), DDPM++ (Song et al.)."""
    config = importlib.import_module(f"experiments.{name}").EXPERIMENT.presets["full"]
    classes = 1000 if name == "guidance" else None
    net = network(config, {"channels": 3}, classes=classes)
    x = jax.ShapeDtypeStruct((1, config.size, config.size, 3), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), x, jax.ShapeDtypeStruct((1,), jnp.float32))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == COUNTS[name]


@pytest.mark.parametrize(("preset", "precision"), [("small", "float32"), ("full", "bfloat16")])
def test_every_preset_traces_a_training_step(preset, precision):
    for module in (ddpm, guidance, image_to_image, score_sde):
        config = dataclasses.replace(module.EXPERIMENT.presets[preset], precision=precision)
        dtype = jnp.dtype(precision)
        batch = {
            "image": jax.ShapeDtypeStruct((2, config.size, config.size, 1), dtype),
            "label": jax.ShapeDtypeStruct((2,), jnp.int32),
        }
        for spec in module.EXPERIMENT.stages:
            model = spec.build(config, {"channels": 1, "classes": ["a", "b", "c"], "sigma_data": 0.5}, {}).model
            params = jax.eval_shape(model.init, jax.random.key(0), batch)
            params = jax.tree.map(lambda leaf, dtype=dtype: jax.ShapeDtypeStruct(leaf.shape, dtype), params)
            loss, _ = jax.eval_shape(model.objectives[0].loss, params, jax.random.split(jax.random.key(0), 2), batch)
            assert (loss.shape, loss.dtype) == ((2,), jnp.float32)


def test_the_gaussian_baseline_has_the_mean_and_the_covariance_of_the_images():
    rng = np.random.default_rng(0)
    train = 0.2 * rng.normal(size=(50, 2, 2, 1)) @ np.ones((1, 1)) + 0.1
    drawn = baselines.gaussian_images(train, 20_000, 0).reshape(-1, 4)
    flat = train.reshape(-1, 4)
    np.testing.assert_allclose(drawn.mean(0), flat.mean(0), atol=4 * 0.25 / np.sqrt(20_000))
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(flat.T), atol=0.003)


def test_chunks_fill_up_and_cut():
    double = jax.jit(lambda x: 2 * x)
    x = np.arange(7.0)
    for chunk in (1, 3, 7, 20):
        np.testing.assert_array_equal(images.in_chunks(double, 7, chunk, x), 2 * x)


def test_the_gaussian_s_log_density_is_that_of_its_directions():
    """Three directions and noise: the density of the fitted normal law, by its whole covariance."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 8))
    draw = lambda n: (rng.normal(size=(n, 3)) @ mixing + 0.1 * rng.normal(size=(n, 8))).reshape(n, 2, 4, 1)  # noqa: E731
    train, validation, x = draw(4000), draw(500), draw(5)
    found = baselines.gaussian_log_prob(train, validation, x)
    flat = train.reshape(-1, 8)
    fitted = scipy.stats.multivariate_normal(flat.mean(0), np.cov(flat.T, bias=True))
    np.testing.assert_allclose(found, fitted.logpdf(x.reshape(-1, 8)), atol=0.2)
