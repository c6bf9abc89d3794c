"""The CT experiment: from the command line to the files it leaves, a sinogram of a user, its full preset by shape."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.reconstruction import ct_reconstruction
from jaxgen.app import opening
from jaxgen.app.apply import apply_image
from jaxgen.app.cli import main
from jaxgen.data import phantoms
from jaxgen.data.image import Image
from jaxgen.data.sinogram import read_sinogram
from jaxgen.experiment import Run
from jaxgen.imaging.ct_scan import CTScan, ct_scan
from jaxgen.imaging.fan_beam import fan_beam_operator
from jaxgen.imaging.hounsfield import WATER
from jaxgen.imaging.projection import Geometry, covering
from jaxgen.imaging.radon import radon_operator
from jaxgen.medical.reconstruction import cases, catalogue
from jaxgen.tasks.reconstruction import ct, posterior


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct") / "run"
    assert main(["run", "ct_reconstruction", "--preset", "smoke", "--workdir", str(folder)]) == 0
    return folder


@pytest.mark.thorough
def test_smoke_preset(run):
    metrics = json.loads((run / "metrics.json").read_text())
    methods = {name: entry for name, entry in metrics.items() if isinstance(entry, dict)}
    assert set(methods) == {"fbp", "interpolation", "tv", "ddnm", "diffpir", "dps"}
    assert np.isfinite([v for entry in methods.values() for v in entry.values()]).all()
    assert {"psnr_4", "psnr_6", "psnr_metal", "ssim_metal", "sample_4", "rank_4"} <= set(methods["ddnm"])
    assert {"coverage_metal", "calibrated_metal", "widening_metal"} <= set(methods["ddnm"])
    assert methods["fbp"]["psnr_6"] > methods["fbp"]["psnr_4"]
    assert methods["interpolation"]["psnr_metal"] > methods["fbp"]["psnr_metal"]
    assert (run / "report.html").stat().st_size > 20_000


@pytest.mark.thorough
def test_a_sinogram_of_the_user(run, tmp_path, capsys):
    hu = phantoms.ct2d(5, 0, 16)["image"]
    angles = np.arange(6) * np.pi / 6
    density = jnp.asarray(np.maximum(1 + hu / 1000, 0), jnp.float32)[None]
    sinogram = np.asarray(radon_operator(16, angles).forward(density))[0]
    np.savez(tmp_path / "relative.npz", sinogram=sinogram, angles=angles)
    np.savez(tmp_path / "physical.npz", sinogram=sinogram * WATER * 2.5, angles=angles, pixel_mm=25.0)
    out = tmp_path / "out"
    assert main(["apply", str(run), str(tmp_path / "relative.npz"), "--out", str(out), "--quiet"]) == 0
    arrays = np.load(out / "relative_arrays.npz")
    assert arrays["reconstruction"].shape == arrays["uncertainty"].shape == (16, 16)
    assert arrays["reconstruction"].min() >= -1000
    read = [read_sinogram(tmp_path / f"{name}.npz").array for name in ("relative", "physical")]
    np.testing.assert_allclose(*read, rtol=1e-5)


@pytest.mark.thorough
def test_a_sinogram_is_reconstructed_with_what_was_chosen_for_as_many_views(run, tmp_path, monkeypatch):
    _, _, opened = opening.open_trained(run)
    config = opened.config
    assert set(opened.chosen) == {"4", "6", "metal"}
    asked, found, ones = [], [], np.ones((1, 16, 16, 1))

    def draw(scan, setting, key, repeats):
        asked.append(setting)
        return cases.Samples(np.stack([-ones, ones]), 0 * ones)

    monkeypatch.setattr(posterior, "methods", lambda *args: (cases.Method("ddnm", draw, (1.0,), True),))
    chosen = {views: {"ddnm": float(views), "ddnm widening": factor} for views, factor in (("4", 1.5), ("6", 3.0))}
    apply = ct_reconstruction.EXPERIMENT.apply(opened._replace(chosen=chosen))
    for views in (3, 5, 50):
        meta = {"angles": np.arange(views) * np.pi / views, "geometry": Geometry()}
        found.append(apply(jax.random.key(0), Image(np.zeros((views, 16, 1), np.float32), None, meta))["uncertainty"])
    assert asked == [4.0, 6.0, 6.0]
    slices = Image(np.zeros((50, 16, 2, 1), np.float32), None, meta)
    stack = apply_image(apply, jax.random.key(0), slices, 2, tmp_path / "stack.npz")
    assert stack["uncertainty"].shape == (16, 16, 2), "every slice has the angles and the geometry of the stack"
    assert asked[3:] == [6.0, 6.0]
    half = (config.high + 1000) / 2
    for uncertainty, widening in zip(found, (1.5, 3, 3), strict=True):
        np.testing.assert_allclose(uncertainty, half * widening * np.sqrt(2), rtol=1e-6)


def fan_of(hu, **more):
    """What a scanner with a fan saves of a slice of 16 pixels of 25 mm, over a short scan."""
    angles = np.arange(40) * 4.2 / 40
    fan = {"source_distance": 40.0, "detector_distance": 20.0, "spacing": 1.2}
    density = jnp.asarray(np.maximum(1 + hu / 1000, 0), jnp.float32)[None]
    sinogram = np.asarray(fan_beam_operator(16, angles, **fan).forward(density))[0]
    lengths = {name: 25 * value for name, value in fan.items()}
    return {"sinogram": sinogram * WATER * 2.5, "angles": angles, "pixel_mm": 25.0, **lengths, **more}


@pytest.mark.thorough
def test_a_sinogram_of_a_fan(run, tmp_path, capsys):
    hu = phantoms.ct2d(5, 0, 16)["image"]
    folder = tmp_path / "scans"
    folder.mkdir()
    np.savez(folder / "fan.npz", **fan_of(hu))
    np.savez(folder / "near.npz", **fan_of(hu, source_distance=250.0))
    np.savez(folder / "wide.npz", **fan_of(hu, spacing=250.0))
    image = read_sinogram(folder / "fan.npz")
    _, _, opened = opening.open_trained(run)
    opened = opened._replace(config=dataclasses.replace(opened.config, tv_steps=60))
    methods = {method.name: method.run for method in ct.baselines(opened, (1e-4,))}
    y, truth = image.array[None, ..., 0] / 2.5, np.clip((hu[None] + 1000) / 1250 - 1, -1, 1)
    wrong = {}
    for name, geometry in (("fan", image.meta["geometry"]), ("parallel", Geometry())):
        scan = ct_scan(y, image.meta["angles"], 16, geometry=geometry)
        for method, setting in (("fbp", "ramp"), ("tv", 1e-4)):
            wrong[method, name] = np.sqrt(np.mean((methods[method](scan, setting) - truth) ** 2))
    assert wrong["tv", "fan"] < min(0.05, wrong["tv", "parallel"] / 4)
    assert wrong["fbp", "fan"] < min(0.15, wrong["fbp", "parallel"] / 2)

    assert main(["apply", str(run), str(folder), "--out", str(tmp_path / "out"), "--quiet"]) == 1
    assert (tmp_path / "out" / "fan_arrays.npz").exists()
    errors = capsys.readouterr().err
    for words in ("lies within an image", "save its true `spacing`"):
        assert words in errors


@pytest.mark.thorough
def test_slices_are_moved_at_twice_their_size():
    """A shift of nothing to speak of leaves the means of 2 x 2 pixels; a real one moves them."""
    smoke = ct_reconstruction.EXPERIMENT.presets["smoke"]
    config = dataclasses.replace(smoke, mirror=False, rotate=0.0, zoom=0.0, shift=1e-7)
    splits = ct.load(config)
    run = Run(config, ct.measure(config, splits), splits=splits)
    whole = ct.examples(run._replace(config=dataclasses.replace(config, shift=0.0)))[0]["image"]
    twice = ct.examples(run)[0]["image"]
    assert (whole.shape, twice.shape) == ((16, 16, 1), (32, 32, 1))
    batch, keys = {"image": jnp.asarray(twice)[None]}, jax.random.split(jax.random.key(0), 1)
    halved = np.asarray(twice, np.float32).reshape(16, 2, 16, 2, 1).mean((1, 3))
    np.testing.assert_allclose(ct.prepare(config)(keys, batch)["image"][0], halved, atol=1e-3)
    moved = ct.prepare(dataclasses.replace(config, rotate=90.0))(keys, batch)["image"][0]
    assert np.abs(moved - halved).mean() > 0.1


@pytest.mark.parametrize("preset", ["small", "full"])
def test_presets_trace_a_training_step_and_a_reconstruction(preset):
    config = dataclasses.replace(ct_reconstruction.EXPERIMENT.presets[preset], data="ct_phantom")
    batch = {"image": jax.ShapeDtypeStruct((2, config.size, config.size, 1), jnp.float32)}
    run = Run(config, ct.measure(config, None))
    stage = ct_reconstruction.EXPERIMENT.stages[0].build(run)
    params = jax.eval_shape(stage.model.init, jax.random.key(0), batch)
    keys = jax.random.split(jax.random.key(0), 2)
    (objective,) = stage.model.objectives
    assert jax.eval_shape(objective.loss, params, keys, batch)[0].shape == (2,)
    rays = jax.ShapeDtypeStruct((2, 23, covering(Geometry(), config.size)), jnp.float32)
    angles, number = jax.ShapeDtypeStruct((23,), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
    scan = CTScan(rays, rays, angles, number, config.size)
    draw = posterior.compiled(run, ct.problem(run), catalogue.METHODS[config.methods[0]])  # smoke runs the others
    found, _ = jax.eval_shape(draw, params["net"], keys, scan, number)
    assert found.shape == (2, config.size, config.size, 1)
