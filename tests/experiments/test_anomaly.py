"""The anomaly experiments: from the command line to the files they leave, their data, and their presets by shape."""

import dataclasses
import importlib
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from experiments.anomaly import anomaly_counterfactual, anomaly_diffusion, anomaly_gan, anomaly_latent, anomaly_patch
from jaxgen.app import runner
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.medical import anomaly
from jaxgen.tasks.anomaly import data as shared
from jaxgen.tasks.anomaly import evaluation as judging
from jaxgen.tasks.anomaly import levels
from jaxgen.tasks.old import denoisers

OURS = {
    "anomaly_diffusion": ("coarse8 diffusion", "coarse autoencoder", "vae"),
    "anomaly_patch": ("patch diffusion", "whole-image diffusion"),
    "anomaly_counterfactual": ("classifier guidance", "classifier-free guidance", "bridge of labels", "saliency"),
    "anomaly_gan": ("f-anogan",),
    "anomaly_latent": ("latent healing", "without the gate", "autoencoder residual"),
}
STANDS_ON = {("anomaly_latent", "diffusion"): ("autoencoder",), ("anomaly_gan", "encoder"): ("gan",)}
SIMPLE = ("intensity", "z-scores", "pca-32", "pca-128")


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


def test_images_with_labels_are_judged_one_by_one(data, tmp_path):
    run = tmp_path / "run"
    flags = ["--data", str(data), "--healthy", "0", "--reference-steps", "0", "--vae-steps", "0", "--levels", "0.3"]
    assert main(["run", "anomaly_diffusion", "--preset", "smoke", "--workdir", str(run), *flags]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["intensity"]["auroc_image"] == 1, "the discs that are ill are brighter than all that is healthy"
    assert 0 <= metrics["coarse8 diffusion"]["auroc_image"] <= 1
    with pytest.raises(UserError, match="--healthy nobody"):
        shared.load_data(dataclasses.replace(anomaly_diffusion.SMOKE, data=str(data), healthy="nobody"))


def test_patients_with_masks_are_held_out_whole(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        lesion = np.zeros((12, 10, 40), np.uint8)
        lesion[4:6, 4:6, number : number + 10] = 1
        volume = rng.integers(40 * number + 1, 40 * number + 40, (2, 12, 10, 40)).astype(np.uint8)
        np.savez(tmp_path / f"p{number}.npz", volume=volume, lesion=lesion, channels=np.array(["T1", "FLAIR"]))
    config = dataclasses.replace(anomaly_diffusion.SMOKE, data=str(tmp_path), test_patient=1)
    splits = shared.load_data(config)
    assert len(splits.test) == 40
    assert splits.test.arrays["mask"].any((1, 2)).sum() == 10
    assert 40 < splits.test.arrays["image"].min() <= splits.test.arrays["image"].max() < 80
    healthy = np.concatenate([splits.train.arrays["image"], splits.validation.arrays["image"]])
    assert len(healthy) == 60
    assert not ((healthy > 40) & (healthy < 80)).any(), "nothing of the patient held out"
    bench = judging.bench(config, shared.measure_data(config, splits), splits)
    x, mask = bench.lesions["lesions"]
    assert x.shape == (40, 16, 16, 1)
    assert mask.any((1, 2)).sum() == 10
    assert (np.diff(mask.sum((1, 2), dtype=np.int64)) <= 0).all()  # the first are shown
    for change, message in (({"test_patient": 3}, "--test-patient 3"), ({"contrast": "PD"}, "--contrast PD")):
        with pytest.raises(UserError, match=message):
            shared.load_data(dataclasses.replace(config, **change))
    for ill, expected in ((36, (7, 1)), (30, (18, 2)), (12, (49, 7)), (37, None)):  # of 40 slices of two patients
        for number in range(3):
            lesion[:], lesion[..., :ill] = 0, 1
            np.savez(tmp_path / f"p{number}.npz", volume=volume, lesion=lesion, channels=np.array(["T1", "FLAIR"]))
        if expected is None:
            with pytest.raises(UserError, match="6 slices without a lesion are too few"):
                shared.load_data(config)
        else:
            splits = shared.load_data(config)
            assert (len(splits.train), len(splits.validation)) == expected


def test_half_of_the_labelled_phantoms_have_a_lesion_and_all_are_other_subjects():
    drawn = anomaly_counterfactual._labelled(anomaly_counterfactual.SMOKE, 24, 0)
    assert drawn["label"].tolist() == 12 * [0] + 12 * [1]
    healthy = shared.phantoms(anomaly_counterfactual.SMOKE, 24, 0)["image"]
    same = (drawn["image"] == healthy).all((1, 2, 3))
    assert same[:12].all()
    assert not same[12:].any()


def test_the_classifier_learns_once_in_several_batches_and_of_low_noise_most():
    config = dataclasses.replace(anomaly_counterfactual.SMOKE, classifier_batches=3, classifier_steps=12)
    stage = anomaly_counterfactual._build_classifier(config, {"channels": 1}, {})
    optimizer, params = stage.optimizers["net"], {"w": jnp.ones(2)}
    state, moved = optimizer.init(params), []
    for _ in range(6):
        update, state = optimizer.update({"w": jnp.ones(2)}, state, params)
        moved.append(bool(jnp.any(update["w"] != 0)))
    assert moved == [False, False, True, False, False, True]

    path = denoisers.make_path(config)
    times = denoisers.times_up_to(0.4, 3.0)(path, jax.random.key(0), 20_000)
    share = (times - path.t_data) / (path.t_noise - path.t_data)
    np.testing.assert_allclose(np.quantile(share, [0.25, 0.5, 0.75]), 0.4 * np.array([0.25, 0.5, 0.75]) ** 3, rtol=0.06)


def test_a_map_comes_back_in_the_place_of_the_image():
    image = np.zeros((30, 50, 1), np.float32)
    image[:] = 0.5
    image[10, 40] = 1.0
    config = dataclasses.replace(anomaly_diffusion.SMOKE, size=64, median=1)
    score = lambda key, x: (np.where(x[..., 0] > 0.2, 1.0, 0.0), x)  # noqa: E731
    found = shared.applied(config, {"value_range": [[0.0], [1.0]], "channels": 1}, score)(jax.random.key(0), image)
    assert found["anomaly"].shape == (30, 50)
    assert np.unravel_index(found["anomaly"].argmax(), (30, 50)) == (10, 40)
    assert abs(found["restored"] - image[..., 0])[15:27, :35].max() < 1e-5
    with pytest.raises(ValueError, match="channels"):
        shared.applied(config, {"value_range": [[0.0], [1.0]], "channels": 3}, score)(jax.random.key(0), image)


def test_scores_of_images_and_of_twins_by_hand():
    score = np.zeros((2, 20, 20))
    score[1, 0, :4] = (1, 2, 3, 6)
    assert judging.of_image(score).tolist() == [0.0, 3.0]
    twin, mask = np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 4))
    mask[0, 0] = 1
    assert judging.twin_psnr(twin + 0.2 * mask[..., None], twin, mask) == pytest.approx(20.0)


