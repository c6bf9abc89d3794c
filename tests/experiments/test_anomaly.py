"""The anomaly experiments: from the command line to the files they leave, their data, and their presets by shape."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from experiments.anomaly import anomaly_counterfactual, anomaly_diffusion, anomaly_gan, anomaly_latent, anomaly_patch
from jaxgen.app.cli import main
from jaxgen.data.image import Image
from jaxgen.errors import UserError
from jaxgen.experiment import EVALUATE, Run, key_of, stages_of
from jaxgen.medical.anomaly import find
from jaxgen.tasks.anomaly import data, evaluation, labelled
from jaxgen.tasks.anomaly.methods import at_chosen

MODULES = (anomaly_diffusion, anomaly_patch, anomaly_counterfactual, anomaly_gan, anomaly_latent)
RECIPES = {module.EXPERIMENT.name: module for module in MODULES}
OURS = {
    "anomaly_diffusion": ("coarse8 diffusion", "coarse autoencoder", "vae"),
    "anomaly_patch": ("patch diffusion", "whole-image diffusion"),
    "anomaly_counterfactual": ("classifier guidance", "classifier-free guidance", "bridge of labels", "saliency"),
    "anomaly_gan": ("f-anogan",),
    "anomaly_latent": ("latent healing", "without the gate", "autoencoder residual"),
}
SIMPLE = ("intensity", "z-scores", "pca-32", "pca-128")


def preset(module, name="smoke", **changes):
    return dataclasses.replace(module.EXPERIMENT.presets[name], **changes)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(OURS))
def test_smoke_preset_on_phantoms_and_on_a_picture(name, tmp_path):
    run = tmp_path / "run"
    assert main(["run", name, "--preset", "smoke", "--workdir", str(run)]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    for method in (*SIMPLE, *OURS[name]):
        for kind in ("L1", "L4"):
            row = metrics[method]
            assert 0 < row[f"ap_{kind}"] <= 1
            assert row[f"dice_{kind}"] <= row[f"best_dice_{kind}"] + 1e-9
            assert row[f"ap_low_{kind}"] <= row[f"ap_high_{kind}"]
    assert np.isfinite(metrics["image itself"]["twin_psnr_L1"])
    picture = tmp_path / "in" / "brain.png"
    picture.parent.mkdir()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)).save(picture)
    assert main(["apply", str(run), str(picture), "--out", str(tmp_path / "out")]) == 0
    with np.load(tmp_path / "out" / "brain_arrays.npz") as maps:
        assert maps["anomaly"].shape == maps["restored"].shape == (20, 30)
        assert np.isfinite(maps["anomaly"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OURS, "denoising_autoencoder"])
def test_several_contrasts_at_once(name, tmp_path):
    """Three channels, of which the first counts, a patient held out by name, and the map of one image."""
    rng, run = np.random.default_rng(0), tmp_path / "run"
    images, masks = rng.integers(20, 200, (60, 16, 16, 3)).astype(np.uint8), np.zeros((60, 16, 16), np.uint8)
    masks[::2, 4:8, 4:8] = 1
    images[masks > 0, 0] = 255
    patient, labels = np.repeat(["07", "19", "26"], 20), np.where(masks.any((1, 2)), "ms", "notumor")
    known = {"labels": labels} if name == "anomaly_counterfactual" else {"masks": masks}
    np.savez(tmp_path / "ms.npz", images=images, patient=patient, **known)
    flags = ["--data", str(tmp_path / "ms.npz"), "--test-patients", "07", "--residual", "brighter"]
    flags += ["--score-channels", "0", "--median", "1", "--workdir", str(run)]
    assert main(["run", name, "--preset", "smoke", *flags]) == 0
    assert json.loads((run / "data.json").read_text())["test_patients"] == ["07"]
    metrics = json.loads((run / "metrics.json").read_text())
    found = "auroc_image" if name == "anomaly_counterfactual" else "ap_lesions"
    ours = OURS.get(name, ("coarse noise", "white noise"))
    assert all(0 <= metrics[method][found] <= 1 for method in (*SIMPLE, *ours))
    assert metrics["intensity"][found] == 1, "lesions are the brightest of the first channel, and of no other"
    np.save(tmp_path / "one.npy", images[0])
    assert main(["apply", str(run), str(tmp_path / "one.npy"), "--out", str(tmp_path / "out")]) == 0
    with np.load(tmp_path / "out" / "one_arrays.npz") as maps:
        assert set(maps) == {"anomaly", "restored-0", "restored-1", "restored-2"}
        assert all(maps[one].shape == (16, 16) and np.isfinite(maps[one]).all() for one in maps)


@pytest.mark.slow
def test_images_with_labels_are_judged_one_by_one(data, tmp_path):
    run = tmp_path / "run"
    flags = ["--data", str(data), "--healthy", "0", "--reference-steps", "0", "--vae-steps", "0", "--levels", "0.3"]
    assert main(["run", "anomaly_diffusion", "--preset", "smoke", "--workdir", str(run), *flags]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["intensity"]["auroc_image"] == 1, "the discs that are ill are brighter than all that is healthy"
    assert 0 <= metrics["coarse8 diffusion"]["auroc_image"] <= 1
    with pytest.raises(UserError, match="--healthy nobody"):
        anomaly_diffusion.EXPERIMENT.load(preset(anomaly_diffusion, data=str(data), healthy="nobody"))


def test_the_classifier_learns_once_in_several_batches():
    config = preset(anomaly_counterfactual, classifier_batches=3, classifier_steps=12)
    (spec,) = (spec for spec in anomaly_counterfactual.EXPERIMENT.stages if spec.name == "classifier")
    stage = spec.build(Run(config, FACTS))
    optimizer, params = stage.optimizers["net"], {"w": jnp.ones(2)}
    state, moved = optimizer.init(params), []
    for _ in range(6):
        update, state = optimizer.update({"w": jnp.ones(2)}, state, params)
        moved.append(bool(jnp.any(update["w"] != 0)))
    assert moved == [False, False, True, False, False, True]


def test_configurations_that_do_not_fit():
    for module, name, change, message in (
        (anomaly_diffusion, "small", {"noise": ("white", "white")}, "--noise"),
        (anomaly_diffusion, "small", {"levels": (0.9,)}, "--levels go to 0.9"),
        (anomaly_counterfactual, "small", {"levels": (0.5,)}, "--levels go to 0.5"),
        (anomaly_counterfactual, "small", {"classifier_steps": 3}, "--classifier-steps 3 of --classifier-batches 4"),
        (anomaly_counterfactual, "small", {"cells": 65}, "--cells must be at most --size 64"),
        (anomaly_patch, "smoke", {"cells": 17}, "--cells must be at most --size 16"),
        (anomaly_diffusion, "small", {"median": 4}, "--median must be odd"),
        (anomaly_patch, "small", {"overlap": 32}, "--overlap must"),
        (anomaly_patch, "small", {"box": 65}, "--box must"),
        (anomaly_gan, "small", {"size": 48}, "--size must be a multiple of 32"),
    ):
        with pytest.raises(UserError, match=message):
            preset(module, name, **change)


FACTS = labelled.AnomalyFacts(value_range=((0.0,), (1.0,)), image_channels=1, healthy=0)


def untrained(module, config, facts, splits):
    """A run with the parameters that training starts from."""
    run, trained = Run(config, facts, splits=splits), {}
    examples = module.EXPERIMENT.examples(run)
    for spec in stages_of(module.EXPERIMENT, config):
        stage = spec.build(run._replace(params=trained))
        batch = {name: jnp.asarray(array[-2:]) for name, array in examples.arrays.items()}
        if spec.name == "diffusion" and module is anomaly_latent:
            batch = stage.prepare(jax.random.key(0), batch)
        trained[spec.name] = stage.model.init(jax.random.key(1), batch)
    return run._replace(params=trained)


APPLIED = {"anomaly_counterfactual": anomaly_counterfactual.OURS}


@pytest.mark.parametrize("name", RECIPES)
def test_the_map_of_a_network_is_the_same_alone_in_a_set_and_in_apply(name):
    module = RECIPES[name]
    config = preset(module, reference_steps=0, vae_steps=0, erosion=1, residual="darker")
    splits, key = module.EXPERIMENT.load(config), jax.random.key(5)
    run = untrained(module, config, module.EXPERIMENT.measure(config, splits), splits)
    methods = {method.name: method for method in module.methods(run)}
    method = at_chosen(run, methods[APPLIED.get(name, next(iter(methods)))])
    x = data.phantoms(config, 1, 3)["image"]
    together = np.concatenate([x, np.full_like(x, 1.0), np.full_like(x, -1.0), 0 * x])
    one, two = (find(evaluation.cleaning(config), key, method, images).score[0] for images in (x, together))
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert (one > 0).any()
    applied = module.EXPERIMENT.apply(run._replace(splits=None))(key, Image((x[0] + 1) / 2, None, {}))["anomaly"]
    np.testing.assert_allclose(applied, one, atol=1e-5)


def test_a_setting_that_the_evaluation_chose_is_applied():
    """The middle ones without an evaluation; under the names that runs of before have in their files."""
    for module, chosen, setting in (
        (anomaly_diffusion, {}, 0.4),
        (anomaly_diffusion, {"coarse8": 0.3}, 0.3),
        (anomaly_patch, {"patch diffusion": 0.3}, 0.3),
        (anomaly_counterfactual, {}, (0.2, 4.0)),
        (anomaly_counterfactual, {anomaly_counterfactual.OURS: {"level": 0.1, "scale": 2.0}}, (0.1, 2.0)),
    ):
        config, seen = preset(module), []
        params = {"coarse8": {"net": {}}, "boxes": {"net": {}}, "whole": {"net": {}}, "classifier": {"net": {}}}
        run = Run(config, FACTS, params, chosen=chosen)
        methods = {method.name: method for method in module.methods(run)}
        method = methods[APPLIED.get(module.EXPERIMENT.name, next(iter(methods)))]
        method = method._replace(run=lambda key, x, setting, seen=seen: seen.append(setting))
        at_chosen(run, method).run(None, None)
        assert seen == [setting]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_apply_calibrates_its_gate_as_the_evaluation_does(monkeypatch, seed):
    class CalibratedError(Exception):
        pass

    def prepared(run, source):
        return {"image": np.zeros((3, 16, 16, 1), np.float32)}

    def drawing(run, function, params):
        def draw(key, *arrays):
            raise CalibratedError(jax.random.key_data(key).tolist())

        return draw

    monkeypatch.setattr(anomaly_latent.anomaly, "prepared", prepared)
    monkeypatch.setattr(anomaly_latent.anomaly, "draw_in_chunks", drawing)
    config, keys = preset(anomaly_latent, seed=seed), []
    run = Run(config, FACTS, splits=anomaly_latent.EXPERIMENT.load(config))
    evaluation_run = run._replace(key=key_of(config, EVALUATE))
    for call, given in ((anomaly_latent.EXPERIMENT.evaluate, evaluation_run), (anomaly_latent.EXPERIMENT.apply, run)):
        with pytest.raises(CalibratedError) as caught:
            call(given)
        keys.append(caught.value.args)
    assert keys[0] == keys[1]
    assert keys[0] == (jax.random.key_data(jax.random.split(evaluation_run.key, 3)[0]).tolist(),)


@pytest.mark.parametrize("name", RECIPES)
def test_the_constants_of_runs_of_before_are_read(name):
    """And the options that were renamed."""
    old = {"value_range": [[0.0], [1.0]], "channels": 1, "classes": [], "home": "28 examples, 8a7d91bc"}
    old |= {"healthy": 1} if name == "anomaly_counterfactual" else {}
    facts = RECIPES[name].EXPERIMENT.facts.from_json(old)
    assert (facts.image_channels, facts.home) == (1, "28 examples, 8a7d91bc")
    assert getattr(facts, "healthy", 1) == 1
