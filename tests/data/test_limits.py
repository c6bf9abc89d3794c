"""Small files that announce, or unpack to, more than they should: one line before anything is decoded."""

import gzip
import io
import os
import socket
import struct
import zipfile
import zlib

import h5py
import nibabel
import numpy as np
import PIL.Image
import pytest
import tifffile

from jaxgen.app import cli
from jaxgen.app.compare import load as load_set
from jaxgen.data import arrays, limits, load, tiff
from jaxgen.data.kspace import read_kspace
from jaxgen.data.readers import read_header, read_image, read_mask
from jaxgen.errors import UserError

MIB = 2**20


@pytest.fixture(autouse=True)
def one_mib(monkeypatch):
    """A limit of 1 MiB, so that bombs are quick to make."""
    monkeypatch.setenv(limits.VARIABLE, "1")


def nifti(path, shape, dtype="u1", slope=None, offset=352, written=None):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_sform(np.eye(4), 1)
    header["magic"], header["vox_offset"] = b"n+1", offset
    if slope:
        header.set_slope_inter(slope, 1)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize if written is None else written
    with gzip.open(path, "wb") as file:
        file.write(header.binaryblock + bytes(4) + bytes(size))
    return path


def npy_header(shape, dtype="<f4"):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": dtype, "fortran_order": False, "shape": shape})
    return content.getvalue()


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def png(path, width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress((bytes(1 + 3 * width)) * height)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def deflated_dicom(path, size):
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.3"
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = pydicom.uid.CTImageStorage, "1.2.3", "CT"
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 16, 16, 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = np.arange(256, dtype=np.uint16).tobytes() + bytes(size)
    data["PixelData"].VR = "OW"
    data.save_as(path, enforce_file_format=True)
    return path


def sparse_h5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("reconstruction_rss", (200, 100, 100), "f4", chunks=(1, 100, 100), compression="gzip")
    return path


def sparse_npy(path):
    with open(path, "wb") as file:
        file.write(npy_header((50000, 50000)))
        file.truncate(10**10 + 128)
    return path


BOMBS = {
    "a.nii.gz": lambda path: nifti(path, (128, 128, 65)),
    "b.nii.gz": lambda path: nifti(path, (10000, 10000, 10000), written=9),
    "c.nii.gz": lambda path: nifti(path, (128, 128, 9), "i2", slope=0.5),
    "d.nii.gz": lambda path: nifti(path, (4, 4, 4), offset=2**31, written=9),
    "a.npy": sparse_npy,
    "a.png": lambda path: png(path, 1000, 1000),
    "a.jpg": lambda path: PIL.Image.new("L", (2000, 2000)).save(path),
    "a.tif": lambda path: tifffile.imwrite(path, np.zeros((1100, 1000), np.uint8), compression="zlib"),
    "b.tif": lambda path: tifffile.imwrite(path, np.zeros((11, 100, 1000), np.uint8), compression="zlib"),
    "a.h5": sparse_h5,
    "a.dcm": lambda path: deflated_dicom(path, MIB),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("read", [read_image, read_header])
def test_bombs(tmp_path, monkeypatch, name, read):
    path = tmp_path / name
    BOMBS[name](path)
    with pytest.raises(
        UserError, match=r"announces \d+ MiB of data, more than the \d+ MiB .*--max-file-mib \d+"
    ) as caught:
        read(path)
    assert str(path) in str(caught.value)
    if name in ("a.nii.gz", "c.nii.gz", "a.png", "a.jpg", "a.tif", "b.tif", "a.h5"):
        monkeypatch.setenv(limits.VARIABLE, "16")
        read(path)


def test_what_is_large_on_disk_may_be_large_in_memory(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (1500, 1000), dtype=np.uint8)
    PIL.Image.fromarray(array).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", array)
    for name in ("a.png", "a.npy"):
        assert np.array_equal(read_image(tmp_path / name).array[..., 0], array)


def test_pages_and_strips_of_tiff(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "MOST_PAGES", 20)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for _ in range(21):
            file.write(np.zeros((1, 1), np.uint8), metadata=None)
    with pytest.raises(UserError, match="more than 20 pages"):
        read_header(tmp_path / "pages.tif")
    bomb = zlib.compress(bytes(4 * MIB))  # in a page of 16 x 16
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (278, 16), (279, len(bomb))]
    start = struct.pack("<2sHI", b"II", 42, 8 + len(bomb) + len(bomb) % 2) + bomb + bytes(len(bomb) % 2)
    entries = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, n) for tag, n in tags)
    (tmp_path / "strip.tif").write_bytes(start + entries + bytes(4))
    with pytest.raises(UserError, match=r"strip\.tif: .*unpacks to more"):
        read_image(tmp_path / "strip.tif")


def test_a_chunk_of_h5_that_unpacks_to_more(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("reconstruction_rss", (1, 8, 8), "f4", chunks=(1, 8, 8), compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(32 * MIB), 9))
    with pytest.raises(UserError, match=r"a\.h5: a chunk of `reconstruction_rss` unpacks to more than its 256 bytes"):
        read_image(tmp_path / "a.h5")


NPZ_BOMBS = {
    "announced": lambda path: zipped(path, images=npy_header((20, 512, 512)) + bytes(20 * MIB)),
    "lying": lambda path: zipped(path, images=npy_header((10**6, 512, 512)) + bytes(99)),
    "header": lambda path: zipped(path, images=b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 8 * MIB),
    "parts": lambda path: zipped(
        path, **{f"{s}_images": npy_header((3, 256, 256)) + bytes(768 * 1024) for s in ("train", "val", "test")}
    ),
}


