"""Folders, npz files and TFDS names through the one door, `load`."""

import sys
import unicodedata

import nibabel
import numpy as np
import PIL.Image
import pytest

from jaxgen.data import folder as folder_module
from jaxgen.data import load
from jaxgen.data import tfds as tfds_module
from jaxgen.data.source import patients_of
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)
BLOB = np.zeros((8, 10), np.uint8)
BLOB[2:5, 3:7] = 1


def put(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    else:
        PIL.Image.fromarray(array).save(path)


def pixels():
    return RNG.integers(0, 256, (8, 10), dtype=np.uint8)


def examples(split):
    return {name: split[i] for i, name in enumerate(split.names)}


def everything(splits):
    return {name: example for split in splits[:3] for name, example in examples(split).items()}


@pytest.mark.parametrize(
    ("wants", "form"),
    [
        (("image",), "a folder of images, or an npz"),
        (("image", "mask"), "a folder with images/ and masks/, or an npz"),
        (("image", "label"), "a folder with a subfolder of images for each class, or an npz"),
        (("image", "masks"), "give a data set's name or an npz"),
    ],
)
def test_data_that_are_not_there_are_answered_with_what_the_task_takes(wants, form):
    for spec in ("nothere", ""):
        with pytest.raises(UserError, match=form.removeprefix("give ")) as caught:
            load(spec, wants=wants)
        assert "give" in str(caught.value)
        assert ("masks/" in str(caught.value)) == ("mask" in wants)


def test_folder_pairs_by_stem_across_formats(tmp_path):
    content = {f"n{i}": (pixels(), RNG.permutation(BLOB.ravel()).reshape(8, 10)) for i in range(12)}
    for i, (name, (image, mask)) in enumerate(content.items()):
        put(tmp_path / "images" / f"{name}{('.png', '.TIF', '.npy')[i % 3]}", image)
        put(tmp_path / "masks" / f"{name}{('.npy', '.png')[i % 2]}", mask)
    (tmp_path / "images" / ".DS_Store").write_text("")
    (tmp_path / "masks" / "Thumbs.db").write_text("")
    splits = load(tmp_path)
    assert [len(s) for s in splits[:3]] == [8, 2, 2]
    found = everything(splits)
    assert found.keys() == content.keys()
    for name, (image, mask) in content.items():
        assert (found[name]["image"][..., 0] == image).all()
        assert (found[name]["mask"] == mask).all()
        assert found[name]["mask"].dtype == np.uint8
    assert splits.origin == f"folder {tmp_path}"


def test_binary_masks_become_0_and_1(tmp_path):
    for i in range(4):
        put(tmp_path / f"images/{i}.png", pixels())
        put(tmp_path / f"masks/{i}.png", BLOB * 255 * (i > 0))
    masks = [e["mask"] for e in everything(load(tmp_path)).values()]
    assert sorted({v for m in masks for v in np.unique(m)}) == [0, 1]
    assert sorted({int(v) for e in everything(load(tmp_path, foreground=None)).values() for v in e["mask"].flat}) == [
        0,
        255,
    ]


def test_choice_of_foreground(tmp_path):
    labels = (np.arange(80) % 7).astype(np.uint8).reshape(8, 10)
    for i in range(3):
        put(tmp_path / f"images/{i}.png", pixels())
        put(tmp_path / f"masks/{i}.png", labels)
    for foreground, expected in (("any", labels > 0), (3, labels == 3), ("3", labels == 3), (None, labels)):
        assert (load(tmp_path, foreground=foreground).train[0]["mask"] == expected).all()


def test_names_of_any_script(tmp_path):
    for name in ("細胞 1", "Ядро", "خلية", "é", "a\u0301b"):
        put(tmp_path / "images" / f"{unicodedata.normalize('NFD', name)}.png", pixels())
        put(tmp_path / "masks" / f"{unicodedata.normalize('NFC', name)}.png", BLOB)
    assert len(everything(load(tmp_path))) == 5


def test_a_blank_image_with_nothing_marked_is_data(tmp_path):
    for i in range(4):
        put(tmp_path / f"images/{i}.png", pixels() * (i > 0))
        put(tmp_path / f"masks/{i}.png", BLOB * (i > 0))
    assert not everything(load(tmp_path))["0"]["image"].any()


def test_split_folders(tmp_path):
    for split, count in (("train", 9), ("val", 2), ("test", 3)):
        for i in range(count):
            put(tmp_path / split / f"images/{i}.png", pixels())
            put(tmp_path / split / f"masks/{i}.png", BLOB)
    splits = load(tmp_path)
    assert [len(s) for s in splits[:3]] == [9, 2, 3]
    assert splits.validation.names == ["val/0", "val/1"]


def test_a_split_that_is_missing_comes_from_train(tmp_path):
    for split, count in (("train", 20), ("test", 3)):
        for i in range(count):
            put(tmp_path / split / f"images/{i}.png", pixels())
            put(tmp_path / split / f"masks/{i}.png", BLOB)
    splits = load(tmp_path)
    assert [len(s) for s in splits[:3]] == [17, 3, 3]
    assert not set(splits.train.names) & set(splits.validation.names)


def test_lists_and_patients(tmp_path):
    for i in range(8):
        put(tmp_path / f"images/{i}.png", pixels())
        put(tmp_path / f"masks/{i}.png", BLOB)
    (tmp_path / "patients.csv").write_text("name,patient\n" + "".join(f"{i}.png,{i // 2}\n" for i in range(8)))
    splits = load(tmp_path)
    owners = [{int(name) // 2 for name in s.names} for s in splits[:3]]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 4
    (tmp_path / "train.txt").write_text("5.png\n3\n\n")
    (tmp_path / "valid.txt").write_text("0")
    (tmp_path / "test.txt").write_text("7\n6")
    assert [list(s.names) for s in load(tmp_path)[:3]] == [["3", "5"], ["0"], ["6", "7"]]


def test_images_alone_need_no_folder_of_their_own(tmp_path):
    for i in range(3):
        put(tmp_path / f"{i}.png", pixels())
    splits = load(tmp_path, wants=("image",))
    assert set(splits.train[0]) == {"image"}


def volumes(tmp_path, n=4):
    content = {}
    for i in range(n):
        image = RNG.normal(size=(8, 10, 3 + i)).astype(np.float32)
        mask = (image > 0.5).astype(np.uint8)
        content[f"v{i}"] = (image, mask)
        put(tmp_path / f"images/v{i}.nii.gz", image)
        put(tmp_path / f"masks/v{i}.nii", mask)
    return content


def test_volumes(tmp_path):
    content = volumes(tmp_path)
    found = everything(load(tmp_path, spatial=3))
    for name, (image, mask) in content.items():
        assert (found[name]["image"][..., 0] == image).all()
        assert (found[name]["mask"] == mask).all()


@pytest.mark.parametrize("cache", [0, 2**30])
def test_volumes_slice_by_slice(tmp_path, monkeypatch, cache):
    monkeypatch.setattr(folder_module, "CACHE_BYTES", cache)
    content = volumes(tmp_path)
    splits = load(tmp_path, spatial=2, slices=True)
    found = everything(splits)
    assert len(found) == 3 + 4 + 5 + 6
    for name, (image, mask) in content.items():
        for z in range(image.shape[2]):
            assert (found[f"{name}[{z}]"]["image"][..., 0] == image[:, :, z]).all()
            assert (found[f"{name}[{z}]"]["mask"] == mask[:, :, z]).all()
    owners = [{name.split("[")[0] for name in s.names} for s in splits[:3]]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 4, "a volume is in one split only"


def test_slices_are_axial_whatever_the_storage(tmp_path):
    affine = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # axis 1 runs to the head
    for i in range(3):
        put(tmp_path / f"images/{i}.nii", RNG.normal(size=(4, 5, 6)).astype(np.float32))
        image = nibabel.load(tmp_path / f"images/{i}.nii").get_fdata().astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / f"images/{i}.nii")
    splits = load(tmp_path, wants=("image",), slices=True)
    assert splits.train[0]["image"].shape == (4, 6, 1)
    assert sum(len(s) for s in splits[:3]) == 15


def test_a_large_folder_is_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "CHECK_BYTES", 0)
    for i in range(6):
        put(tmp_path / f"images/{i}.png", pixels())
        put(tmp_path / f"masks/{i}.png", BLOB)
    reads = []
    read = folder_module.read_image
    monkeypatch.setattr(folder_module, "read_image", lambda path: (reads.append(path), read(path))[1])
    splits = load(tmp_path)
    assert reads == [], "opening decodes nothing"
    splits.train[0]
    splits.train[0]
    assert len(reads) == 2, "and nothing is kept"


def save_npz(tmp_path, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


def test_npz(tmp_path):
    images = RNG.integers(0, 256, (20, 8, 10), dtype=np.uint8)
    masks = (images > 99).astype(np.uint8) * 255
    path = save_npz(tmp_path, images=images, masks=masks, notes=np.array(["x"] * 20))
    found = everything(load(path))
    for i in range(20):
        assert (found[str(i)]["image"][..., 0] == images[i]).all()
        assert (found[str(i)]["mask"] == (masks[i] > 0)).all()
    assert [len(s) for s in load(path)[:3]] == [14, 3, 3]


@pytest.mark.parametrize(
    ("images", "masks", "shape", "options"),
    [
        ((6, 8, 10, 3), (6, 8, 10), (8, 10, 3), {}),
        ((6, 8, 10, 5), (6, 8, 10), (8, 10, 5), {}),
        ((6, 8, 10, 5), (6, 8, 10, 5), (8, 10, 5, 1), {}),
        ((6, 8, 10, 5, 2), (6, 8, 10, 5), (8, 10, 5, 2), {}),
        ((6, 8, 10, 3), None, (8, 10, 3), {}),
        ((6, 8, 10, 7), None, (8, 10, 7, 1), {}),
        ((6, 8, 10, 7), None, (8, 10, 7), {"spatial": 2}),
        ((6, 8, 10, 3), None, (8, 10, 3, 1), {"spatial": 3}),
    ],
)
def test_npz_shapes(tmp_path, images, masks, shape, options):
    arrays = {"images": RNG.normal(size=images)}
    if masks is not None:
        arrays["masks"] = RNG.integers(0, 2, masks)
    splits = load(save_npz(tmp_path, **arrays), wants=("image",) if masks is None else ("image", "mask"), **options)
    assert splits.train[0]["image"].shape == shape
    if masks is not None:
        assert splits.train[0]["mask"].shape == shape[:-1]


def test_npz_of_several_raters(tmp_path):
    images = RNG.integers(0, 256, (6, 8, 10), dtype=np.uint8)
    masks = RNG.integers(0, 2, (6, 4, 8, 10))
    path = save_npz(tmp_path, images=images, masks=masks)
    found = everything(load(path, wants=("image", "masks", "mask")))
    for i in range(6):
        assert (found[str(i)]["masks"] == masks[i]).all()
        assert (found[str(i)]["mask"] == (masks[i].sum(0) >= 2)).all()
    assert "masks" not in load(path).train[0]
    assert "masks" in load(path, optional=("masks",)).train[0]


def test_npz_instances(tmp_path):
    images = RNG.integers(0, 256, (6, 8, 10), dtype=np.uint8)
    instances = RNG.integers(0, 40, (6, 8, 10), dtype=np.uint8)
    path = save_npz(tmp_path, images=images, instances=instances)
    example = everything(load(path, optional=("instances",)))["2"]
    assert (example["mask"] == (instances[2] > 0)).all()
    assert (example["instances"] == instances[2]).all()


def test_npz_splits_and_patients(tmp_path):
    images = RNG.integers(0, 256, (8, 8, 10), dtype=np.uint8)
    split = np.array(["val", "train", "test", "train", "test", "train", "train", "train"])
    splits = load(save_npz(tmp_path, images=images, split=split), wants=("image",))
    assert [list(s.names) for s in splits[:3]] == [["1", "3", "5", "6", "7"], ["0"], ["2", "4"]]
    splits = load(save_npz(tmp_path, images=images, patient=np.arange(8) // 2), wants=("image",))
    owners = [{int(name) // 2 for name in s.names} for s in splits[:3]]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 4


def test_npz_volumes_slice_by_slice(tmp_path):
    volumes = RNG.normal(size=(6, 8, 10, 5)).astype(np.float32)
    masks = (volumes > 0).astype(np.uint8)
    found = everything(load(save_npz(tmp_path, volume=volumes, label=masks), slices=True, spatial=2))
    assert len(found) == 30
    for i in range(6):
        for z in range(5):
            assert (found[f"{i}[{z}]"]["image"][..., 0] == volumes[i, :, :, z]).all()
            assert (found[f"{i}[{z}]"]["mask"] == masks[i, :, :, z]).all()


def tiny_builder(tfds, splits, mask, text):
    """A TFDS data set as others publish them: image [h, w, 1], segmentation_mask, label, and a text for each image."""

    class TinyTestSet(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Tensor(shape=(8, 10, 1), dtype=np.uint8),
                "segmentation_mask": tfds.features.Tensor(shape=(8, 10, 1), dtype=np.uint8),
                "label": tfds.features.ClassLabel(names=["cyst", "none", "tumour"]),
            } | {name: tfds.features.Text() for name in text}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(name, n) for name, n in splits.items()}

        def _generate_examples(self, split, n):
            for i in range(n):
                example = {"image": pixels()[..., None], "segmentation_mask": mask(i)[..., None], "label": i % 3}
                yield i, example | {name: value(split, i) for name, value in text.items()}

    return TinyTestSet


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def prepare(mask=lambda i: BLOB * 9, text=None, **splits):
        with tfds.core.registered.skip_registration():
            builder = tiny_builder(tfds, splits, mask, text or {})(data_dir=tmp_path, file_format="array_record")
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=1))
        monkeypatch.setattr(tfds_module, "tfds_names", lambda: ("tiny_test_set",))
        monkeypatch.setattr("jaxgen.data.loading.tfds_names", lambda: ("tiny_test_set",))
        monkeypatch.setattr(tfds, "builder", lambda name, **kwargs: builder)

    return prepare


def test_other_tfds_sets(tiny):
    tiny(train=20, test=4)
    splits = load("tiny_test_set", wants=("image", "mask", "label"))
    assert [len(s) for s in splits[:3]] == [17, 3, 4]
    assert splits.label_names == ("cyst", "none", "tumour")
    example = splits.test[0]
    assert example["image"].shape == (8, 10, 1)
    assert (example["mask"] == BLOB).all()
    assert 0 <= example["label"] < 3
    assert splits.train.names[0].startswith("tiny_test_set/train[")
    assert "tensorflow" not in sys.modules


def test_patients_of_tfds_sets(tiny):
    tiny(train=12, test=4, text={"patient_id": lambda split, i: f"{split} {i // 3}"})
    splits = load("tiny_test_set", wants=("image",))
    held = [set(patients_of(part)) for part in splits[:3]]
    assert sum(map(len, held)) == len(set.union(*held)) == 6
    assert [len(part) for part in splits[:3]] == [9, 3, 4]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            {"patient": lambda split, i: f"p{i}"},
            r"patient p\d is in train \(tiny_test_set/train\[\d+\]\).*4 patients are",
        ),
        (
            {"image_id": lambda split, i: split + str(i) if i else "x"},
            "image x is in train and in test, 1 image is",
        ),
        ({"subject_id": lambda split, i: split if i else ""}, "no patient for 2 of 16 images"),
    ],
)
def test_tfds_sets_whose_splits_share_something(tiny, text, says):
    tiny(train=12, test=4, text=text)
    with pytest.raises(UserError, match=f"--data tiny_test_set: .*{says}|--data tiny_test_set has {says}"):
        load("tiny_test_set", wants=("image",))


