"""K-space cold diffusion: from the command line to its files, on a user's k-space, and its presets by shape."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.reconstruction import kspace_cold_diffusion as experiment
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.medical.reconstruction import kspace_cold_diffusion as cold


def kspace_of(image):
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, (0, 1)), axes=(0, 1), norm="ortho"), (0, 1))


@pytest.mark.thorough
def test_smoke_preset_and_k_space_of_the_user(data, tmp_path, capsys):
    run, scans, out = tmp_path / "run", tmp_path / "scans", tmp_path / "out"
    flags = ["--data", str(data), "--workdir", str(run)]
    assert main(["run", "kspace_cold_diffusion", "--preset", "smoke", *flags]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    for name in ("zero-filled", "total variation", *cold.METHODS):
        assert np.isfinite(list(metrics[name].values())).all()
    assert (run / "report.html").stat().st_size > 20_000

    scans.mkdir()
    rows, columns = np.indices((18, 15))
    image = np.exp(-(((rows - 9) / 4) ** 2) - ((columns - 7) / 3) ** 2)
    coils = image[..., None] * np.array([1.0, 0.5j])
    mask = np.zeros((18, 15), np.uint8)
    mask[:, [2, 6, 7, 8, 11]] = 1
    np.savez(scans / "two_coils.npz", kspace=kspace_of(coils), mask=mask)
    np.savez(scans / "slices.npz", kspace=np.stack([kspace_of(coils) * mask[..., None]] * 2))
    np.savez(scans / "rows.npz", kspace=(kspace_of(image.T) * mask.T)[..., None])
    np.savez(scans / "whole.npz", kspace=kspace_of(image))
    np.savez(scans / "real.npz", kspace=np.abs(kspace_of(image)))
    np.savez(scans / "other.npz", image=image)
    assert main(["apply", str(run), str(scans), "--out", str(out)]) == 1
    errors = capsys.readouterr().err
    for words in ("transpose it", "nothing to restore", "complex k-space is needed", "no array `kspace`"):
        assert words in errors
    with np.load(out / "two_coils_arrays.npz") as file:
        found = {name: file[name] for name in file.files}
    assert set(found) == {"reconstruction", "direct", "zero_filled"}
    assert all(array.shape == (18, 15) for array in found.values())
    want = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace_of(image) * mask), norm="ortho"))
    np.testing.assert_allclose(found["zero_filled"], np.abs(want) * np.sqrt(1.25), atol=1e-5)
    assert (out / "slices_reconstruction.nii.gz").exists()


def test_accelerations_that_do_not_fit():
    with pytest.raises(UserError, match="--accelerations must leave"):
        dataclasses.replace(experiment.EXPERIMENT.presets["smoke"], accelerations=(16,))
