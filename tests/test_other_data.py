"""A run on other data: all of them are evaluated, and what the run learned, fitted and chose stays that of home."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import jax
import nibabel
import numpy as np
import PIL.Image
import pytest

from experiments.anomaly import anomaly_diffusion, denoising_autoencoder
from experiments.generation import gan, vae
from experiments.segmentation import flow_sdf
from jaxgen import experiment as experiments
from jaxgen.app import evaluating, opening, other_data
from jaxgen.app.cli import main
from jaxgen.app.opening import Opened
from jaxgen.data import Everything, load
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.facts import Facts
from jaxgen.tasks import autoencoding, generation, likelihood
from jaxgen.tasks.anomaly import evaluation

RNG = np.random.default_rng(0)


def facts(**known):
    """What other data are compared with; fields that a test does not need are left out."""
    return SimpleNamespace(**known)


def save(path, n, *, channels=None, seed=0, low=0, high=255, dtype=np.uint8, size=16, **more):
    shape = (n, size, size) if channels is None else (n, size, size, channels)
    images = np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)
    np.savez(path, images=images, **more)
    return str(path)


def masks(n, empty=(), size=16):
    marked = np.zeros((n, size, size), np.uint8)
    marked[:, 4:8, 4:8] = 1
    marked[list(empty)] = 0
    return marked


def folder_of(root, places, name="a"):
    for i, place in enumerate(places):
        (root / place).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 255, (16, 16)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(root / place / f"{name}{i}.png")
    return str(root)


# All of the other data


def test_an_npz_counts_whole_however_it_is_split(tmp_path):
    plain = {"masks": masks(10)}
    layouts = {
        "none": plain,
        "given": plain | {"split": np.array(["train"] * 6 + ["val"] * 2 + ["test"] * 2)},
        "odd": plain | {"split": np.array(["fold 1"] * 5 + ["fold 2"] * 5)},
        "one patient": plain | {"patient": np.array(["p"] * 10)},
    }
    for name, more in layouts.items():
        splits = load(Everything(save(tmp_path / f"{name}.npz", 10, **more)))
        assert [len(part) for part in splits[:3]] == [0, 0, 10], name
    np.savez(tmp_path / "test.npz", test_images=RNG.integers(0, 9, (4, 8, 8)), test_labels=np.zeros(4, int))
    assert len(load(Everything(tmp_path / "test.npz"), wants=("image", "label")).test) == 4


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_to_split_are_enough_to_evaluate(tmp_path, n):
    assert len(load(Everything(save(tmp_path / "few.npz", n, masks=masks(n)))).test) == n
    labelled = save(tmp_path / "labels.npz", n, labels=np.arange(n))
    assert len(load(Everything(labelled), wants=("image", "label")).test) == n
    assert len(load(Everything(folder_of(tmp_path / "f", ["images"] * n)), wants=("image",)).test) == n


@pytest.mark.parametrize(
    "places",
    [
        ["train/images", "train/images", "test/images"],
        ["test/images", "test/images", "test/images"],
        ["images"] * 3,
        ["tumour", "healthy", "healthy"],
        ["Training/tumour", "Testing/tumour", "Testing/healthy"],
    ],
)
def test_a_folder_counts_whole_however_it_is_split(tmp_path, places):
    splits = load(Everything(folder_of(tmp_path / "data", places)), wants=("image",), optional=("label",))
    assert len(splits.test) == 3
    assert len(set(splits.test.names)) == 3


def test_shipped_computed_and_sliced_data_count_whole(tmp_path):
    assert len(load(Everything("nuclei_dsb2018")).test) == 334
    computed = load("brain_phantom/16", wants=("image",))  # of the computed the test set: it may be the run's subjects
    assert len(load(Everything("brain_phantom/16"), wants=("image",)).test) == len(computed.test) == 512
    np.savez(tmp_path / "v.npz", volumes=RNG.integers(0, 9, (2, 8, 8, 5, 1)).astype(np.uint8))
    assert len(load(Everything(tmp_path / "v.npz"), wants=("image",), slices=True).test) == 10


OTHERS = (
    "cnf",
    "planar_flow",
    "two_moons",
    "ct_reconstruction",
    "brain_ldm",
    "roentgen",
    "patch_ddm",
    "cross_modality_volumes",
    "low_dose_ct",
    "shape_from_slice",
    "slices_to_volume",
)
"""Experiments on points, CT, volumes, and computed radiographs alone."""
IMAGES = [name for name in experiments.names() if name not in OTHERS]


@pytest.mark.parametrize("name", IMAGES)
def test_every_experiment_keeps_its_own_data_beside_all_of_the_others(name, tmp_path):
    experiment = experiments.find(name)
    labels = {"labels": np.arange(30) % 2, "label_names": np.array(["notumor", "tumor"])}
    swapped = {"labels": np.arange(9) % 2, "label_names": np.array(["tumor", "notumor"])}
    if name in ("text_to_image", "controlnet", "dreambooth"):
        labels, swapped = ({"texts": np.array([f"image {i % 3}" for i in range(n)])} for n in (30, 9))
    if name in ("cross_modality", "harmonization"):
        labels, swapped = ({"sources": masks(n)} for n in (30, 9))
    more = {"fair_sampling": "hospital", "rare_cases": "phase"}
    if name in more:
        for given, n in ((labels, 30), (swapped, 9)):
            given |= {"covariates": np.arange(n)[:, None] % 2.0, "covariate_names": np.array([more[name]])}
    if name == "private_xray":
        for given, n in ((labels, 30), (swapped, 9)):
            given["patient"] = np.array([f"{n} {i // 3}" for i in range(n)])
            given["labels"] = np.arange(n) // 3 % 2
    if name == "semantic_synthesis":
        labels, swapped = ({"masks": 2 * masks(n) + masks(n, range(n // 2))} for n in (30, 9))
    home = save(tmp_path / "home.npz", 30, **{"masks": masks(30, range(0, 30, 2)), **labels})
    other = save(tmp_path / "other.npz", 9, seed=1, **{"masks": masks(9, range(0, 9, 2)), **swapped})
    config = dataclasses.replace(experiment.presets["smoke"], data=home)
    own = experiment.load(config)
    known = facts(value_range=[[0.0], [255.0]], classes=own.label_names)
    used, splits, where = other_data.load_for_evaluation(experiment, config, config, known, other)
    assert where == "home"
    assert used.data == other
    assert (len(splits.train), len(splits.validation)) == (len(own.train), len(own.validation))
    np.testing.assert_array_equal(splits.train[0]["image"], own.train[0]["image"])
    assert len(splits.test) == 9
    if own.label_names:
        truth = np.load(other)["labels"]
        found = [splits.label_names[int(splits.test[i]["label"])] for i in range(9)]
        assert found == [["tumor", "notumor"][k] for k in truth]


def test_limits_on_test_images_do_not_hold_for_other_data(tmp_path):
    home, other = save(tmp_path / "home.npz", 40), save(tmp_path / "other.npz", 33, seed=1)
    known = {"value_range": [[0.0], [255.0]], "channels": 1, "classes": []}

    def of(experiment, **changes):
        config = dataclasses.replace(experiment.presets["smoke"], data=home, **changes)
        config, splits, _ = other_data.load_for_evaluation(experiment, config, config, known, other)
        return Run(config, experiment.facts.from_json(known), splits=splits)

    run = of(gan.EXPERIMENT, samples=8)
    real = generation.RealImages(run, lambda x: x.reshape(len(x), -1))
    assert real.count == len(real.held_out) == 33
    assert len(real.train) == len(run.splits.train)
    whole = np.load(other)["images"]
    np.testing.assert_allclose(real.held_out[..., 0], whole / 127.5 - 1, atol=1e-5)
    run = of(vae.EXPERIMENT, likelihood_images=2, samples=8)
    brightness = lambda x: x.mean((1, 2))  # noqa: E731
    grey = lambda z: jax.numpy.zeros((len(z), 16, 16, 1))  # noqa: E731
    assert len(autoencoding.Reconstructions(run, "vae", brightness, grey).test) == 33
    key = jax.random.key(0)
    assert len(likelihood.dequantised_test_images(run, key, 2)) == 33
    at_home = run._replace(config=dataclasses.replace(run.config, data=home))
    assert len(likelihood.dequantised_test_images(at_home, key, 2)) == 2


# Baselines and settings


def test_anomaly_baselines_are_fitted_at_home_and_all_lesions_of_the_other_data_count(tmp_path):
    home = save(tmp_path / "home.npz", 60, masks=masks(60, range(0, 60, 2)))
    other = save(tmp_path / "other.npz", 100, seed=1, masks=masks(100, range(0, 100, 2)))
    config = dataclasses.replace(anomaly_diffusion.EXPERIMENT.presets["smoke"], data=home)
    experiment = anomaly_diffusion.EXPERIMENT
    known = experiment.measure(config, experiment.load(config))
    own = evaluation.make_bench(Run(config, known, splits=experiment.load(config)))
    used, splits, _ = other_data.load_for_evaluation(experiment, config, config, known, other)
    bench = evaluation.make_bench(Run(used, known, splits=splits))
    np.testing.assert_array_equal(bench.train, own.train)
    np.testing.assert_array_equal(bench.validation, own.validation)
    np.testing.assert_array_equal(bench.chosen_on[0], own.chosen_on[0])
    images, marked = bench.lesions["lesions"]
    assert len(images) == 100
    assert marked.reshape(100, -1).any(1).sum() == 50


@pytest.mark.parametrize("names", [("notumor", "pituitary"), ("glioma", "pituitary")])
def test_illnesses_that_home_does_not_know_are_ill(tmp_path, names):
    classes = np.array(["glioma", "notumor"])
    home = save(tmp_path / "home.npz", 40, labels=np.arange(40) % 2, label_names=classes)
    other = save(tmp_path / "other.npz", 20, seed=1, labels=np.arange(20) % 2, label_names=np.array(names))
    config = dataclasses.replace(anomaly_diffusion.EXPERIMENT.presets["smoke"], data=home)
    experiment = anomaly_diffusion.EXPERIMENT
    known = experiment.measure(config, experiment.load(config))
    used, splits, _ = other_data.load_for_evaluation(experiment, config, config, known, other)
    ill = evaluation.make_bench(Run(used, known, splits=splits)).ill[1]
    assert ill.sum() == sum(name != "notumor" for name in names) * 10


def test_patients_of_the_other_hospital_are_all_tested(tmp_path):
    for place, count in (("home", 3), ("other", 1)):
        (tmp_path / place).mkdir()
        for i in range(count):
            volume, lesion = RNG.uniform(1, 9, (16, 16, 20)), np.zeros((16, 16, 20), np.uint8)
            lesion[4:8, 4:8, :5] = 1
            np.savez(tmp_path / place / f"{i}.npz", volume=volume.astype(np.float32), lesion=lesion)
    config = dataclasses.replace(anomaly_diffusion.EXPERIMENT.presets["smoke"], data=str(tmp_path / "home"))
    known = {"value_range": [[0.0], [10.0]], "channels": 1, "classes": []}
    other = str(tmp_path / "other")
    _, splits, _ = other_data.load_for_evaluation(anomaly_diffusion.EXPERIMENT, config, config, known, other)
    assert len(splits.test) == 20
    assert len(splits.train) + len(splits.validation) == 2 * 15


def test_phantoms_stay_prepared_beside_files(tmp_path):
    other = save(tmp_path / "other.npz", 9, low=0, high=1, dtype=np.float32, masks=masks(9, [0]))
    experiment = anomaly_diffusion.EXPERIMENT
    config = experiment.presets["smoke"]
    own = experiment.load(config)
    known = experiment.measure(config, own)
    used, splits, _ = other_data.load_for_evaluation(experiment, config, config, known, other)
    bench = evaluation.make_bench(Run(used, known, splits=splits))
    np.testing.assert_array_equal(bench.train, own.train.arrays["image"])
    assert len(bench.lesions["lesions"][0]) == 9


@pytest.mark.parametrize("spec", ["ct_phantom/16", "ct_phantom/24", "brain_phantom/16"])
def test_of_computed_data_the_test_set_is_evaluated(spec):
    plain, whole = load(spec), load(Everything(spec))
    assert [len(part) for part in whole[:3]] == [len(part) for part in plain[:3]]


def test_the_line_of_an_evaluation_says_which_part_it_is(monkeypatch, tmp_path):
    said = []
    plain = load("ct_phantom/16")
    for origin, words in (("computed", "its test set"), ("a.npz", "all of them"), ("a folder", "all of them")):
        splits = plain._replace(origin=origin)
        config = gan.EXPERIMENT.presets["smoke"]

        def fails(run):
            raise UserError("no")

        opened = Opened(SimpleNamespace(path=tmp_path), gan.EXPERIMENT._replace(evaluate=fails), Run(config, Facts()))
        monkeypatch.setattr(evaluating, "open_trained", lambda path, opened=opened: opened)
        monkeypatch.setattr(other_data, "load_for_evaluation", lambda *a, s=splits, c=config: (c, s, "home"))
        with pytest.raises(UserError, match="no"):
            evaluating.evaluate(tmp_path, "other", tmp_path / "out", said.append)
        assert said[-1] == f"evaluating 512 images of ct_phantom, {words}"


# What does not fit


def refusal(home, other, experiment=denoising_autoencoder.EXPERIMENT, **constants):
    config = dataclasses.replace(experiment.presets["smoke"], data=home)
    with pytest.raises(UserError) as caught:
        other_data.load_for_evaluation(experiment, config, config, facts(**constants), other)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_other_channels_are_refused(tmp_path):
    grey, colour, four = (save(tmp_path / f"{c}.npz", 9, channels=c) for c in (1, 3, 4))
    assert "3 channels, but the run was trained on 1 channel; convert them to grey" in refusal(grey, colour)
    assert "convert them to colour" in refusal(colour, grey)
    assert "4 channels" in refusal(grey, four)


def test_volumes_for_images_are_refused(tmp_path):
    home = save(tmp_path / "home.npz", 9)
    np.savez(tmp_path / "v.npz", volumes=RNG.integers(0, 255, (3, 8, 8, 9)).astype(np.uint8))
    assert "9 channels, but the run was trained on 1 channel" in refusal(home, str(tmp_path / "v.npz"))
    (tmp_path / "scans").mkdir()
    volume = nibabel.Nifti1Image(RNG.integers(0, 255, (8, 8, 9)).astype(np.uint8), np.eye(4))
    nibabel.save(volume, tmp_path / "scans" / "a.nii.gz")
    assert "--slices" in refusal(home, str(tmp_path / "scans"))


def test_missing_masks_are_refused(tmp_path):
    home = save(tmp_path / "home.npz", 9, masks=masks(9))
    assert "no array `masks`" in refusal(home, save(tmp_path / "o.npz", 9), flow_sdf.EXPERIMENT)


@pytest.mark.parametrize(
    ("value_range", "low", "high", "dtype"),
    [
        ((-1000.0, 1500.0), 0, 255, np.uint8),
        ((0.0, 255.0), -1000, 1500, np.int16),
        ((-1000.0, 1500.0), 0, 2500, np.uint16),
        ((0.0, 255.0), 0, 1, np.float32),
        ((0.0, 1.0), 0, 255, np.uint8),
    ],
)
def test_values_of_another_kind_are_refused(tmp_path, value_range, low, high, dtype):
    home = save(tmp_path / "home.npz", 9)
    other = save(tmp_path / "other.npz", 9, low=low, high=high, dtype=dtype)
    assert "not one kind of values" in refusal(home, other, value_range=[[v] for v in value_range])


@pytest.mark.parametrize("high", [60, 200, 1000])
def test_darker_and_brighter_images_are_no_other_kind(tmp_path, high):
    home, other = save(tmp_path / "home.npz", 9), save(tmp_path / "o.npz", 9, high=high, dtype=np.uint16)
    config = dataclasses.replace(denoising_autoencoder.EXPERIMENT.presets["smoke"], data=home)
    known = facts(value_range=[[0.0], [255.0]])
    experiment = denoising_autoencoder.EXPERIMENT
    assert len(other_data.load_for_evaluation(experiment, config, config, known, other)[1].test) == 9


def test_classes_that_the_run_does_not_know_are_refused(tmp_path):
    home = save(tmp_path / "home.npz", 9, labels=np.arange(9) % 2, label_names=np.array(["a", "b"]))
    other = save(tmp_path / "o.npz", 9, labels=np.arange(9) % 2, label_names=np.array(["a", "c"]))
    assert "class c, which the run does not know (it knows a, b)" in refusal(
        home, other, gan.EXPERIMENT, classes=["a", "b"]
    )


def test_home_data_that_are_gone_are_asked_for(tmp_path):
    other = save(tmp_path / "other.npz", 9)
    assert "the run's own data are needed" in refusal(str(tmp_path / "gone.npz"), other)


@pytest.mark.parametrize("n", [1, 3])
def test_too_few_images_for_a_set_are_one_line(tmp_path, n):
    home, other = save(tmp_path / "home.npz", 30), save(tmp_path / "other.npz", n)
    known = {"value_range": [[0.0], [255.0]], "channels": 1, "classes": []}
    config = dataclasses.replace(gan.EXPERIMENT.presets["smoke"], data=home)
    used, splits, _ = other_data.load_for_evaluation(gan.EXPERIMENT, config, config, known, other)
    with pytest.raises(UserError, match="1 image is too few" if n == 1 else "3 images are too few"):
        generation.RealImages(Run(used, gan.EXPERIMENT.facts.from_json(known), splits=splits), lambda x: x)


def test_other_data_without_a_lesion_are_one_line(tmp_path):
    home = save(tmp_path / "home.npz", 30, masks=masks(30, range(0, 30, 2)))
    other = save(tmp_path / "other.npz", 3, masks=masks(3, range(3)))
    known = anomaly_diffusion.EXPERIMENT.facts.from_json(
        {"value_range": [[0.0], [255.0]], "channels": 1, "classes": []}
    )
    config = dataclasses.replace(anomaly_diffusion.EXPERIMENT.presets["smoke"], data=home)
    used, splits, _ = other_data.load_for_evaluation(anomaly_diffusion.EXPERIMENT, config, config, known, other)
    with pytest.raises(UserError, match="none of its test images has a lesion"):
        evaluation.make_bench(Run(used, known, splits=splits))


# The command


@pytest.fixture
def copied(toy_run, tmp_path):
    shutil.copytree(toy_run, tmp_path / "run")
    return tmp_path / "run"


def other_toy(path, n, channels=1):
    marked = (np.random.default_rng(5).random((n, 8, 8)) < 0.4).astype(np.uint8)
    images = np.repeat((60 + 120 * marked)[..., None], channels, -1).astype(np.uint8)
    np.savez(path, images=images, masks=marked)
    return str(path)


@pytest.mark.parametrize("n", [3, 20])
def test_eval_says_what_it_evaluated_and_writes_a_page(copied, tmp_path, capsys, n):
    other = other_toy(tmp_path / "clinic <b>.npz", n)
    assert main(["eval", str(copied), "--data", other, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    note = f"evaluated {n} images of clinic <b>, all of them; baselines fitted on bright squares, settings chosen there"
    assert note in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert note.replace("<b>", "&lt;b&gt;") in page
    assert "Accuracy" in page
    assert "data:image/png" in page
    about = json.loads((tmp_path / "out" / "data.json").read_text())
    assert (about["test"], about["train"], about["baselines"]) == (n, 0, "bright squares")


def test_eval_of_the_own_test_set_is_unchanged_and_has_a_page(copied, tmp_path, capsys):
    assert main(["eval", str(copied), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "metrics.json").read_bytes() == (copied / "metrics.json").read_bytes()
    assert (tmp_path / "out" / "report.html").is_file()
    assert "8 images of bright squares, the test set" in capsys.readouterr().out


def test_a_failed_evaluation_leaves_no_folder(copied, tmp_path, capsys, monkeypatch):
    colour = other_toy(tmp_path / "colour.npz", 9, channels=3)
    assert main(["eval", str(copied), "--data", colour]) == 2
    error = capsys.readouterr().err
    assert "3 channels" in error
    assert error.count("\n") == 1
    assert not (copied / "evaluations").exists()

    def fails(*arguments):
        raise UserError("no")

    found = opening.open_trained(copied)
    failing = found._replace(experiment=found.experiment._replace(evaluate=fails))
    monkeypatch.setattr(evaluating, "open_trained", lambda path: failing)
    for out in ([], ["--out", str(tmp_path / "deep" / "out")]):
        assert main(["eval", str(copied), *out]) == 2
    assert not (copied / "evaluations").exists()
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("flags", [["--slices"], ["--foreground", "any"]])
def test_how_other_files_are_read_needs_other_files(copied, capsys, flags):
    assert main(["eval", str(copied), *flags]) == 2
    assert flags[0] in capsys.readouterr().err
