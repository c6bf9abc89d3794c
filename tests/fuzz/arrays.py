"""npz and fastMRI files of images, with what a reader must find in them."""

import io
import zipfile
from pathlib import Path

import numpy as np


def write_npz(rng: np.random.Generator, path: Path) -> dict:
    """Write 6 images or more with masks, patients or labels, compressed or not."""
    count, size = int(rng.integers(6, 12)), int(rng.integers(9, 20))
    dtype = ("u1", "u2", "i2", "f4", "f8", "i4")[int(rng.integers(6))]
    channels = (None, 1, 3)[int(rng.integers(3))]
    shape = (count, size, size) if channels is None else (count, size, size, channels)
    images = rng.integers(0, 250, shape).astype(dtype)
    held = {"images": images, "masks": (rng.random((count, size, size)) < 0.3).astype("u1")}
    if rng.random() < 0.5:
        held["patient"] = np.array([f"p{i // 2}" for i in range(count)])
    (np.savez_compressed if rng.random() < 0.5 else np.savez)(path, **held)
    return {"image": images if channels else images[..., None], "mask": None, "may_refuse": False}


def read_npz(content: bytes) -> np.ndarray | None:
    """The images, by zipfile and numpy alone."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = np.load(io.BytesIO(archive.read("images.npy")), allow_pickle=False)
    except Exception:  # a damaged file may raise anything
        return None
    return found if found.ndim == 4 else found[..., None]


def write_h5(rng: np.random.Generator, path: Path) -> dict:
    """Write a file of the fastMRI layout."""
    import h5py

    shape = tuple(int(n) for n in rng.integers(2, 9, 3))
    volume = rng.random(shape).astype(("f4", "f8")[int(rng.integers(2))])
    options = {"compression": "gzip"} if rng.random() < 0.5 else {}
    with h5py.File(path, "w") as file:
        file.create_dataset("reconstruction_rss", data=volume, **options)
    found = np.float32(volume) / np.float32(volume).max()
    return {"image": np.moveaxis(found, 0, -1)[..., None], "mask": None, "may_refuse": False}