def label_map(i=0):
    """Three labels on background, of which one is in one image only."""
    values = np.array([0, 1, 3, 250 if i == 2 else 1], np.uint8)
    return np.resize(values, (8, 10))


def save_label_maps(tmp_path, form, tiny):
    """The same label maps in each form of data; returns the --data value."""
    n = 9
    if form == "tfds":
        tiny(mask=label_map, train=n)
        return "tiny_test_set"
    if form == "npz":
        maps = np.stack([label_map(i) for i in range(n)])
        return save_npz(tmp_path, images=np.stack([pixels() for _ in range(n)]), masks=maps)
    for i in range(n):
        put(tmp_path / f"images/{i}.png", pixels())
        put(tmp_path / f"masks/{i}.png", label_map(i))
    return tmp_path


@pytest.mark.parametrize("form", ["folder", "npz", "tfds"])
@pytest.mark.parametrize("whole", [2**28, 0])
def test_a_label_as_the_foreground(form, whole, tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(folder_module, "CHECK_BYTES", whole)
    data = save_label_maps(tmp_path, form, tiny)
    for foreground in (3, "3", " 3", np.int64(3)):
        for example in everything(load(data, foreground=foreground)).values():
            assert (example["mask"] == (label_map() == 3)).all()
    found = [example["mask"].sum() for example in everything(load(data, foreground="250")).values()]
    assert sorted(found) == [0] * 8 + [20]
    assert all((e["mask"] == (label_map() > 0)).all() for e in everything(load(data, foreground="any")).values())
    with pytest.raises(UserError, match=r"--foreground 2: no mask of .* \(they have 0, 1, 3, 250\); choose"):
        load(data, foreground=2)
    with pytest.raises(UserError, match=r"--foreground tumour: not a choice, for .* does not name its labels"):
        load(data, foreground="tumour")
    for wrong in (0, -1, "1.5", "", "0", 2.5, "-", "2-3"):
        with pytest.raises(UserError, match=r"--foreground .*not a choice; use binary, any, or a whole number from 1"):
            load(data, foreground=wrong)
    if form != "tfds" and whole:
        with pytest.raises(UserError, match=r"values .*--foreground"):
            load(data)


def test_labels_of_an_npz_by_name(tmp_path):
    maps = np.stack([np.resize(np.array([0, 1, 2], np.uint8), (8, 10))] * 6)
    images = np.stack([pixels() for _ in range(6)])
    path = save_npz(tmp_path, images=images, label=maps, label_names=np.array(["background", "anterior", "posterior"]))
    assert (load(path, foreground="posterior").train[0]["mask"] == (maps[0] == 2)).all()
    with pytest.raises(UserError, match=r"no label of .* is called so; use .* anterior \(1\), posterior \(2\)"):
        load(path, foreground="tail")
    path = save_npz(tmp_path, images=images, masks=maps, labels=np.arange(6) % 2, label_names=np.array(["ill", "well"]))
    with pytest.raises(UserError, match="does not name its labels"):
        load(path, foreground="well")


def test_objects_that_are_numbered_are_all_foreground(tmp_path):
    path = save_npz(tmp_path, images=np.stack([pixels() for _ in range(6)]), instances=np.stack([BLOB * 5] * 6))
    for data in (path, "nuclei_dsb2018"):
        with pytest.raises(UserError, match=r"--foreground 2: .* numbers objects"):
            load(data, foreground=2).train[0]
    with pytest.raises(
        UserError, match=r"--foreground 2: no mask of --data brain_phantom has this value \(they have 0, 1\)"
    ):
        load("brain_phantom", foreground=2)


def test_binary_masks_of_a_tfds_set_have_one_value(tiny):
    tiny(mask=lambda i: BLOB * (1 + i % 2), train=9)
    splits = load("tiny_test_set")
    with pytest.raises(UserError, match=r"foreground has the value .*--foreground any"):
        [splits.train[i] for i in range(len(splits.train))]


def test_patients_of_dicom_files(tmp_path):
    pydicom = pytest.importorskip("pydicom")

    def dicom(path, patient):
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        data = pydicom.Dataset()
        data.file_meta, data.PatientID, array = meta, patient, pixels()
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.Rows, data.Columns = array.shape
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.PixelData = array.tobytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(path, enforce_file_format=True)

    for i in range(9):
        dicom(tmp_path / f"drawn/images/{i}.dcm", f"p{i // 3}")
        dicom(tmp_path / f"anonymous/images/{i}.dcm", "ANON")
        dicom(tmp_path / "given" / ("train", "val", "test")[i // 3] / f"images/{i}.dcm", f"p{i % 4}")
        dicom(tmp_path / f"series/images/scan {i}/slice 1", f"p{i // 3}")
    for name in ("drawn", "series"):
        held = [set(patients_of(part)) for part in load(tmp_path / name, wants=("image",))[:3]]
        assert sum(map(len, held)) == len(set.union(*held)) == 3
    assert patients_of(load(tmp_path / "anonymous", wants=("image",)).train) is None
    with pytest.raises(UserError, match=r"patient p0 is in train .* and in val"):
        load(tmp_path / "given", wants=("image",))
    (tmp_path / "given/patients.csv").write_text("".join(f"{i},q{i}\n" for i in range(9)))
    assert len(load(tmp_path / "given", wants=("image",)).train) == 3


def test_tfds_set_without_what_is_wanted(tiny):
    tiny(train=5)
    with pytest.raises(UserError, match="--data tiny_test_set: has no masks"):
        load("tiny_test_set", wants=("image", "masks"))


def test_tfds_set_that_cannot_be_prepared(monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def fail(name, **kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(tfds, "builder", fail)
    with pytest.raises(UserError, match=r"--data mnist: could not be prepared .*no route.*tfds build mnist"):
        load("mnist")


def test_unknown_entries_are_a_mistake_in_the_program(tmp_path):
    with pytest.raises(ValueError, match="colour"):
        load(tmp_path, wants=("image", "colour"))


@pytest.mark.parametrize(
    ("images", "masks", "options"),
    [
        ((6, 3, 28, 28), None, {"spatial": 2}),
        ((6, 1, 28, 28), None, {"spatial": 2}),
        ((6, 1, 28, 28), None, {}),
        ((6, 3, 28, 28), None, {"spatial": 3}),
        ((6, 1, 28, 28), None, {"spatial": 2, "slices": True}),
        ((6, 2, 20, 30), None, {"spatial": 2}),
        ((6, 12, 28, 28), None, {"spatial": 2}),
        ((6, 1, 28, 28), (6, 28, 28), {"spatial": 2}),
        ((6, 3, 20, 30), (6, 1, 20, 30), {"spatial": 2}),
        ((6, 1, 28, 28), (6, 1, 28, 28), {}),
        ((6, 5, 20, 30), (6, 20, 30), {}),
        ((6, 1, 8, 20, 20), None, {"spatial": 3}),
        ((6, 2, 8, 20, 20), (6, 8, 20, 20), {}),
        ((6, 1, 8, 20, 20), (6, 1, 8, 20, 20), {"spatial": 2, "slices": True}),
        ((6, 6, 8, 20, 20), None, {}),
    ],
)
@pytest.mark.parametrize("name", ["images", "train_images"])
def test_npz_with_channels_first_is_refused_with_the_fix(tmp_path, images, masks, options, name):
    arrays = {name: RNG.normal(size=images)}
    if masks is not None:
        arrays[name.replace("images", "masks")] = RNG.integers(0, 2, masks)
    path = save_npz(tmp_path, **arrays)
    wants = ("image",) if masks is None else ("image", "mask")
    with pytest.raises(UserError, match=rf"a\.npz: `{name}` has size .*channels first") as caught:
        load(path, wants=wants, **options)
    assert f"np.moveaxis({name}, 1, -1)" in str(caught.value)
    assert "--slices" not in str(caught.value)
    arrays[name] = np.moveaxis(arrays[name], 1, -1)
    if masks is not None and masks[1] == 1:
        masks_name = name.replace("images", "masks")
        assert f"{masks_name}[:, 0]" in str(caught.value)
        arrays[masks_name] = arrays[masks_name][:, 0]
    if not options.get("slices") or len(images) == 5:
        found = load(save_npz(tmp_path, **arrays), wants=wants, **options).train[0]
        assert found["image"].shape[:2] == images[2:4]


@pytest.mark.parametrize(
    ("images", "masks", "shape", "options"),
    [
        ((6, 28, 28, 3), None, (28, 28, 3), {"spatial": 2}),
        ((6, 28, 28, 1), None, (28, 28, 1), {"spatial": 2}),
        ((6, 28, 28, 1), (6, 28, 28, 1), (28, 28, 1), {"spatial": 2}),
        ((6, 28, 28, 1), (6, 28, 28), (28, 28, 1), {}),
        ((6, 3, 28, 3), None, (3, 28, 3), {"spatial": 2}),
        ((6, 20, 28, 7), None, (20, 28, 7), {"spatial": 2}),
        ((6, 12, 28, 28), None, (12, 28, 28, 1), {"spatial": 3}),
        ((6, 28, 28, 3), None, (28, 28, 3, 1), {"spatial": 3}),
        ((6, 28, 28, 12), (6, 28, 28, 12), (28, 28, 12, 1), {}),
        ((6, 20, 20, 8, 1), None, (20, 20, 8, 1), {"spatial": 3}),
        ((6, 20, 20, 8, 30), None, (20, 20, 8, 30), {"spatial": 3}),
        ((6, 3, 4), None, (3, 4, 1), {"spatial": 2}),
    ],
)
def test_npz_that_only_looks_like_channels_first(tmp_path, images, masks, shape, options):
    arrays = {"images": RNG.normal(size=images)}
    if masks is not None:
        arrays["masks"] = RNG.integers(0, 2, masks)
    example = load(save_npz(tmp_path, **arrays), wants=("image",) if masks is None else ("image", "mask"), **options)
    assert example.train[0]["image"].shape == shape
    if masks is not None:
        assert example.train[0]["mask"].shape == shape[:-1]


@pytest.mark.parametrize(
    ("shape", "slices"),
    [((6, 28, 1, 28), True), ((6, 28, 1, 28, 1), False), ((6, 1, 28, 28, 1), False), ((6, 1, 28, 28, 1), True)],
)
def test_slices_of_one_row_are_never_advised_nor_taken(tmp_path, shape, slices):
    path = save_npz(tmp_path, images=RNG.normal(size=shape))
    with pytest.raises(UserError, match=r"a\.npz: `images`") as caught:
        load(path, wants=("image",), spatial=2, slices=slices)
    assert "--slices" not in str(caught.value)


def test_volumes_without_masks_are_taken_slice_by_slice(tmp_path):
    volumes = RNG.normal(size=(6, 28, 20, 12))
    found = everything(load(save_npz(tmp_path, images=volumes), wants=("image",), spatial=2, slices=True))
    np.testing.assert_array_equal(found["2[5]"]["image"][..., 0], volumes[2, :, :, 5].astype(np.float32))


def test_slices_are_advised_where_they_help(tmp_path):
    path = save_npz(tmp_path, images=RNG.normal(size=(6, 28, 28, 12, 1)))
    with pytest.raises(UserError, match="add --slices"):
        load(path, wants=("image",), spatial=2)
    assert load(path, wants=("image",), spatial=2, slices=True).train[0]["image"].shape == (28, 28, 1)


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 28, 28), (2, 8, 20, 20)])
def test_npy_with_channels_first_is_refused_with_the_fix(tmp_path, shape):
    array = RNG.normal(size=shape)
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", array + i)
    with pytest.raises(UserError, match=r"0\.npy: array of size .*np\.moveaxis\(array, 0, -1\)"):
        load(tmp_path, wants=("image",))
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.moveaxis(array + i, 0, -1))
    assert load(tmp_path, wants=("image",)).train[0]["image"].shape == (*shape[1:], shape[0])


@pytest.mark.parametrize("shape", [(10, 8, 8, 28), (10, 28, 28, 28), (10, 40, 24, 20), (10, 155, 24, 24)])
def test_npz_volumes_are_not_taken_for_many_channels(tmp_path, shape):
    path = save_npz(tmp_path, images=np.random.default_rng(0).integers(0, 255, shape, np.uint8))
    with pytest.raises(UserError, match=rf"{shape[-1]} channels, of which at most 16 are read; add --slices"):
        load(path, wants=("image",), spatial=2)
    assert load(path, wants=("image",), spatial=2, slices=True).train[0]["image"].shape == (*shape[1:3], 1)
    assert load(path, wants=("image",), spatial=3).train[0]["image"].shape == (*shape[1:], 1)


@pytest.mark.parametrize("shape", [(10, 5, 32, 32), (10, 16, 32, 32), (10, 10, 20, 20)])
@pytest.mark.parametrize("masked", [True, False])
def test_npz_slices_first_are_not_cut_across(tmp_path, shape, masked):
    images = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    path = save_npz(tmp_path, images=images, **({"masks": images % 2} if masked else {}))
    with pytest.raises(UserError, match=r"slices first\); save it with them last: np.moveaxis\(images, 1, -1\)"):
        load(path, wants=("image",), optional=("mask",), spatial=2, slices=True)
    assert load(path, wants=("image",), spatial=3).train[0]["image"].shape == (*shape[1:], 1)


@pytest.mark.parametrize("shape", [(10, 8, 9), (10, 8, 9, 5), (10, 8, 9, 3)])
def test_npz_masks_with_a_last_axis_of_one(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    masks = images[..., :1] if images.ndim == 4 and shape[-1] < 5 else images[..., None]
    spatial = 3 if shape[-1] == 5 else 2
    splits = load(save_npz(tmp_path, images=images, masks=masks % 2), foreground="any", spatial=spatial)
    i = int(splits.train.names[0])
    assert np.array_equal(splits.train[0]["mask"], masks[i, ..., 0] % 2)


@pytest.mark.parametrize("shape", [(10, 8, 9), (10, 28, 28), (10, 3, 64)])
def test_npz_pictures_where_volumes_are_wanted(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    with pytest.raises(UserError, match=r"has 2 spatial axes .*, but 3 are wanted; give volumes"):
        load(save_npz(tmp_path, images=images), wants=("image",), spatial=3)


def test_npz_parts_that_share_an_image_can_be_joined(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (10, 8, 8), np.uint8)
    path = save_npz(tmp_path, train_images=images, test_images=images[3:5])
    with pytest.raises(UserError, match=r"2 images are in several splits; .* join all parts as `images`"):
        load(path, wants=("image",))
