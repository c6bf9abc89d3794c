"""What people give by mistake: each ends in one clear line that names the file and the fix, and nothing is written."""

import gzip
import os
import shutil
import struct
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pytest

from jaxgen.data import load
from jaxgen.data.readers import read_image, read_mask
from jaxgen.errors import UserError

pydicom = pytest.importorskip("pydicom")

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (16, 16), dtype=np.uint8)
BLOB = np.zeros((16, 16), np.uint8)
BLOB[4:9, 4:9] = 1


def png(path, array):
    PIL.Image.fromarray(array).save(path)


def nifti(path, array, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def dicom(path, array=PIXELS, **tags):
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = array.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * array.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(array.dtype.kind == "i")
    data.PixelData = array.tobytes()
    for tag, value in tags.items():
        setattr(data, tag, value)
    data.save_as(path, enforce_file_format=True)


def folder(root, n=4):
    """A good data set: images/ and masks/ of PNG."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for i in range(n):
        png(root / "images" / f"{i}.png", PIXELS + i)
        png(root / "masks" / f"{i}.png", BLOB * 255)
    return root


def cut(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def npz(root, **arrays):
    root.mkdir(parents=True, exist_ok=True)
    good = {"images": np.stack([PIXELS + i for i in range(6)]), "masks": np.stack([BLOB] * 6)}
    np.savez(root / "set.npz", **{k: v for k, v in {**good, **arrays}.items() if v is not None})
    return root / "set.npz"


CASES = {}


def case(*named, **options):
    """Register a case: a function that builds it in a folder and returns the --data value (None: the folder)."""

    def add(build):
        CASES[build.__name__] = (build, named, options)
        return build

    return add


@case("images/2.png", "no mask")
def missing_mask(root):
    (folder(root) / "masks/2.png").unlink()


@case("masks/9.png", "without an image")
def extra_mask(root):
    png(folder(root) / "masks/9.png", BLOB)


@case("masks/1.png", "16 x 12", "16 x 16")
def size_mismatch(root):
    png(folder(root) / "masks/1.png", BLOB[:, :12])


@case("images/1.png", "PNG", "copy it again")
def truncated_png(root):
    cut(folder(root) / "images/1.png")


@case("images/1.png", "PNG")
def png_cut_in_its_header(root):
    path = folder(root) / "images/1.png"
    path.write_bytes(path.read_bytes()[:20])


@case("masks/3.png", "PNG", "copy it again")
def truncated_mask(root):
    cut(folder(root) / "masks/3.png")


@case("images/0.tif", "TIFF")
def truncated_tiff(root):
    (folder(root) / "images/0.png").unlink()
    png(root / "images/0.tif", PIXELS)
    cut(root / "images/0.tif")


def volumes(root, n=3, suffix=".nii", **kwargs):
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for i in range(n):
        nifti(root / f"images/v{i}{suffix}", RNG.normal(size=(8, 9, 5)).astype(np.float32), **kwargs)
        nifti(root / f"masks/v{i}{suffix}", RNG.integers(0, 2, (8, 9, 5)).astype(np.uint8), **kwargs)
    return root


@case("images/v1.nii", "NIfTI", "copy it again")
def truncated_nifti(root):
    cut(volumes(root) / "images/v1.nii", 0.9)


@case("images/v1.nii.gz", "NIfTI", "copy it again")
def truncated_compressed_nifti(root):
    cut(volumes(root, suffix=".nii.gz") / "images/v1.nii.gz", 0.8)


@case("images/v0.nii", "NIfTI")
def nifti_cut_in_its_header(root):
    path = volumes(root) / "images/v0.nii"
    path.write_bytes(path.read_bytes()[:100])


@case("images/v2.nii", "3 of 360", "NaN")
def nan_voxels(root):
    array = np.ones((8, 9, 5), np.float32)
    array[0, 0, :3] = np.nan
    nifti(volumes(root) / "images/v2.nii", array)


@case("images/v2.nii", "infinite", slices=True)
def infinite_voxels_in_slices(root):
    array = np.ones((8, 9, 5), np.float32)
    array[0, 0, 0] = np.inf
    nifti(volumes(root) / "images/v2.nii", array)


@case("masks/v0.nii", "fractions")
def mask_with_nan(root):
    array = np.zeros((8, 9, 5), np.float32)
    array[0] = np.nan
    nifti(volumes(root) / "masks/v0.nii", array)


@case("masks/v0.nii", "affine", "resample")
def mask_in_another_place(root):
    nifti(volumes(root) / "masks/v0.nii", np.zeros((8, 9, 5), np.uint8), np.diag([-1.0, 1, 1, 1]))


@case("images/v0.nii", "--slices", spatial=2)
def volume_for_a_2d_experiment(root):
    volumes(root)


@case("images/0.png", "volumes are wanted", spatial=3)
def picture_for_a_3d_experiment(root):
    folder(root)


@case("images/v1.nii.gz", "voxels of type", wants=("image",))
def nifti_of_colours(root):
    colours = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nifti(volumes(root, suffix=".nii.gz") / "images/v1.nii.gz", colours)


def slices_of_dicom(root, n=3):
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for i in range(n):
        dicom(root / f"images/d{i}.dcm")
        png(root / f"masks/d{i}.png", BLOB)
    return root


@case("images/d1.dcm", "DICOM", "copy it again")
def truncated_dicom(root):
    cut(slices_of_dicom(root) / "images/d1.dcm", 0.8)


@case("images/d1.dcm", "DICOM")
def dicom_cut_in_its_preamble(root):
    path = slices_of_dicom(root) / "images/d1.dcm"
    path.write_bytes(path.read_bytes()[:50])


@case("images/d1.dcm", "without an image")
def dicom_without_an_image(root):
    path = slices_of_dicom(root) / "images/d1.dcm"
    data = pydicom.dcmread(path)
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(data, tag)
    data.save_as(path)


@case("images/d0.dcm", "palette")
def dicom_with_a_palette(root):
    dicom(slices_of_dicom(root) / "images/d0.dcm", PhotometricInterpretation="PALETTE COLOR")


@case("series/b.dcm", "SeriesInstanceUID", wants=("image",))
def two_series_in_a_folder(root):
    inner = root / "images/series"
    inner.mkdir(parents=True)
    dicom(inner / "a.dcm", SeriesInstanceUID="1.2.3")
    dicom(inner / "b.dcm", SeriesInstanceUID="1.2.4")


@case("images/more", "DICOM slice")
def folder_among_the_images(root):
    (folder(root) / "images/more").mkdir()
    png(root / "images/more/a.png", PIXELS)


@case("images/a.png", "a folder where a file")
def folder_named_like_a_file(root):
    (folder(root) / "images/a.png").mkdir()
    png(root / "masks/a.png", BLOB)


@case("images/3.png", "every pixel is 0", "mask marks")
def all_zero_image(root):
    png(folder(root) / "images/3.png", PIXELS * 0)


@case("images", "one value only")
def nothing_but_constant_images(root):
    folder(root)
    for i in range(4):
        png(root / f"images/{i}.png", PIXELS * 0 + 7)
        png(root / f"masks/{i}.png", BLOB * 0)


@case("masks/2.png", "7 values", "--foreground")
def mask_with_7_values(root):
    png(folder(root) / "masks/2.png", (np.arange(256) % 7).astype(np.uint8).reshape(16, 16))


@case("masks/2.png", "masks/0.png", "--foreground")
def other_foreground_value_in_one_mask(root):
    png(folder(root) / "masks/2.png", BLOB * 2)


@case("masks/2.png", "colour")
def mask_in_colour(root):
    png(folder(root) / "masks/2.png", np.stack([BLOB, BLOB * 2, BLOB * 3], -1))


@case("masks/2.npy", "-1")
def negative_mask(root):
    (folder(root) / "masks/2.png").unlink()
    np.save(root / "masks/2.npy", BLOB.astype(np.int16) * -1)


@case("masks/2.npy", "fractions")
def mask_of_probabilities(root):
    (folder(root) / "masks/2.png").unlink()
    np.save(root / "masks/2.npy", BLOB * 0.5)


@case("--foreground", "soft", foreground="soft")
def unknown_foreground(root):
    folder(root)


@case("--foreground", "0", foreground=0)
def background_as_foreground(root):
    folder(root)


@case("images", "empty folder")
def empty_images(root):
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()


@case("no images/ folder")
def empty_folder(root):
    root.mkdir()


@case("no masks/ folder")
def no_masks_folder(root):
    shutil.rmtree(folder(root) / "masks")


@case("masks", "a file where a folder")
def masks_is_a_file(root):
    shutil.rmtree(folder(root) / "masks")
    (root / "masks").write_text("")


@case("only 1 image", "at least 3")
def one_image_only(root):
    folder(root, n=1)


@case("only 2 images", "at least 3")
def two_images_only(root):
    folder(root, n=2)


@case("images/細胞.png", "no mask")
def non_latin_name_without_a_mask(root):
    png(folder(root) / "images/細胞.png", PIXELS)


@case("images/loop.png", "symbolic link")
def link_to_itself(root):
    os.symlink("loop.png", folder(root) / "images/loop.png")
    png(root / "masks/loop.png", BLOB)


@case("images/up", "DICOM")
def link_to_the_folder_above(root):
    os.symlink("..", folder(root) / "images/up")


@case("loop", "symbolic link")
def data_is_a_link_to_itself(root):
    root.mkdir()
    os.symlink("loop", root / "loop")
    return root / "loop"


@case("images", "symbolic link")
def images_is_a_link_to_itself(root):
    shutil.rmtree(folder(root) / "images")
    os.symlink("images", root / "images")


@case("images/gone.png", "no such file")
def dangling_link(root):
    os.symlink("nowhere.png", folder(root) / "images/gone.png")
    png(root / "masks/gone.png", BLOB)


@case("images/1.png", "3 channels", "images/0.png")
def grey_and_colour(root):
    png(folder(root) / "images/1.png", np.stack([PIXELS, PIXELS + 1, PIXELS], -1))


@case("images/v1.nii", "images/0.png")
def images_and_volumes(root):
    nifti(folder(root) / "images/v1.nii", np.ones((4, 4, 4), np.float32))
    nifti(root / "masks/v1.nii", np.ones((4, 4, 4), np.uint8))


@case("images/1.png", "JPEG", "suffix")
def jpeg_named_png(root):
    PIL.Image.fromarray(PIXELS).save(folder(root) / "images/1.png", "jpeg")


@case("images/1.nii.gz", "content", "NIfTI")
def uncompressed_named_gz(root):
    (folder(root) / "images/1.png").unlink()
    nifti(root / "a.nii", PIXELS[..., None])
    (root / "a.nii").rename(root / "images/1.nii.gz")


@case("images/1.nii.gz")
def gzip_of_something_else(root):
    (folder(root) / "images/1.png").unlink()
    with gzip.open(root / "images/1.nii.gz", "wb") as file:
        file.write(b"hello" * 200)


@case("images/1.png", "not PNG")
def text_named_png(root):
    (folder(root) / "images/1.png").write_text("hello")


@case("images/5.txt", "not a format")
def text_among_the_images(root):
    (folder(root) / "images/5.txt").write_text("hello")
    png(root / "masks/5.png", BLOB)


@case("images/1.png", "0 bytes")
def zero_bytes(root):
    (folder(root) / "images/1.png").write_bytes(b"")


@case("images/1.tif", "1.png", "same name")
def one_stem_twice(root):
    png(folder(root) / "images/1.tif", PIXELS)


@case("images/1.png", "16-bit colour")
def sixteen_bit_colour(root):
    path = folder(root) / "images/1.png"
    content = bytearray(path.read_bytes())
    content[24:26] = struct.pack(">BB", 16, 2)
    path.write_bytes(bytes(content))


@case("images/1.npy", "never unpickled", "plain array")
def pickled_npy(root):
    (folder(root) / "images/1.png").unlink()
    np.save(root / "images/1.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


@case("images/1.npy", "npy")
def truncated_npy(root):
    (folder(root) / "images/1.png").unlink()
    np.save(root / "images/1.npy", PIXELS)
    cut(root / "images/1.npy", 0.7)


@case("images/1.npy", "not numbers")
def npy_of_text(root):
    (folder(root) / "images/1.png").unlink()
    np.save(root / "images/1.npy", np.full((16, 16), "a"))


@case("train.txt", "7")
def list_names_a_missing_image(root):
    (folder(root) / "train.txt").write_text("0\n7\n")
    (root / "validation.txt").write_text("1")
    (root / "test.txt").write_text("2")


@case("test.txt", "train.txt", "one list")
def image_in_two_lists(root):
    (folder(root) / "train.txt").write_text("0\n1\n")
    (root / "val.txt").write_text("2")
    (root / "test.txt").write_text("1")


@case("validation.txt")
def a_list_is_missing(root):
    (folder(root) / "train.txt").write_text("0\n1\n")
    (root / "test.txt").write_text("2")


@case("patients.csv", "3")
def patient_unknown(root):
    (folder(root) / "patients.csv").write_text("name,patient\n0,a\n1,b\n2,c\n")


@case("only 2 patients")
def two_patients(root):
    (folder(root) / "patients.csv").write_text("0,a\n1,b\n2,a\n3,b\n")


@case("labels.csv", "two columns", wants=("image", "label"))
def labels_of_one_column(root):
    (folder(root) / "labels.csv").write_text("name,label\n0\n")


@case("labels.csv", "no such file", wants=("image", "label"))
def labels_missing(root):
    folder(root)


@case("images/", "train/", "one layout")
def both_layouts(root):
    folder(root)
    folder(root / "train")


@case("no train/")
def held_out_folder_alone(root):
    folder(root / "test")


@case("several raters", wants=("image", "masks"))
def raters_from_a_folder(root):
    folder(root)


@case("several labels", "npz", wants=("image", "labels"))
def several_labels_from_a_folder(root):
    folder(root)


@case("set.npz", "`images`", "never unpickled")
def npz_of_objects(root):
    return npz(root, images=np.array([PIXELS, "a"], dtype=object))


@case("set.npz", "`masks`", "rename")
def npz_without_masks(root):
    return npz(root, masks=None)


@case("set.npz", "`images`")
def npz_without_images(root):
    return npz(root, images=None)


@case("set.npz", "5 examples", "6")
def npz_of_unequal_lengths(root):
    return npz(root, masks=np.stack([BLOB] * 5))


@case("set.npz", "does not fit", "(6, 16, 12)")
def npz_of_unequal_sizes(root):
    return npz(root, masks=np.stack([BLOB[:, :12]] * 6))


@case("set.npz", "(16, 16)")
def npz_of_one_image(root):
    return npz(root, images=PIXELS, masks=BLOB)


@case("set.npz", "only 1 image")
def npz_of_a_single_example(root):
    return npz(root, images=PIXELS[None], masks=BLOB[None])


@case("set.npz", "no examples")
def npz_of_no_examples(root):
    return npz(root, images=PIXELS[None][:0], masks=BLOB[None][:0])


@case("set.npz", "NaN")
def npz_with_nan(root):
    return npz(root, images=np.full((6, 16, 16), np.nan))


@case("set.npz", "not numbers")
def npz_of_complex_numbers(root):
    return npz(root, images=np.ones((6, 16, 16), np.complex64))


@case("set.npz", "--foreground")
def npz_mask_with_several_values(root):
    return npz(root, masks=np.stack([BLOB * 2] * 3 + [BLOB] * 3))


@case("set.npz", "one rater", wants=("image", "masks"))
def npz_of_one_rater(root):
    return npz(root)


@case("set.npz", "`images`", "`image`")
def npz_with_two_images_arrays(root):
    return npz(root, image=np.stack([PIXELS] * 6))


@case("set.npz", "'holdout'")
def npz_with_an_unknown_split(root):
    return npz(root, split=np.array(["train"] * 4 + ["test", "holdout"]))


@case("set.npz", "example 4")
def npz_with_an_all_zero_image(root):
    images = np.stack([PIXELS] * 6)
    images[4] = 0
    return npz(root, images=images)


@case("set.npz", "npz", "copy it again")
def truncated_npz(root):
    path = npz(root)
    cut(path)
    return path


@case("set.npz", "npz")
def text_named_npz(root):
    root.mkdir()
    (root / "set.npz").write_text("hello")
    return root / "set.npz"


@case("notes.csv", "not an npz")
def data_is_another_file(root):
    root.mkdir()
    (root / "notes.csv").write_text("a,b")
    return root / "notes.csv"


@case("--data", "nowhere", "no such")
def data_does_not_exist(root):
    root.mkdir()
    return root / "nowhere"


@case("--data nuclei_dbs2018", "did you mean nuclei_dsb2018?")
def misspelt_name(root):
    root.mkdir()
    return "nuclei_dbs2018"


@case("no data are named", "give --data")
def no_name(root):
    root.mkdir()
    return " "


@case("label", "nuclei_dsb2018", wants=("image", "label"))
def shipped_set_without_labels(root):
    root.mkdir()
    return "nuclei_dsb2018"


def snapshot(root):
    found = {}
    for place, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(place) / name
            state = path.lstat()
            found[str(path)] = (state.st_size, state.st_mtime_ns, state.st_mode)
    return found


def test_there_are_enough_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_one_clear_line(name, tmp_path):
    build, named, options = CASES[name]
    spec = build(tmp_path / "data") or tmp_path / "data"
    before = snapshot(tmp_path)
    with pytest.raises(UserError) as caught:
        load(spec, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "Traceback" not in message
    for part in named:
        assert part in message
    assert message.split(";")[-1].strip(), "what to do comes after the semicolon"
    assert ";" in message
    assert snapshot(tmp_path) == before


def test_unreadable_file():
    with tempfile.TemporaryDirectory() as place:  # tmp_path lies in a folder that others may not enter
        os.chmod(place, 0o755)
        root = folder(Path(place) / "data")
        os.chmod(root / "images/1.png", 0)
        was = os.geteuid()
        if was == 0:  # root may read everything
            os.seteuid(65534)
        try:
            with pytest.raises(UserError, match=r"images/1\.png: no permission to read it; .*chmod"):
                load(root)
        finally:
            os.seteuid(was)


def test_broken_file_found_late_is_named_too(tmp_path, monkeypatch):
    """Where a set is too large to be read through first, the error comes when the file is decoded."""
    from jaxgen.data import folder as module

    monkeypatch.setattr(module, "CHECK_BYTES", 0)
    cut(folder(tmp_path / "data") / "images/1.png")
    splits = load(tmp_path / "data")
    with pytest.raises(UserError, match=r"images/1\.png"):
        [split[i] for split in splits[:3] for i in range(len(split))]


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("name", ["nowhere.png", "folder.png", "a.xyz"])
def test_single_files(read, name, tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "a.xyz").write_text("hello")
    with pytest.raises(UserError, match=name) as caught:
        read(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_is_unpickled(tmp_path):
    """A pickle that would write a file if it were ever loaded."""

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    (tmp_path / "data").mkdir()
    objects = np.array([Trap()] * 6, dtype=object)
    path = npz(tmp_path / "data", images=objects)
    with pytest.raises(UserError, match="never unpickled"):
        load(path)
    path = npz(tmp_path / "data", notes=objects)  # beside good arrays it is not touched
    assert len(load(path).train) == 4
    assert not (tmp_path / "sprung").exists()
    np.load(path, allow_pickle=True)["notes"]
    assert (tmp_path / "sprung").exists()


def test_two_foreground_values_are_found_whichever_thread_is_first(tmp_path, monkeypatch):
    """Only two masks mark anything, and both are decoded at once."""
    import threading

    from jaxgen.data import folder as module

    root = folder(tmp_path / "data", n=4)
    for i, value in enumerate((255, 2, 0, 0)):
        png(root / f"masks/{i}.png", BLOB * value)
    both, read = threading.Barrier(2, timeout=20), module.read_mask

    def together(path):
        mask = read(path)
        if mask.any():
            both.wait()
        return mask

    monkeypatch.setattr(module, "_threads", lambda: 2)
    monkeypatch.setattr(module, "read_mask", together)
    with pytest.raises(UserError, match=r"masks/1\.png: foreground has the value 2, but in .*masks/0\.png it is 255"):
        load(root)