def test_configurations_that_do_not_fit():
    for config, change, message in (
        (anomaly_diffusion.SMALL, {"noise": ("white", "white")}, "--noise"),
        (anomaly_diffusion.SMALL, {"levels": (0.9,)}, "--levels go to 0.9"),
        (anomaly_counterfactual.SMALL, {"levels": (0.5,)}, "--levels go to 0.5"),
        (anomaly_counterfactual.SMALL, {"classifier_steps": 3}, "--classifier-steps 3 of --classifier-batches 4"),
        (anomaly_counterfactual.SMALL, {"cells": 65}, "--cells must be at most --size 64"),
        (anomaly_patch.SMOKE, {"cells": 17}, "--cells must be at most --size 16"),
        (anomaly_diffusion.SMALL, {"median": 4}, "--median must be odd"),
        (anomaly_patch.SMALL, {"overlap": 32}, "--overlap must"),
        (anomaly_patch.SMALL, {"box": 65}, "--box must"),
        (anomaly_gan.SMALL, {"size": 48}, "--size must be a multiple of 32"),
    ):
        with pytest.raises(UserError, match=message):
            dataclasses.replace(config, **change)


@pytest.mark.parametrize("preset", ["small", "full"])
@pytest.mark.parametrize("name", list(OURS))
def test_every_preset_traces_a_training_step(name, preset):
    module = importlib.import_module(f"experiments.{name}")
    config = module.EXPERIMENT.presets[preset]
    batch = {
        "image": jax.ShapeDtypeStruct((2, config.size, config.size, 1), jnp.float32),
        "label": jax.ShapeDtypeStruct((2,), jnp.int32),
    }
    constants, trained = {"channels": 1, "classes": [], "value_range": [[0], [255]], "healthy": 0}, {}
    for spec in module.EXPERIMENT.stages:
        if spec.wanted is not None and not spec.wanted(config):
            continue
        stage = spec.build(config, constants, trained)

        def step(key, params, batch, stage=stage):
            prepared = stage.prepare(jax.random.split(key, 2), batch)
            return [
                objective.loss(params, jax.random.split(key, 2), prepared)[0] for objective in stage.model.objectives
            ]

        def init(key, batch, stage=stage):
            return stage.model.init(key, stage.prepare(jax.random.split(key, 2), batch))

        if (name, spec.name) in STANDS_ON:
            # Parameters of the stage before are closed over, so zeros stand for them.
            before = {n: jax.tree.map(lambda s: jnp.zeros(s.shape), trained[n]) for n in STANDS_ON[name, spec.name]}
            stage = spec.build(config, constants, before)
            params = jax.eval_shape(lambda key, batch, s=stage: init(key, batch, s), jax.random.key(0), batch)
            losses = jax.eval_shape(lambda k, p, b, s=stage: step(k, p, b, s), jax.random.key(0), params, batch)
        else:
            params = jax.eval_shape(init, jax.random.key(0), batch)
            losses = jax.eval_shape(step, jax.random.key(0), params, batch)
        trained[spec.name] = params
        assert all(loss.shape == (2,) and loss.dtype == jnp.float32 for loss in losses)
        assert {group for objective in stage.model.objectives for group in objective.groups} <= set(stage.optimizers)


