"""MRI with a diffusion prior: from the command line to its files, on a user's k-space, and its presets by shape."""

import dataclasses
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
from jaxgen.data.image import Image
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.imaging.coils import simulated_coils
from jaxgen.imaging.fourier import centred_fft2
from jaxgen.medical.reconstruction import cases, catalogue
from jaxgen.medical.reconstruction.mri_scan import MRIScan
from jaxgen.tasks.images import ImageFacts
from jaxgen.tasks.reconstruction import mri, posterior

SMOKE = experiment.EXPERIMENT.presets["smoke"]
FACTS = ImageFacts(value_range=((0.0,), (1.0,)), image_channels=1)


def scan_of(height, width, coils):
    """A blob with a smooth phase, seen by coils: its k-space ``[h, w, coils]``."""
    rows, columns = np.indices((height, width))
    image = np.exp(-(((rows - height // 2) / 4) ** 2) - ((columns - width // 2) / 3) ** 2 + 0.1j * rows)
    maps = simulated_coils(jax.random.key(0), (height, width), coils)
    return np.asarray(centred_fft2(maps[None] * image[None, ..., None]))[0]


@pytest.mark.thorough
def test_smoke_preset_and_k_space_of_the_user(data, tmp_path, capsys):
    run, scans, out = tmp_path / "run", tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    whole, mask = scan_of(18, 15, 3), np.zeros((18, 15), np.uint8)
    mask[:, [2, 6, 7, 8, 11]] = 1
    np.savez(tmp_path / "whole.npz", kspace=np.moveaxis(whole, -1, 0))
    flags = ["--data", str(data), "--kspace", str(tmp_path / "whole.npz"), "--coils-first"]
    assert main(["run", "mri_reconstruction", "--preset", "smoke", *flags, "--workdir", str(run)]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    for name in ("zero-filled", "cg-sense", "tv", "ddnm"):
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


@pytest.mark.parametrize(
    ("left", "words"), [(0.06, ""), (0.1, ""), (0.3, "30%"), (1.0, "100%"), (np.nan, "an unknown part"), (np.inf, "an")]
)
@pytest.mark.parametrize("slices", [1, 3])
def test_k_space_that_a_reconstruction_does_not_fit_is_warned_of(monkeypatch, capsys, left, words, slices):
    def draw(scan, setting, key, repeats):
        image = np.zeros((repeats, 1, 18, 16, 1), np.float32)
        return cases.Samples(image, image[0], np.full((repeats, 1), left))

    monkeypatch.setattr(posterior, "methods", lambda *args: (cases.Method("ddnm", draw, (1.0,), True),))
    function = experiment.EXPERIMENT.apply(Run(SMOKE, FACTS))
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


def test_k_space_brought_along_is_evaluated_against_all_of_it(tmp_path):
    """The truth has the range of what is reconstructed, and PSNR is relative to the truth's brightest."""
    whole = 7 * scan_of(32, 24, 4)
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["kspace"] = np.moveaxis(np.stack([0.5 * whole, whole, 0.5 * whole]), -1, 1)
    config = dataclasses.replace(SMOKE, kspace=str(tmp_path / "whole.h5"), accelerations=(2,), coils_first=True)
    ((received, truth),) = mri.brought(config, jax.random.key(0)).values()
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
                mri.brought(some, jax.random.key(0))
        else:
            assert len(mri.brought(some, jax.random.key(0))) == 1
    case = cases.Case(None, truth, None, "", float(truth.max()), (0, 1))
    assert case.quality(truth + 0.125)[0] == pytest.approx(20 * np.log10(truth.max() / 0.125))  # exact squares


def test_configurations_that_do_not_fit():
    with pytest.raises(UserError, match="--accelerations must leave"):
        dataclasses.replace(SMOKE, accelerations=(16,))


@pytest.mark.parametrize("method", catalogue.offered("mri"))
@pytest.mark.parametrize("coils", [None, 3])
def test_every_sampler_traces_on_any_size(method, coils):
    config = dataclasses.replace(SMOKE, channels=(8, 8))
    stage = experiment.EXPERIMENT.stages[0].build(Run(config, FACTS))
    params = jax.eval_shape(stage.model.init, jax.random.key(0), {"image": jnp.zeros((1, 16, 16, 1))})
    shape, run = (2, 18, 15, coils or 1), Run(config, FACTS)
    y, maps = jax.ShapeDtypeStruct(shape, jnp.complex64), coils and jax.ShapeDtypeStruct(shape, jnp.complex64)
    keys = jax.random.split(jax.random.key(0), 2)
    draw = posterior.compiled(run, mri.problem(run), catalogue.METHODS[method])
    traced = jax.eval_shape(draw, params["net"], keys, MRIScan(y, jnp.ones(shape[:3]), maps, True), 0.1)
    assert [part.shape for part in traced] == [(2, 18, 15, 2 if coils else 1), (2,)]
