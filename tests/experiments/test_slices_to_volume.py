"""Volumes from priors of two planes: options that do not fit, every sampler traced, and thick slices from a file."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest

from experiments.reconstruction import slices_to_volume as experiment
from jaxgen.app import apply
from jaxgen.app.cli import main
from jaxgen.app.opening import Opened
from jaxgen.data.source import ArraySource, Splits
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.medical.reconstruction import cases, catalogue, volume_scan
from jaxgen.tasks.images import ImageFacts
from jaxgen.tasks.reconstruction import posterior, volumes

SMOKE = dataclasses.replace(experiment.EXPERIMENT.presets["smoke"], size=(18,), factor=3)
FACTS = ImageFacts(value_range=((0.0,), (200.0,)), image_channels=1)
RNG = np.random.default_rng(0)


def changed(**changes):
    return dataclasses.replace(SMOKE, **changes)


def test_a_size_of_one_number_is_that_of_all_axes():
    assert changed(size=(24,)).size == (24, 24, 24)
    assert changed(size=(12, 14, 18)).size == (12, 14, 18)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": (24, 18)}, "--size must be one number or three, got 24,18"),
        (
            {"size": (18, 19, 18), "channels": (8, 8)},
            "--size must be a multiple of 4 with",
        ),
        ({"size": (18, 18, 20)}, "--size: 20 slices along z must be a multiple of --factor 3"),
        ({"problem": "ct", "size": (18, 16, 20)}, "--size: CT slices must be square, got 18 x 16"),
        ({"primary": 2}, "--primary and --auxiliary must be two axes, got 2 for both"),
        ({"every": 1}, "--every must be at least 2, got 1"),
        ({"slices": True}, "--slices: whole volumes are wanted here"),
    ],
)
def test_configurations_that_do_not_fit(changes, words):
    with pytest.raises(UserError, match=words):
        changed(**changes)
    if "factor" in words:
        assert changed(problem="mri", **changes).size == (18, 18, 20), "the factor is of thick slices alone"


def test_data_that_do_not_fit(tmp_path):
    np.savez(tmp_path / "flat.npz", images=RNG.integers(0, 9, (9, 18, 18)).astype(np.uint8))
    np.savez(tmp_path / "thin.npz", volumes=RNG.integers(0, 9, (9, 18, 18, 2, 1)).astype(np.uint8))
    np.savez(tmp_path / "colour.npz", volumes=RNG.integers(0, 9, (9, 18, 18, 6, 3)).astype(np.uint8))
    with pytest.raises(UserError, match=r"2 spatial axes .* but 3 are wanted"):
        volumes.load_volumes(changed(data=str(tmp_path / "flat.npz")))
    with pytest.raises(UserError, match="2 slices along z; at least 3 are needed"):
        volumes.load_volumes(changed(data=str(tmp_path / "thin.npz")))
    colour = changed(data=str(tmp_path / "colour.npz"))
    with pytest.raises(UserError, match="volumes of 3 channels; save one channel in each"):
        volumes.measure(colour, volumes.load_volumes(colour))


def parameters(config):
    """Shapes of the parameters of both stages, and what their networks are fed."""
    run = Run(config, FACTS)
    batch = {"image": jnp.zeros((1, 16, 16, 1))}
    stages = {spec.name: spec.build(run) for spec in experiment.EXPERIMENT.stages}
    return {name: jax.eval_shape(stage.model.init, jax.random.key(0), batch) for name, stage in stages.items()}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("method", "problem", "which"),
    [
        *((method, "thick", volumes.BOTH) for method in catalogue.offered("thick")),
        *(("ddnm", problem, volumes.BOTH) for problem in ("ct", "mri")),
        *(("ddnm", "thick", plane) for plane in volumes.PLANES),
    ],
)
def test_samplers_trace_in_every_problem(method, problem, which):
    """Volumes of a size that was not trained on."""
    config = changed(problem=problem, channels=(8, 8), size=(12, 12, 24), together=8)
    run, keys = Run(config, FACTS), jax.random.split(jax.random.key(0), 2)
    params = {name: found["net"] for name, found in parameters(config).items()}
    scan = volume_scan.simulate(problem, keys, np.zeros((2, 12, 12, 6, 1), np.float32), 3)
    draw = posterior.compiled(run, volumes.problem(run, which), catalogue.METHODS[method])
    traced = jax.eval_shape(draw, params, keys, scan, 0.1)
    assert [part.shape for part in traced] == [(2, 12, 12, 6, 1), (2,)]


def test_each_network_is_fed_its_own_plane_mirrored_where_it_has_left_and_right():
    source = ArraySource({"image": RNG.integers(0, 200, (3, 12, 14, 18, 1)).astype(np.uint8)})
    config = changed(size=(12, 14, 18), mirror=True)
    run = Run(config, FACTS, splits=Splits(source, source, source))
    keys, fed = jax.random.split(jax.random.key(0), 16), {}
    for spec in experiment.EXPERIMENT.stages:
        examples = spec.examples(run)
        image = jnp.asarray(np.stack([examples[7]["image"]] * 16))
        fed[spec.name] = image.shape
        prepared = np.asarray(spec.build(run).prepare(keys, {"image": image})["image"])
        plain = np.asarray(image, np.float32) / 127.5 - 1
        kept = [np.allclose(a, b, atol=1e-6) for a, b in zip(prepared, plain, strict=True)]
        turned = [np.allclose(a[::-1], b, atol=1e-6) for a, b in zip(prepared, plain, strict=True)]
        assert all(a or b for a, b in zip(kept, turned, strict=True))
        assert any(turned) == (spec.name == "auxiliary")
    assert fed == {"primary": (16, 14, 18, 1), "auxiliary": (16, 12, 14, 1)}


def test_thick_slices_of_a_file_become_thin_where_they_lie(tmp_path, monkeypatch):
    """Oblique, of a size that was not trained on, in the units of the file."""

    def draw(scan, setting, key, repeats):
        image = np.repeat(np.asarray(scan.y), scan.factor, axis=3)
        return cases.Samples(np.stack([image - 0.1, image + 0.1]), image, np.zeros((2, 1)))

    monkeypatch.setattr(posterior, "methods", lambda *args: (cases.Method("ddnm", draw, (0.0,), True),))
    opened = Opened(None, experiment.EXPERIMENT, Run(SMOKE, FACTS))
    monkeypatch.setattr(apply, "open_trained", lambda run: opened)
    turn, given = np.linalg.qr(RNG.normal(size=(3, 3)))[0], tmp_path / "given"
    given.mkdir()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag([-0.9, 1.1, 4.5]), (20, -70, 5)
    thick = RNG.integers(0, 200, (20, 17, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(thick, affine), given / "thick.nii.gz")
    sideways = np.diag([1.0, 5.0, 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(thick, sideways), given / "sideways.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.stack([thick] * 2, -1), affine), given / "two.nii.gz")
    failed = apply.apply_run(tmp_path / "run", [str(given)], tmp_path / "out", quiet=True, say=lambda line: None)
    assert len(failed) == 2
    assert "sideways.nii.gz: its slices are thickest along axis 1" in failed[0]
    assert "two.nii.gz: 2 channels, but the run takes 1" in failed[1]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["thick.nii.gz"]["files"] == ["thick_reconstruction.nii.gz", "thick_uncertainty.nii.gz"]
    assert "affine" not in summary["thick.nii.gz"]
    thin = nibabel.load(tmp_path / "out" / "thick_reconstruction.nii.gz")
    assert thin.shape == (20, 17, 15)
    np.testing.assert_allclose(thin.header.get_zooms(), [0.9, 1.1, 1.5], rtol=1e-5)
    assert nibabel.aff2axcodes(thin.affine) == nibabel.aff2axcodes(affine)
    for k in range(5):
        middle = thin.affine @ (3, 4, 3 * k + 1, 1)
        np.testing.assert_allclose(middle, affine @ (3, 4, k, 1), atol=1e-4)
    np.testing.assert_allclose(np.asarray(thin.dataobj)[..., 1::3], thick, atol=0.05)
    spread = np.asarray(nibabel.load(tmp_path / "out" / "thick_uncertainty.nii.gz").dataobj)
    np.testing.assert_allclose(spread, 100 * 0.1 * np.sqrt(2), rtol=1e-3)


def test_a_run_of_another_problem_is_not_applied_to_files():
    with pytest.raises(UserError, match="--problem ct: such a run is not applied to files"):
        volumes.apply(Run(changed(problem="ct"), FACTS))


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["ct", "mri"])
def test_the_other_problems_from_the_command_line(problem, tmp_path):
    flags = ["--problem", problem, "--primary", "2", "--auxiliary", "0", "--workdir", str(tmp_path / "run"), "--quiet"]
    assert main(["run", "slices_to_volume", "--preset", "smoke", *flags]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    usual = {"ct": "fbp", "mri": "zero-filled"}[problem]
    assert {usual, "tv", "ddnm", "ddnm, primary alone", "ddnm, auxiliary alone"} <= set(metrics)
    for name in (usual, "tv", "ddnm"):
        assert np.isfinite(list(metrics[name].values())).all()