@pytest.mark.parametrize(("residual", "found"), [("absolute", (1, 1)), ("brighter", (1, 0)), ("darker", (0, 1))])
def test_what_counts_as_an_anomaly(residual, found):
    """By what is restored, by the simple methods, and by brightness itself."""
    config = dataclasses.replace(anomaly_diffusion.SMOKE, residual=residual)
    train = np.random.default_rng(0).uniform(-0.2, 0.2, (40, 8, 8, 1))
    x = np.zeros((1, 8, 8, 1))
    x[:, 2, 2], x[:, 6, 6] = 0.8, -0.8
    methods = judging.baselines(config, train)
    methods["restored"] = shared.by_residual(config, np.zeros_like)
    for name, method in methods.items():
        score = method(x)[0][0]
        high = (score[2, 2] > score[4, 4] + 0.1, score[6, 6] > score[4, 4] + 0.1)
        assert high == ((1, 0) if name == "intensity" and residual == "absolute" else found), name


def test_the_maps_that_are_judged_are_clean():
    config = dataclasses.replace(anomaly_diffusion.SMOKE, size=32, erosion=1)
    x = shared.phantoms(config, 3, 0)["image"]
    score, restored = judging.cleaned(config, shared.by_map(anomaly.intensity), x)
    assert restored is None
    inside = anomaly.erode(anomaly.foreground(x, shared.FLOOR))
    assert (score[~inside] == 0).all()
    assert (score[inside] > 0).mean() > 0.9


def test_the_study_of_sizes_finds_the_scale_that_suits_each():
    """Morphological openings in the place of networks: a wide one is needed to take a large bright lesion away."""
    config = dataclasses.replace(anomaly_diffusion.SMOKE, size=64, radii=(2.0, 8.0), radius_images=6, levels=(0.2,))

    def opening(width):
        return lambda key, x, level: ndimage.grey_opening(x, (1, width, width, 1))

    bench = judging.bench(config, {}, shared.load_data(config))
    restorers = {"white": opening(5), "coarse4": opening(21)}
    facts, figure = anomaly_diffusion._sizes(config, jax.random.key(0), restorers, bench)
    assert facts["radius white"]["ap_r8"] < facts["radius coarse4"]["ap_r8"]
    assert facts["best_wavelength_r8"] == 16.0
    assert facts["size_correlation"] == pytest.approx(1.0)
    assert "radius" in figure.caption


def alone_and_together(config, method, x):
    """The maps of the first image, alone and among very different ones."""
    together = np.concatenate([x, np.full_like(x[:1], 1.0), np.full_like(x[:1], -1.0), 0 * x[:1]])
    return judging.cleaned(config, method, x[:1])[0][0], judging.cleaned(config, method, together)[0][0]


