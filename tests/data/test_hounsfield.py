"""Images that an experiment takes for Hounsfield units."""

import dataclasses

import numpy as np
import pytest

from experiments.reconstruction import ct_reconstruction
from jaxgen.data import ArraySource, Everything
from jaxgen.data.hounsfield import check_hounsfield
from jaxgen.errors import UserError

SMOKE = ct_reconstruction.EXPERIMENT.presets["smoke"]
HU = np.random.default_rng(0).integers(-1000, 1200, (6, 16, 16))
NOT_HU = {
    "8 bits": ((HU + 1000) * 255 / 2200).astype(np.uint8),
    "unit": ((HU + 1000) / 2200).astype(np.float32),
    "both sides": ((HU + 1000) / 1100 - 1).astype(np.float32),
    "standardised": ((HU - HU.mean()) / HU.std()).astype(np.float32),
    "offset": (HU + 1024).astype(np.uint16),
    "attenuation": (0.2 * (1 + HU / 1000)).clip(0).astype(np.float32),
}


@pytest.mark.parametrize("kind", NOT_HU)
def test_other_units_are_refused(tmp_path, kind):
    path = tmp_path / "a.npz"
    np.savez(path, hu=NOT_HU[kind])
    config = dataclasses.replace(SMOKE, data=str(path))
    with pytest.raises(UserError, match=r"--data .*a\.npz: values from .* are no Hounsfield units.*; ") as caught:
        ct_reconstruction.EXPERIMENT.load(config)
    assert ("1024" in str(caught.value)) == (kind == "offset")


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_hounsfield_units_are_taken(tmp_path, dtype):
    np.savez(tmp_path / "a.npz", hu=HU.astype(dtype))
    config = dataclasses.replace(SMOKE, data=str(tmp_path / "a.npz"))
    assert len(ct_reconstruction.EXPERIMENT.load(config).train) == 4


def test_a_blank_slice_among_others_is_no_reason(tmp_path):
    blank = np.concatenate([HU, np.full((1, 16, 16), -1000)])
    check_hounsfield(ArraySource({"image": blank[..., None]}), "ct")


@pytest.mark.parametrize("n", [1, 2, 5])
def test_other_scans_that_are_all_evaluated_are_checked_too(tmp_path, n):
    np.savez(tmp_path / "hu.npz", hu=np.resize(HU, (n, 16, 16)))
    np.savez(tmp_path / "grey.npz", images=NOT_HU["8 bits"][:n])
    config, load = SMOKE, ct_reconstruction.EXPERIMENT.load
    splits = load(dataclasses.replace(config, data=Everything(tmp_path / "hu.npz")))
    assert [len(part) for part in splits[:3]] == [0, 0, n]
    with pytest.raises(UserError, match="no Hounsfield units"):
        load(dataclasses.replace(config, data=Everything(tmp_path / "grey.npz")))
