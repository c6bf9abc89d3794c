"""Files in the layout of fastMRI: images, k-space, masks; and what is wrong with those that are not."""

import dataclasses
import sys

import h5py
import numpy as np
import pytest

from jaxgen.data import read_image, read_mask
from jaxgen.data.kspace import read_kspace
from jaxgen.data.readers import read_header
from jaxgen.errors import UserError
from jaxgen.tasks import images

RNG = np.random.default_rng(0)


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def centred(shape):
    """k-space ``[slices, coils, h, w]`` with its energy in the middle."""
    *_, h, w = shape
    fall = np.exp(-np.hypot(*np.meshgrid(np.arange(h) - h // 2, np.arange(w) - w // 2, indexing="ij")))
    return ((RNG.normal(size=shape) + 1j * RNG.normal(size=shape)) * (fall + 1e-4)).astype(np.complex64)


@pytest.mark.parametrize("name", ["reconstruction_rss", "reconstruction_esc"])
def test_images_of_full_measurements(tmp_path, name):
    volume = RNG.random((3, 8, 10)).astype(np.float32) * 1e-4
    path = write(tmp_path / "a.h5", **{name: volume, "kspace": centred((3, 2, 8, 10))})
    found, head = read_image(path), read_header(path)
    assert (found.array.shape, (*head.shape, head.channels)) == ((8, 10, 3, 1), (8, 10, 3, 1))
    np.testing.assert_allclose(found.array[..., 1, 0], volume[1] / volume.max(), rtol=1e-6)


def test_volumes_are_taken_slice_by_slice(tmp_path):
    volume = np.ones((3, 8, 10)) * np.linspace(0.1, 1, 10)
    volume[2] = 0
    for k, part in enumerate(("train", "validation", "test"), 1):
        (tmp_path / part).mkdir()
        write(tmp_path / part / "a.h5", reconstruction_rss=volume**k)
        write(tmp_path / part / "b.h5", reconstruction_rss=volume ** (k + 0.5))
    config = images.ImageConfig(data=str(tmp_path))
    with pytest.raises(UserError, match="--slices"):
        images.load_images(config)
    splits = images.load_images(dataclasses.replace(config, slices=True))
    assert [len(part) for part in splits[:3]] == [4, 4, 4], "blank slices are left out"
    assert splits.train[0]["image"].shape == (8, 10, 1)
    for name in "ab":
        write(tmp_path / "test" / f"{name}.h5", reconstruction_rss=0 * volume)
    with pytest.raises(UserError, match="test set is blank"):
        images.load_images(dataclasses.replace(config, slices=True))


def test_kspace_of_several_coils_with_its_mask(tmp_path):
    kspace, mask = centred((3, 2, 8, 10)), np.array([0, 1, 0, 1, 1, 1, 1, 0, 1, 1], np.uint8)
    kspace[..., -1] = 0  # padding, though the mask names it
    found = read_kspace(write(tmp_path / "a.h5", kspace=kspace, mask=mask)).array
    assert found.shape == (8, 10, 3, 2)
    np.testing.assert_array_equal(found[:, :, 2, 1], kspace[2, 1] * mask)


def test_kspace_of_one_coil(tmp_path):
    kspace = centred((3, 8, 10))
    found = read_kspace(write(tmp_path / "A.H5", kspace=kspace)).array
    np.testing.assert_array_equal(found[..., 0], np.moveaxis(kspace, 0, -1))


def test_what_is_no_file_of_fastmri(tmp_path, monkeypatch):
    raw = write(tmp_path / "raw.h5", dataset=np.zeros(3))
    with pytest.raises(UserError, match=r"no data set `kspace` \(but dataset\)"):
        read_kspace(raw)
    with pytest.raises(UserError, match="test sets of fastMRI have k-space alone"):
        read_image(write(tmp_path / "test.h5", kspace=centred((3, 8, 10))))
    with pytest.raises(UserError, match="not real"):
        read_header(write(tmp_path / "flat.h5", reconstruction_rss=np.zeros((8, 8))))
    with pytest.raises(UserError, match=r"fastMRI has \[slices, h, w\]"):
        read_kspace(write(tmp_path / "plane.h5", kspace=centred((8, 10))))
    with pytest.raises(UserError, match="of 10 columns"):
        read_kspace(write(tmp_path / "mask.h5", kspace=centred((3, 8, 10)), mask=np.ones(8)))
    with pytest.raises(UserError, match="hold no masks"):
        read_mask(raw)
    (tmp_path / "text.h5").write_text("hello")
    for read in (read_image, read_kspace):
        with pytest.raises(UserError, match=r"text\.h5"):
            read(tmp_path / "text.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"pip install 'jaxgen\[mri\]'"):
        read_kspace(raw)


def pulls_of(folder):
    """Files of h5 whose data lie in other files, by the way they do."""
    secret = np.arange(1, 65, dtype="f4").reshape(1, 8, 8)
    (folder / "secret.bin").write_bytes(secret.tobytes())
    write(folder / "other.h5", reconstruction_rss=secret, kspace=secret, mask=np.ones(8))

    def external(file, name):
        file.create_dataset(name, (1, 8, 8), "f4", external=[(str(folder / "secret.bin"), 0, 256)])

    def link(file, name):
        file[name] = h5py.ExternalLink(str(folder / "other.h5"), f"/{name}")

    def through_a_group(file, name):
        file["group"] = h5py.ExternalLink(str(folder / "other.h5"), "/")
        file[name] = h5py.SoftLink(f"/group/{name}")

    def virtual(file, name):
        layout = h5py.VirtualLayout((1, 8, 8), "f4")
        layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "reconstruction_rss", (1, 8, 8))
        file.create_virtual_dataset(name, layout)

    return external, link, through_a_group, virtual


@pytest.mark.parametrize("way", range(4))
@pytest.mark.parametrize("name", ["reconstruction_rss", "reconstruction_esc", "kspace", "mask"])
def test_data_in_other_files_are_never_opened(tmp_path, way, name):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        pulls_of(tmp_path)[way](file, name)
        if name == "mask":
            file["kspace"] = centred((1, 8, 8))
    reads = (read_image, read_header) if name.startswith("reconstruction") else (read_kspace,)
    for read in reads:
        with pytest.raises(UserError, match=rf"a\.h5: `{name}` (is a link|lies in other files), .*never .*; copy"):
            read(path)


def test_what_is_no_data_set_of_numbers(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("reconstruction_rss")
        file["kspace"] = np.array(["a", "b"], dtype=h5py.string_dtype())
    with pytest.raises(UserError, match="no data set of numbers"):
        read_image(tmp_path / "a.h5")
    with pytest.raises(UserError, match="not numbers"):
        read_kspace(tmp_path / "a.h5")
    write(tmp_path / "b.h5", reconstruction_rss=np.zeros((0, 8, 8)))
    with pytest.raises(UserError, match="is empty"):
        read_image(tmp_path / "b.h5")
