"""MRI with a diffusion prior: from the command line to its files, on a user's k-space, and its presets by shape."""

import dataclasses
import functools
import json
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.reconstruction import mri_reconstruction as experiment
from jaxgen.app.apply import apply_image
from jaxgen.app.cli import main
from jaxgen.data import phantoms
from jaxgen.data.image import Image
from jaxgen.errors import UserError
from jaxgen.imaging.coils import calibration_size, combine_coils, low_resolution_coils, simulated_coils
from jaxgen.imaging.fourier import centred_fft2, centred_ifft2
from jaxgen.imaging.sampling_masks import random_mask
from jaxgen.tasks.reconstruction import mri
from tests.experiments.traces import check_training_step


def scan_of(height, width, coils):
    """A blob with a smooth phase, seen by coils: its k-space ``[h, w, coils]``."""
    rows, columns = np.indices((height, width))
    image = np.exp(-(((rows - height // 2) / 4) ** 2) - ((columns - width // 2) / 3) ** 2 + 0.1j * rows)
    maps = simulated_coils(jax.random.key(0), (height, width), coils)
    return np.asarray(centred_fft2(maps[None] * image[None, ..., None]))[0]


def test_smoke_preset_and_k_space_of_the_user(data, tmp_path, capsys):
    run, scans, out = tmp_path / "run", tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    whole, mask = scan_of(18, 15, 3), np.zeros((18, 15), np.uint8)
    mask[:, [2, 6, 7, 8, 11]] = 1
    np.savez(tmp_path / "whole.npz", kspace=np.moveaxis(whole, -1, 0))
    flags = ["--data", str(data), "--kspace", str(tmp_path / "whole.npz"), "--coils-first"]
    assert main(["run", "mri_reconstruction", "--preset", "smoke", *flags, "--workdir", str(run)]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    for name in (*experiment.BASELINES, "ddnm"):
        assert np.isfinite(list(metrics[name].values())).all()
        assert {"psnr_4x", "psnr_4x_coils", "psnr_4x_measured"} <= set(metrics[name])
    assert {"coverage_4x", "calibrated_4x_measured", "widening_4x_coils"} <= set(metrics["ddnm"])
    assert metrics["ddnm"]["kept_4x"] < 1e-2, "one coil's k-space is kept"
    assert (run / "report.html").stat().st_size > 20_000

    np.savez(scans / "mine.npz", kspace=1e-3 * whole, mask=mask)
    with h5py.File(scans / "fastmri.h5", "w") as file:
        file["kspace"], file["mask"] = np.moveaxis(whole, -1, 0)[None], mask[0]
    np.savez(scans / "first.npz", kspace=np.moveaxis(whole, -1, 0))
    np.savez(scans / "centre.npz", kspace=whole * (np.indices((18, 15))[1] != 7)[..., None])
    assert main(["apply", str(run), str(scans), "--out", str(out)]) == 1
    errors = capsys.readouterr().err
    for words in ("coils go last", "not measured in its centre"):
        assert words in errors
    with np.load(out / "mine_arrays.npz") as file:
        found = {name: file[name] for name in file.files}
    assert set(found) == {"reconstruction", "uncertainty", "zero_filled"}
    assert all(array.shape == (18, 15) and np.isfinite(array).all() for array in found.values())
    assert found["reconstruction"].max() < 0.1, "in the units of the k-space that came"
    with np.load(out / "fastmri_arrays.npz") as file:
        np.testing.assert_allclose(1e-3 * file["zero_filled"], found["zero_filled"], rtol=1e-3, atol=1e-6)


def test_what_the_prior_is_asked_for_is_what_was_measured():
    """A x = 2 y - A 1 holds for the truth itself; and what stays imaginary is small."""
    x = np.linspace(-1, 1, 16 * 16, dtype=np.float32).reshape(1, 16, 16, 1)
    keys = jax.random.split(jax.random.key(0), 1)
    real = mri.measure_real(keys, x, "random", 4)
    operator, target = mri.system(*real)
    np.testing.assert_allclose(operator.forward(x), target, atol=1e-4)
    scan = mri.measure_coils(keys, x, "random", 1, 3, 0.5)
    z = combine_coils(centred_ifft2(scan.y), scan.maps)
    found = jnp.stack([2 * jnp.real(z) - 1, 2 * jnp.imag(z)], -1)
    operator, target = mri.system(*scan)
    np.testing.assert_allclose(operator.forward(found), target, atol=1e-4)
    np.testing.assert_allclose(mri.magnitude(found), (x + 1) / 2, atol=1e-5)
    np.testing.assert_allclose(experiment._zero_filled(scan), (x + 1) / 2, atol=1e-5)
    assert jnp.mean(jnp.abs(jnp.imag(z))) < 0.02 * jnp.mean(jnp.abs(z)), "what stays imaginary is small"


@pytest.mark.parametrize(("kind", "columns"), [("random", True), ("equispaced", True), ("poisson", False)])
def test_a_scan_knows_whether_its_columns_are_whole(kind, columns):
    x = np.zeros((2, 16, 16, 1), np.float32)
    assert mri.measure_real(jax.random.split(jax.random.key(0), 2), x, kind, 2).columns == columns


def test_k_space_of_a_person_comes_with_its_range_and_its_noise():
    rng = np.random.default_rng(0)
    clean = 50 * scan_of(64, 48, 4)
    spread = 0.02 * np.abs(clean).max()
    noisy = clean + spread * (rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape))
    brightest = np.abs(combine_coils(centred_ifft2(clean[None]), simulated_coils(jax.random.key(0), (64, 48), 4))).max()
    received = mri.receive(noisy.astype(np.complex64))
    assert 0.8 < received.scale / brightest < 1.25
    assert received.noise * received.scale == pytest.approx(spread, rel=0.15)
    assert mri.receive(clean.astype(np.complex64)).noise < 0.01 * received.noise


@pytest.mark.parametrize(
    ("left", "words"), [(0.06, ""), (0.1, ""), (0.3, "30%"), (1.0, "100%"), (np.nan, "an unknown part"), (np.inf, "an")]
)
@pytest.mark.parametrize("slices", [1, 3])
def test_k_space_that_a_reconstruction_does_not_fit_is_warned_of(monkeypatch, capsys, left, words, slices):
    class Ways:
        def __init__(self, *args):
            pass

        def draw(self, method, key, scan, setting, repeats):
            return np.zeros((repeats, 1, 18, 16, 2), np.float32), np.full((repeats, 1), left)

    monkeypatch.setattr(experiment, "Reconstructors", Ways)
    function = experiment.EXPERIMENT.apply(experiment.SMOKE, {"chosen": {}}, {})
    whole = scan_of(18, 16, 4)
    array = whole if slices == 1 else np.stack([whole] * slices, axis=2)
    image = Image(array, None, {})
    results = apply_image(function, jax.random.key(0), image, 2, Path("mine.npz"))
    assert np.ravel(results["left_of_kspace"]).shape == (slices,)
    said = capsys.readouterr().err
    assert said.count("jaxgen: warning: mine.npz: ") == bool(words)
    assert said.count("\n") == bool(words)
    assert words in said
    assert ("left_of_kspace" in said) == bool(words)
    assert ("warning" in results) == bool(words)


def test_k_space_brought_along_is_judged_against_all_of_it(tmp_path):
    """The truth has the range of what is reconstructed, and PSNR is relative to the truth's brightest."""
    whole = 7 * scan_of(32, 24, 4)
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["kspace"] = np.moveaxis(np.stack([0.5 * whole, whole, 0.5 * whole]), -1, 1)
    config = dataclasses.replace(
        experiment.SMOKE, kspace=str(tmp_path / "whole.h5"), accelerations=(2,), coils_first=True
    )
    ((received, truth),) = experiment._brought(config, jax.random.key(0)).values()
    rows, columns = np.indices((32, 24))
    image = 7 * np.exp(-(((rows - 16) / 4) ** 2) - ((columns - 12) / 3) ** 2)
    seen = image > 0.1 * image.max()
    np.testing.assert_allclose(received.scale * truth[0, ..., 0][seen], image[seen], rtol=0.02)
    assert 0 < received.scan.mask.mean() < 0.7, "of what is reconstructed only a part was measured"
    for missing, refused in ((2, False), (9, True)):
        part = whole * (np.arange(24) >= missing)[:, None]
        np.savez(tmp_path / "part.npz", kspace=part)
        some = dataclasses.replace(config, kspace=str(tmp_path / "part.npz"), coils_first=False)
        if refused:
            with pytest.raises(UserError, match="must be fully sampled"):
                experiment._brought(some, jax.random.key(0))
        else:
            assert len(experiment._brought(some, jax.random.key(0))) == 1
    assert experiment._score(truth + 0.1, truth, truth.max())[0] == pytest.approx(20 * np.log10(truth.max() / 0.1))


def agreement(maps, others, image):
    """``|sum_c conj(S_c) T_c|``, the mean where the image is bright: 1 if they differ in a phase alone."""
    return float(np.abs(np.sum(np.conj(maps) * others, -1))[image > 0.1].mean())


def test_coils_from_few_lines_are_nearer_than_images_of_low_resolution():
    wrong = {"received": 0.0, "low resolution": 0.0}
    for n in range(2):
        image = phantoms.brain2d(5, n, 64)["image"].reshape(64, 64)
        maps = np.asarray(simulated_coils(jax.random.key(n), (64, 64), 8))
        mask = np.asarray(random_mask(jax.random.key(n), (64, 64), 4))
        kspace = np.asarray(centred_fft2((maps * image[..., None])[None]))[0] * mask[..., None]
        height, width = calibration_size(mask)
        low = np.asarray(low_resolution_coils(kspace[None], (min(height, 32), width)))[0]
        wrong["received"] += 1 - agreement(maps, mri.receive(kspace).scan.maps[0], image)
        wrong["low resolution"] += 1 - agreement(maps, low, image)
    assert wrong["received"] < 0.8 * wrong["low resolution"]


def test_settings_for_a_scanner_are_chosen_with_estimated_coils():
    x = 2 * phantoms.brain2d(5, 0, 64)["image"].reshape(1, 64, 64, 1) - 1
    measure = functools.partial(mri.measure_coils, jax.random.split(jax.random.key(0), 1), x, "random", 4, 8, 1.0)
    known, estimated = measure(), measure(0.0)
    np.testing.assert_array_equal(known.y, estimated.y)
    assert 0.98 < agreement(known.maps[0], estimated.maps[0], (x[0, ..., 0] + 1) / 2) < 0.9999
    assert np.abs(measure(0.01).y - known.y)[known.y != 0].std() == pytest.approx(
        0.01 * np.sqrt(2 - np.pi / 2), rel=0.1
    )


def test_configurations_that_do_not_fit():
    with pytest.raises(UserError, match="--accelerations must leave"):
        dataclasses.replace(experiment.SMOKE, accelerations=(16,))


@pytest.mark.parametrize(("preset", "precision"), [("small", "float32"), ("full", "bfloat16")])
def test_every_preset_traces_a_training_step(preset, precision):
    config = dataclasses.replace(experiment.EXPERIMENT.presets[preset], precision=precision)
    stage = experiment.EXPERIMENT.stages[0].build(config, {"channels": 1}, {})
    raw = {"image": jax.ShapeDtypeStruct((2, config.size, config.size, 3), jnp.uint8)}
    check_training_step(stage, raw, (2, config.size, config.size, 1), precision)


@pytest.mark.parametrize("method", experiment.SAMPLERS)
@pytest.mark.parametrize("coils", [None, 3])
def test_every_sampler_traces_on_any_size(method, coils):
    config = dataclasses.replace(experiment.SMOKE, methods=(method,), channels=(8, 8))
    stage = experiment.EXPERIMENT.stages[0].build(config, {"channels": 1}, {})
    params = jax.eval_shape(stage.model.init, jax.random.key(0), {"image": jnp.zeros((1, 16, 16, 1))})
    ways = experiment.Reconstructors(config, {"channels": 1}, {"prior": params})
    shape = (2, 18, 15, coils or 1)
    y, maps = jax.ShapeDtypeStruct(shape, jnp.complex64), coils and jax.ShapeDtypeStruct(shape, jnp.complex64)
    keys = jax.random.split(jax.random.key(0), 2)
    draw = functools.partial(ways._posterior[method], columns=True)
    traced = jax.eval_shape(draw, params["net"], keys, y, jnp.ones(shape[:3]), maps, 0.1)
    assert [part.shape for part in traced] == [(2, 18, 15, 2 if coils else 1), (2,)]
