import numpy as np
import pytest

from jaxgen.data.kspace import read_kspace
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)
IMAGE = np.exp(-(np.square(np.indices((12, 9)) - 5).sum(0)) / 8)
KSPACE = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(IMAGE), norm="ortho")).astype(np.complex64)
MASK = np.zeros((12, 9), bool)
MASK[:, 2:7:2] = True


def save(folder, **arrays):
    np.savez(folder / "scan.npz", **arrays)
    return folder / "scan.npz"


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_what_was_not_measured_is_zero_and_slices_go_before_coils(tmp_path, dtype):
    kspace = KSPACE.astype(dtype)
    one = read_kspace(save(tmp_path, kspace=kspace, mask=MASK)).array
    assert one.shape == (12, 9, 1)
    assert one.dtype == np.complex64
    np.testing.assert_array_equal(one[..., 0], KSPACE * MASK)
    slices = np.stack([kspace[..., None] * [1, 2], kspace[..., None] * [3, 4]])
    both = read_kspace(save(tmp_path, kspace=slices, mask=np.stack([MASK, ~MASK]))).array
    assert both.shape == (12, 9, 2, 2)
    np.testing.assert_allclose(both[:, :, 1, 0], 3 * KSPACE * ~MASK, rtol=1e-6)
    np.testing.assert_array_equal(read_kspace(save(tmp_path, kspace=kspace)).array[..., 0], KSPACE)


def test_the_mask_and_the_number_of_coils_come_as_metadata(tmp_path):
    slices = np.stack([KSPACE[..., None] * [1, 2, 3]] * 2)
    meta = read_kspace(save(tmp_path, kspace=slices, mask=np.stack([MASK, ~MASK]))).meta
    assert meta["coils"] == 3
    np.testing.assert_array_equal(meta["mask"], np.stack([MASK, ~MASK], -1))
    np.testing.assert_array_equal(read_kspace(save(tmp_path, kspace=KSPACE, mask=MASK)).meta["mask"], MASK)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": IMAGE}, "no array `kspace` (but image)"),
        ({"kspace": np.abs(KSPACE)}, "complex k-space is needed"),
        ({"kspace": np.moveaxis(KSPACE[..., None] * np.ones(3), -1, 0)}, "coils go last"),
        ({"kspace": np.fft.ifftshift(KSPACE)}, "np.fft.fftshift"),
        ({"kspace": np.where(np.arange(9) == 3, np.nan, KSPACE)}, "columns 3"),
        ({"kspace": KSPACE, "mask": MASK.T}, "transpose it"),
        ({"kspace": KSPACE, "mask": 0 * MASK}, "it keeps nothing"),
        ({"kspace": KSPACE, "mask": 0.5 * MASK}, "other than 0 and 1"),
        ({"kspace": np.array([{}])}, "scan.npz"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path, arrays, words):
    path = save(tmp_path, **arrays)
    with pytest.raises(UserError) as caught:
        read_kspace(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