@pytest.mark.parametrize("residual", ["absolute", "brighter", "darker"])
@pytest.mark.parametrize("erosion", [0, 1])
def test_the_map_of_an_image_is_the_same_in_any_set_and_in_apply(residual, erosion):
    """Every baseline and a restoring method; a map on a fixed threshold says the same of an image wherever it is."""
    config = dataclasses.replace(anomaly_diffusion.SMOKE, residual=residual, erosion=erosion, data="own")
    rng = np.random.default_rng(1)
    train, raw = rng.uniform(-1, 1, (40, 16, 16, 1)).astype(np.float32), rng.integers(13, 180, (16, 16, 1), np.uint8)
    constants = {"value_range": [[3.0], [253.0]], "channels": 1}
    x = ((raw - 3) / 125 - 1).astype(np.float32)[None]
    methods = judging.baselines(config, train)
    methods["restored"] = shared.by_residual(config, lambda x: 0.5 * x)
    for name, method in methods.items():
        one, two = alone_and_together(config, method, x)
        np.testing.assert_array_equal(one, two, err_msg=name)
        assert (one >= 0).all(), name
        assert (one > 0).any(), name
        applied = shared.applied(config, constants, lambda key, x, m=method: (m(x)[0], x))(jax.random.key(0), raw)
        np.testing.assert_allclose(applied["anomaly"], one, atol=1e-5, err_msg=name)


def test_what_apply_sees_is_what_an_evaluation_sees():
    """Values out of the range are cut off, a channel of one value is 0, and padding is that of the raw type."""
    config = dataclasses.replace(anomaly_diffusion.SMOKE, data="own")
    raw = np.random.default_rng(0).integers(0, 255, (12, 20, 2), np.uint8)
    raw[..., 1] = 7
    constants = {"value_range": [[30.6, 7.0], [200.0, 7.0]], "channels": 2}
    seen = []

    def score(key, x):
        seen.append(x)
        return x.mean(-1), x

    shared.applied(config, constants, score)(jax.random.key(0), raw)
    source = shared.ArraySource({"image": raw[None]})
    np.testing.assert_array_equal(seen[0], shared.prepared(config, constants, source)["image"])


def untrained(experiment, config, constants, examples):
    """The parameters that training starts from."""
    trained = {}
    for spec in experiment.EXPERIMENT.stages:
        if spec.wanted is None or spec.wanted(config):
            stage = spec.build(config, constants, trained)
            batch = {name: jnp.asarray(array[-2:]) for name, array in examples.arrays.items()}
            if spec.name == "diffusion" and experiment is anomaly_latent:
                batch = stage.prepare(jax.random.key(0), batch)
            trained[spec.name] = stage.model.init(jax.random.key(1), batch)
    return trained


def evaluated(experiment, config, constants, trained, splits, key):
    """The method of `jaxgen apply`, as an evaluation has it."""
    if experiment is anomaly_latent:
        healer = anomaly_latent._Healer(config, constants, trained)
        calibration_key = anomaly_latent._keys(runner.key_of(config, runner.EVALUATE))[0]
        healthy = anomaly_latent._calibrated(config, constants, healer, splits, calibration_key)
        return anomaly_latent._methods(config, healer, *jax.random.split(key), healthy)["latent healing"]
    if experiment is anomaly_gan:
        return shared.by_residual(config, anomaly_gan._restorer(config, constants, trained))
    if experiment is anomaly_counterfactual:
        run = experiment._translators(config, constants, trained)[experiment.APPLIED].run
        setting = experiment.Setting(level=config.levels[0], scale=config.scales[1])
        return shared.by_residual(config, lambda x: run(x, setting))
    name = "boxes" if experiment is anomaly_patch else config.noise[0]
    restore = experiment._restorer(config, constants, trained, name)
    return shared.by_residual(config, lambda x: restore(key, x, levels.middle(config.levels)))


@pytest.mark.parametrize("name", list(OURS))
def test_the_map_of_a_network_is_the_same_alone_in_a_set_and_in_apply(name):
    experiment = importlib.import_module(f"experiments.{name}")
    config = dataclasses.replace(experiment.SMOKE, reference_steps=0, erosion=1)
    config = dataclasses.replace(config, vae_steps=0, residual="darker")
    splits, key = experiment.EXPERIMENT.load(config), jax.random.key(5)
    constants = {**experiment.EXPERIMENT.measure(config, splits), "chosen": {}}
    trained = untrained(experiment, config, constants, experiment.EXPERIMENT.examples(config, constants, splits))
    method = evaluated(experiment, config, constants, trained, splits, key)
    x = shared.phantoms(config, 1, 3)["image"]
    one, two = alone_and_together(config, method, x)
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert (one > 0).any()
    applied = experiment._apply(config, constants, trained)(key, (x[0] + 1) / 2)["anomaly"]
    np.testing.assert_allclose(applied, one, atol=1e-5)