@pytest.mark.parametrize("kind", NPZ_BOMBS)
def test_npz_bombs(tmp_path, kind):
    path = NPZ_BOMBS[kind](tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"a\.npz"):
        load(path, wants=("image",))
    with pytest.raises(UserError, match=r"a\.npz"):
        load_set(str(path))


def test_bombs_among_measurements(tmp_path):
    path = zipped(tmp_path / "a.npz", kspace=npy_header((1024, 1024), "<c8") + bytes(8 * MIB))
    with pytest.raises(UserError, match=r"a\.npz: announces 8 MiB"):
        read_kspace(path)


def test_what_else_an_npz_holds_is_left_alone(tmp_path):
    path = zipped(
        tmp_path / "a.npz",
        images=npy_header((4, 8, 8)) + np.random.default_rng(0).random((4, 8, 8)).astype("f4").tobytes(),
        notes=npy_header((20, 512, 512)) + bytes(20 * MIB),
    )
    assert len(load(path, wants=("image",)).train) == 2


def test_an_encrypted_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=np.ones((4, 8, 8)))
    content = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + flags] |= 1
    path.write_bytes(bytes(content))
    for read in (lambda: load(path, wants=("image",)), lambda: load_set(str(path)), lambda: read_kspace(path)):
        with pytest.raises(UserError, match=r"a\.npz: encrypted; unpack it"):
            read()


def test_members_that_are_no_arrays_or_come_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images", b"raw")
        archive.writestr("images.npy", npy_header((4, 8, 8)) + bytes(1024))
    assert arrays.read_npz(tmp_path / "a.npz")["images"].shape == (4, 8, 8), "not the raw bytes"
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("images.npy", npy_header((4, 8, 8)) + bytes(1024))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("images.npy", npy_header((4, 8, 8)) + bytes(1024))
    with pytest.raises(UserError, match="`images` twice"):
        load(tmp_path / "b.npz", wants=("image",))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.nii.gz", "a.dcm", "a.h5", "a.npy", "a.npz", "a"])
@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_what_is_no_file(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    if kind == "pipe":
        os.mkfifo(name)
    elif kind == "device":
        os.symlink("/dev/zero", name)
    else:
        server = socket.socket(socket.AF_UNIX)
        server.bind(name)
        server.close()
    reads = [load, lambda path: load(path, wants=("image",))]
    reads += [load_set, read_kspace] if name == "a.npz" else [read_image, read_mask, read_header]
    for read in reads:
        with pytest.raises(UserError) as caught:
            read(name)
        assert f"{name}: a {kind}, not a file; " in str(caught.value)


@pytest.mark.parametrize("place", ["images/b.png", "b.png", "labels.csv", "glioma/b.png", "series/b"])
def test_a_pipe_in_a_folder_of_images(tmp_path, place):
    target = tmp_path / place
    target.parent.mkdir(parents=True, exist_ok=True)
    for i in range(4):
        PIL.Image.fromarray(np.full((4, 4), i, np.uint8)).save(target.parent / f"{i}.png")
    os.mkfifo(target)
    with pytest.raises(UserError):
        load(tmp_path, wants=("image", "label") if place == "labels.csv" else ("image",))


def test_a_pipe_as_a_table(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(4):
        PIL.Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4) + i).save(tmp_path / f"images/{i}.png")
    os.mkfifo(tmp_path / "patients.csv")
    with pytest.raises(UserError, match=r"patients\.csv: a pipe, not a file"):
        load(tmp_path, wants=("image",))


@pytest.mark.parametrize("value", ["0", "-3", "many", "1.5", "٣"])
def test_a_limit_that_is_none(tmp_path, monkeypatch, value):
    monkeypatch.setenv(limits.VARIABLE, value)
    np.save(tmp_path / "a.npy", np.ones((4, 4)))
    with pytest.raises(UserError, match=rf"{limits.VARIABLE}=.*: not a whole number of MiB"):
        read_image(tmp_path / "a.npy")


def test_the_flag(tmp_path, capsys):
    """It counts for one command alone."""
    names = []
    for i in range(2):
        names.append(str(zipped(tmp_path / f"{i}.npz", images=npy_header((20, 512, 512)) + bytes(20 * MIB))))
    assert cli.main(["compare", *names]) == 2
    assert "--max-file-mib 20" in capsys.readouterr().err
    cli.main(["compare", *names, "--max-file-mib", "20"])
    assert "--max-file-mib" not in capsys.readouterr().err
    assert os.environ[limits.VARIABLE] == "1"
    assert cli.main(["compare", *names, "--max-file-mib", "0"]) == 2
    assert "--max-file-mib must be from 1" in capsys.readouterr().err


def test_large_images_are_decoded_one_after_another(tmp_path, monkeypatch):
    """All at once they would need as many times the memory."""
    import threading
    import time

    from jaxgen.data import folder

    now, most, lock = [0], [0], threading.Lock()

    def watched(path):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        image = read_image(path)
        with lock:
            now[0] -= 1
        return image

    for i in range(6):
        PIL.Image.fromarray(np.random.default_rng(i).integers(0, 256, (99, 99), dtype=np.uint8)).save(
            tmp_path / f"{i}.png"
        )
    monkeypatch.setattr(folder, "read_image", watched)
    monkeypatch.setattr(folder, "_threads", lambda: 4)
    load(tmp_path, wants=("image",))
    assert most[0] > 1
    most[0] = 0
    monkeypatch.setattr(folder, "CHECK_BYTES", 6 * 99 * 99 + 2000)
    load(tmp_path, wants=("image",))
    assert most[0] == 1


def test_a_header_of_an_array_is_not_read_before_its_length_is_checked(tmp_path):
    import tracemalloc

    path = NPZ_BOMBS["header"](tmp_path / "a.npz")
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"a header of \d+ bytes"):
            load(path, wants=("image",))
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()
