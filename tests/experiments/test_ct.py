"""The CT experiment: from the command line to the files it leaves, a sinogram of a user, its full preset by shape."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.reconstruction import ct_reconstruction
from jaxgen.app import runner
from jaxgen.app.cli import main
from jaxgen.data import phantoms
from jaxgen.errors import UserError
from jaxgen.imaging.fan_beam import fan_beam_operator
from jaxgen.imaging.hounsfield import WATER
from jaxgen.imaging.projection import Geometry
from jaxgen.imaging.radon import radon_operator
from jaxgen.tasks.reconstruction import ct


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct") / "run"
    assert main(["run", "ct_reconstruction", "--preset", "smoke", "--workdir", str(folder)]) == 0
    return folder


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
    read = [ct.read_sinogram(tmp_path / f"{name}.npz").array for name in ("relative", "physical")]
    np.testing.assert_allclose(*read, rtol=1e-5)


def test_a_sinogram_is_reconstructed_with_what_was_chosen_for_as_many_views(run, tmp_path, monkeypatch):
    _, _, config, constants, trained = runner.open_trained(run)
    assert set(constants["chosen"]) == {"4", "6", "metal"}
    asked, found, ones = [], [], np.ones((1, 16, 16, 1))
    monkeypatch.setattr(
        ct_reconstruction.Reconstructors,
        "draw",
        lambda self, method, key, scan, setting, repeats: asked.append(setting) or np.stack([-ones, ones]),
    )
    for views, widening in (("4", 1.5), ("6", 3.0)):
        constants["chosen"][views] |= {"ddnm": float(views), "ddnm widening": widening}
    apply = ct_reconstruction.EXPERIMENT.apply(config, constants, trained)
    for views in (3, 5, 50):
        array = np.zeros((views, 16, 4), np.float32)
        array[:, :, 1], array[:, :, 3] = np.arange(views)[:, None] * np.pi / views, 1
        found.append(apply(jax.random.key(0), array)["uncertainty"])
    assert asked == [4.0, 6.0, 6.0]
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


def test_a_sinogram_of_a_fan(run, tmp_path, capsys):
    hu = phantoms.ct2d(5, 0, 16)["image"]
    folder = tmp_path / "scans"
    folder.mkdir()
    np.savez(folder / "fan.npz", **fan_of(hu))
    np.savez(folder / "near.npz", **fan_of(hu, source_distance=250.0))
    np.savez(folder / "wide.npz", **fan_of(hu, spacing=250.0))
    array = ct.read_sinogram(folder / "fan.npz").array
    _, _, config, constants, trained = runner.open_trained(run)
    ways = ct_reconstruction.Reconstructors(dataclasses.replace(config, tv_steps=60), constants, trained)
    y, truth = array[None, ..., 0] / 2.5, np.clip((hu[None] + 1000) / 1250 - 1, -1, 1)
    wrong = {}
    for name, geometry in (("fan", Geometry(*map(float, array[0, 0, 2:]))), ("parallel", Geometry())):
        scan = ct.Scan(array[:, 0, 1], y, np.ones_like(y), np.zeros((1, 16, 16, 1), bool), geometry)
        for method, found in (
            ("fbp", ways.filtered(scan.y, scan, "ramp")),
            ("tv", ways.total_variation(scan, 1e-4)),
        ):
            wrong[method, name] = np.sqrt(np.mean((found - truth) ** 2))
    assert wrong["tv", "fan"] < min(0.05, wrong["tv", "parallel"] / 4)
    assert wrong["fbp", "fan"] < min(0.15, wrong["fbp", "parallel"] / 2)

    assert main(["apply", str(run), str(folder), "--out", str(tmp_path / "out"), "--quiet"]) == 1
    assert (tmp_path / "out" / "fan_arrays.npz").exists()
    errors = capsys.readouterr().err
    for words in ("lies within an image", "save its true `spacing`"):
        assert words in errors


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sinogram": np.zeros((4, 6)), "angles": np.zeros(4), "detector_distance": 1.0}, "without `source_distance`"),
        ({"sinogram": np.zeros((4, 6)), "angles": np.zeros(4), "spacing": np.ones(2)}, "must be one number"),
        ({"sinogram": np.zeros((4, 6))}, "holds no `angles`"),
        ({"sinogram": np.zeros((6, 4)), "angles": np.zeros(4)}, "does not fit"),
        ({"sinogram": np.zeros((4, 6), complex), "angles": np.zeros(4)}, "not real"),
        ({"sinogram": np.full((4, 6), np.nan), "angles": np.zeros(4)}, "NaN"),
        ({"sinogram": np.zeros((4, 6)), "angles": np.arange(4) * 45}, "degrees"),
        ({"sinogram": np.zeros((4, 6)), "angles": np.zeros(4), "pixel_mm": -1.0}, "positive"),
    ],
)
def test_bad_sinograms(arrays, message, tmp_path):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=message):
        ct.read_sinogram(tmp_path / "bad.npz")


def test_the_system_explains_what_is_measured():
    """The sinogram of u, brought to x in [-1, 1], is what the scaled operator gives of x, whatever rays count."""
    x = np.asarray(jax.random.uniform(jax.random.key(0), (2, 16, 16, 1), minval=-1))
    scan = ct.sparse(x, 3, 5)
    assert scan.y.shape == (2, 5, ct.detectors(16))
    assert (scan.y[:, 3:] == 0).all()
    operator, target = ct.system(16, jnp.asarray(scan.angles), scan.y, scan.keep, jnp.float32(0.3))
    np.testing.assert_allclose(operator.forward(jnp.asarray(x)), target, atol=1e-4)


def test_slices_are_moved_at_twice_their_size():
    """A shift of nothing to speak of leaves the means of 2 x 2 pixels; a real one moves them."""
    config = dataclasses.replace(ct_reconstruction.SMOKE, mirror=False, rotate=0.0, zoom=0.0, shift=1e-7)
    splits = ct_reconstruction.EXPERIMENT.load(config)
    constants = ct_reconstruction._measure(config, splits)
    whole = ct_reconstruction._examples(dataclasses.replace(config, shift=0.0), constants, splits)[0]["image"]
    twice = ct_reconstruction._examples(config, constants, splits)[0]["image"]
    assert (whole.shape, twice.shape) == ((16, 16, 1), (32, 32, 1))
    batch, keys = {"image": jnp.asarray(twice)[None]}, jax.random.split(jax.random.key(0), 1)
    halved = np.asarray(twice, np.float32).reshape(16, 2, 16, 2, 1).mean((1, 3))
    np.testing.assert_allclose(ct_reconstruction._prepare(config)(keys, batch)["image"][0], halved, atol=1e-3)
    moved = ct_reconstruction._prepare(dataclasses.replace(config, rotate=90.0))(keys, batch)["image"][0]
    assert np.abs(moved - halved).mean() > 0.1


def test_metal_spoils_what_passes_through_it():
    x = np.full((1, 16, 16, 1), -1, np.float32)
    x[:, 3:13, 3:13] = -0.2  # water
    scan = ct.with_metal(jax.random.key(0), x, 8, high=1500.0, pixel=25.0, photons=1e8)
    exact = ct.sparse(x, 8, 8).y
    trusted = scan.keep > 0
    assert 0 < scan.ignore.mean() < 0.2
    assert 0.1 < trusted.mean() < 0.95
    np.testing.assert_allclose(scan.y[trusted], exact[trusted], atol=0.3)
    assert (scan.y - exact)[~trusted].max() > 2
    line = ct.interpolated(scan)
    np.testing.assert_array_equal(line[trusted], scan.y[trusted])
    assert np.abs(line - exact).mean() < np.abs(scan.y - exact).mean()


@pytest.mark.parametrize("preset", ["small", "full"])
def test_presets_trace_a_training_step_and_a_reconstruction(preset):
    config = dataclasses.replace(ct_reconstruction.EXPERIMENT.presets[preset], data="ct_phantom")
    batch = {"image": jax.ShapeDtypeStruct((2, config.size, config.size, 1), jnp.float32)}
    constants = {"channels": 1, "classes": [], "value_range": [[-1000], [1500]]}
    stage = ct_reconstruction.EXPERIMENT.stages[0].build(config, constants, {})
    params = jax.eval_shape(stage.model.init, jax.random.key(0), batch)
    keys = jax.random.split(jax.random.key(0), 2)
    (objective,) = stage.model.objectives
    assert jax.eval_shape(objective.loss, params, keys, batch)[0].shape == (2,)
    ways = ct_reconstruction.Reconstructors(config, constants, {"prior": params})
    rays = jax.ShapeDtypeStruct((2, 23, ct.detectors(config.size)), jnp.float32)
    angles, number = jax.ShapeDtypeStruct((23,), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
    method = config.methods[0]  # the smoke preset runs the others
    draw = functools.partial(ways._posterior[method], geometry=Geometry())
    found = jax.eval_shape(draw, params["net"], keys, rays, rays, angles, number, number)
    assert found.shape == (2, config.size, config.size, 1)