def test_unlikely_codes_are_counted_from_no_divergence():
    """What is subtracted is the same for every image, and no map falls below 0."""
    healthy = anomaly.Healthy(np.array([1.0, 4.0]), np.array([0.5, 2.0]), np.zeros((4, 4)))

    class Healer:
        def divergence(self, key, x):
            return np.stack([np.broadcast_to(x.mean((1, 2, 3))[:, None, None], (len(x), 4, 4))] * 2)

    method = anomaly_latent._methods(anomaly_latent.SMOKE, Healer(), None, None, healthy)["likelihood of the code"]
    x = np.zeros((1, 16, 16, 1), np.float32)
    np.testing.assert_allclose(method(x)[0], 0, atol=1e-6)
    many = method(np.concatenate([x + 3, x, x + 1]))[0]
    np.testing.assert_allclose(many, method(x + 3)[0][0] * np.array([1, 0, 1 / 3])[:, None, None], atol=1e-5)
    x[0, 0, 0] = np.nan
    assert np.isnan(method(x)[0]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("residual", ["absolute", "brighter", "darker"])
def test_a_method_that_diverged_has_no_numbers_and_is_named(bad, residual):
    config = dataclasses.replace(anomaly_diffusion.SMOKE, residual=residual, lesions=3, median=3)
    bench = judging.bench(config, {}, shared.load_data(config))

    def restore(x):
        restored = 0 * x
        restored[-1, 5:12, 5:12] = bad  # in the last image of a set alone
        return restored

    methods = judging.baselines(config, bench.train)
    simple = tuple(methods)
    methods["diverged"] = shared.by_residual(config, restore)
    metrics, _ = judging.table(config, bench, methods, simple)
    row = metrics["diverged"]
    measured = [value for key, value in row.items() if key != "diverged"]
    assert not np.isfinite(measured).any(), row
    assert row["diverged"] == pytest.approx(1 / 3)
    assert "diverged" not in metrics["pca-32"]
    assert all(np.isfinite(value) for value in metrics["pca-32"].values())
    assert "nan" in judging.headline(metrics, "diverged", simple)
    x, mask = bench.chosen_on
    found = judging.tuned(config, lambda x, setting: restore(x) if setting < 2 else 0 * x, (1, 2, 3), (x, mask))
    assert found.setting == 2, "NaN is never the best"


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_apply_calibrates_its_gate_as_the_evaluation_does(monkeypatch, seed):
    class CalibratedError(Exception):
        pass

    def calibrated(*given):
        raise CalibratedError(jax.random.key_data(given[-1]).tolist())

    monkeypatch.setattr(anomaly_latent, "_calibrated", calibrated)
    for name in ("_Healer", "_methods"):
        monkeypatch.setattr(anomaly_latent, name, lambda *given: {})
    monkeypatch.setattr(anomaly_latent.judging, "bench", lambda *given: SimpleNamespace(train=None))
    monkeypatch.setattr(anomaly_latent.judging, "baselines", lambda *given: {})
    monkeypatch.setattr(anomaly_latent.shared, "load_data", lambda config: None)
    config, keys = dataclasses.replace(anomaly_latent.SMOKE, seed=seed), []
    key = runner.key_of(config, runner.EVALUATE)
    for call in (
        lambda: anomaly_latent.EXPERIMENT.evaluate(config, {}, {}, None, key),
        lambda: anomaly_latent.EXPERIMENT.apply(config, {}, {}),
    ):
        with pytest.raises(CalibratedError) as caught:
            call()
        keys.append(caught.value.args)
    assert keys[0] == keys[1]


def test_baselines_are_fitted_to_the_images_that_the_constants_name_and_to_no_others(tmp_path):
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 255, (40, 64, 64)).astype(np.uint8), np.zeros((40, 64, 64), np.uint8)
    masks[::2, 20:30, 20:30] = 1
    for name, count in (("home", 40), ("other", 30)):
        np.savez(tmp_path / f"{name}.npz", images=images[:count], masks=masks[:count])
    home, other = (
        dataclasses.replace(anomaly_diffusion.SMOKE, data=str(tmp_path / f"{name}.npz")) for name in ("home", "other")
    )
    splits = {config.data: anomaly_diffusion.EXPERIMENT.load(config) for config in (home, other)}
    known = anomaly_diffusion.EXPERIMENT.measure(home, splits[home.data])
    assert len(judging.bench(home, known, splits[home.data]).train) == len(splits[home.data].train)
    for constants in (known, {name: value for name, value in known.items() if name != "home"}):
        bench = judging.bench(other, constants, splits[other.data])
        assert len(bench.train) == 0
        with pytest.raises(UserError, match="jaxgen eval RUN --data OTHER"):
            judging.baselines(other, bench.train)
