"""What must stay in one split: patients, names and equal images, in every kind of data and of given split."""

import csv

import numpy as np
import PIL.Image
import pytest

from jaxgen.data import folder as folder_module
from jaxgen.data import load
from jaxgen.data.groups import as_texts, digest, identities, join, same_files
from jaxgen.data.labels import split_by_class
from jaxgen.data.source import patients_of
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)
SPLITS = ["train"] * 5 + ["validation"] * 2 + ["test"] * 2
PARTS = {"train": slice(0, 5), "val": slice(5, 7), "test": slice(7, 9)}


def some_images(n=9, size=16):
    return RNG.integers(0, 255, (n, size, size)).astype(np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)


def build(root, layout, images, *, patients=None, names=None):
    """The same data in a given split, laid out in one of the ways that say it; returns the --data value."""
    stems = [f"im{i}" for i in range(len(images))]
    arrays = {"patient": patients, "names": names}
    arrays = {name: np.array(value) for name, value in arrays.items() if value is not None}
    if layout == "split":
        np.savez(root / "a.npz", images=images, split=np.array(SPLITS), **arrays)
        return root / "a.npz"
    if layout == "parts":
        whole = {"images": images, **arrays}
        np.savez(root / "a.npz", **{f"{p}_{k}": v[chosen] for p, chosen in PARTS.items() for k, v in whole.items()})
        return root / "a.npz"
    for stem, image, split in zip(stems, images, SPLITS, strict=True):
        save(root / (split if layout == "folders" else "") / f"images/{stem}.png", image)
    if layout == "lists":
        for split in set(SPLITS):
            named = [stem for stem, of in zip(stems, SPLITS, strict=True) if of == split]
            (root / f"{split}.txt").write_text("\n".join(named))
    if patients is not None:
        with open(root / "patients.csv", "w", newline="") as file:
            csv.writer(file).writerows([("name", "patient"), *zip(stems, patients, strict=True)])
    return root


LAYOUTS = ("folders", "lists", "split", "parts")


def refused(spec, **options):
    with pytest.raises(UserError) as caught:
        load(spec, wants=("image",), **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert ";" in message
    return message


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("patients", "says"),
    [
        (["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p0"], ("patient p0 is in train", "in test", "1 patient is")),
        (["a", "b", "c", "d", "e", "c", "f", "g", "e"], ("in several splits", "2 patients are")),
        (["a", "b", "c", "d", "e", "f", "g", "f", "h"], ("patient f is in validation", "in test")),
        (["A 1", "b", "c", "d", "e", "f", "g", " a  1", "h"], ("patient A 1 is in train",)),
    ],
)
def test_a_given_split_that_shares_patients_is_refused(layout, patients, says, tmp_path):
    message = refused(build(tmp_path, layout, some_images(), patients=patients))
    for part in (*says, "keep each patient in one split"):
        assert part in message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_given_split_that_shares_nothing_is_taken_as_it_is(layout, tmp_path):
    patients = ["a", "a", "b", "b", "c", "d", "d", "e", "e"]
    splits = load(build(tmp_path, layout, some_images(), patients=patients), wants=("image",))
    assert [len(part) for part in splits[:3]] == [5, 2, 2]
    assert [sorted(set(patients_of(part))) for part in splits[:3]] == [["a", "b", "c"], ["d"], ["e"]]


@pytest.mark.parametrize(
    "values", [np.arange(9) % 4, (np.arange(9) % 4).astype(float), np.array([b"p0", b"p1", b"p2"] * 3)]
)
@pytest.mark.parametrize("entry", ["patient", "patients", "PatientID", "subject_id", "Case_ID"])
def test_patients_of_any_type_under_any_of_their_names(values, entry, tmp_path):
    np.savez(tmp_path / "a.npz", images=some_images(), split=np.array(SPLITS), **{entry: values})
    assert "patient 0 is in" in refused(tmp_path / "a.npz") or "patient p0 is in" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_given_split_that_shares_an_image_is_refused(layout, tmp_path):
    images = some_images()
    images[8] = images[1]
    message = refused(build(tmp_path, layout, images))
    assert "pixel for pixel, 1 image is in several splits" in message
    assert "of test is the image" in message
    assert "of train" in message


def test_the_same_image_in_two_formats_and_in_colour(tmp_path):
    images = some_images(6)
    for i, image in enumerate(images[:4]):
        save(tmp_path / f"train/images/{i}.png", image)
    save(tmp_path / "val/images/4.png", images[4])
    (tmp_path / "test/images").mkdir(parents=True)
    np.save(tmp_path / "test/images/other.npy", images[2].astype(np.float64))
    assert "test/other of test is the image train/2 of train" in refused(tmp_path)
    (tmp_path / "test/images/other.npy").unlink()
    save(tmp_path / "test/images/other.tif", np.stack([images[3]] * 3, -1))
    assert "test/other of test is the image train/3 of train" in refused(tmp_path)


def test_a_large_folder_is_compared_by_its_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "CHECK_BYTES", 0)
    images = some_images()
    images[8] = images[1]
    images[[2, 7]] = 5  # blank
    assert "test/im8 of test is the image train/im1 of train" in refused(build(tmp_path, "folders", images))


def test_blank_images_are_no_shared_image(tmp_path):
    for layout in LAYOUTS:
        images = some_images()
        images[[1, 6, 8]] = 0
        (tmp_path / layout).mkdir()
        assert len(load(build(tmp_path / layout, layout, images), wants=("image",)).train) == 5


@pytest.mark.parametrize("layout", ["split", "parts"])
@pytest.mark.parametrize("entry", ["names", "image_id"])
def test_a_given_split_that_shares_a_name_is_refused(layout, entry, tmp_path):
    names = [f"case{i % 8}" for i in range(9)]
    path = build(tmp_path, layout, some_images(), names=names)
    if entry == "image_id":
        with np.load(path) as file:
            arrays = {name.replace("names", "image_id"): file[name] for name in file.files}
        np.savez(path, **arrays)
    assert "image case0 is in train and in test, 1 image is" in refused(path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"image_id": [f"case{i // 3}" for i in range(30)]},
        {"names": [f"case{i // 3}" for i in range(30)]},
        {"names": [f"slice{i}" for i in range(30)], "image_id": [i // 3 for i in range(30)]},
        {"patient_id": [float(i // 3) for i in range(30)], "names": [f"slice{i}" for i in range(30)]},
        {"names": [f"case{i // 3}[{i % 3}]" for i in range(30)]},
        {"names": [f"case{i // 3}" for i in range(30)], "labels": [i % 3 for i in range(30)]},
        {"names": [f"case{i // 3}" for i in range(30)], "labels": [i // 3 % 2 for i in range(30)]},
    ],
)
@pytest.mark.parametrize("wants", [("image",), ("image", "label")])
def test_repeated_names_are_groups(arrays, wants, tmp_path):
    if "label" in wants and "labels" not in arrays:
        arrays = {**arrays, "labels": [i // 3 % 2 for i in range(30)]}
    images = some_images(30)
    np.savez(tmp_path / "a.npz", images=images, **{name: np.array(value) for name, value in arrays.items()})
    splits = load(tmp_path / "a.npz", wants=wants)
    index = {image.tobytes(): i for i, image in enumerate(images)}
    owners = [{index[part[i]["image"][..., 0].tobytes()] // 3 for i in range(len(part))} for part in splits[:3]]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 10
    assert [len(part) for part in splits[:3]] == [3 * len(held) for held in owners]


def test_slices_saved_as_pictures_stay_with_their_volume(tmp_path):
    for i, image in enumerate(some_images(30)):
        save(tmp_path / f"drawn/images/case{i // 3}[{i % 3}].png", image)
        save(
            tmp_path / "given" / ("train", "val", "test")[i % 3] / f"images/case{i // 3 if i < 3 else i}[{i}].png",
            image,
        )
    held = [{name.split("[")[0] for name in part.names} for part in load(tmp_path / "drawn", wants=("image",))[:3]]
    assert sum(map(len, held)) == len(set.union(*held)) == 10
    assert "image case0 is in train and in validation and in test, 1 image is" in refused(tmp_path / "given")


def test_equal_images_stay_together_where_the_split_is_drawn(tmp_path):
    images = some_images(30)
    images[10:20] = images[:10]
    np.savez(tmp_path / "a.npz", images=images)
    for i, image in enumerate(images):
        save(tmp_path / f"folder/images/{i}.png", image)
    for spec in (tmp_path / "a.npz", tmp_path / "folder"):
        splits = load(spec, wants=("image",))
        held = [{digest(part[i]["image"]) for i in range(len(part))} for part in splits[:3]]
        assert sum(map(len, held)) == len(set.union(*held)) == 20
        assert sum(len(part) for part in splits[:3]) == 30


def test_equal_images_with_two_labels_do_not_end_equal_shares(tmp_path):
    """A duplicate with another label (a mistake of labelling) is one group, and the rest is split class by class."""
    labels, images = np.repeat([0, 1], 20), some_images(40)
    images[39] = images[0]
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    splits = load(tmp_path / "a.npz", wants=("image", "label"))
    counts = [np.bincount(part.arrays["label"], minlength=2).tolist() for part in splits[:3]]
    assert [abs(a - b) <= 1 for a, b in counts] == [True] * 3
    assert sum(any(name in ("0", "39") for name in part.names) for part in splits[:3]) == 1


def test_a_split_that_is_missing_is_drawn_by_patient(tmp_path):
    patients = [f"p{i // 4}" for i in range(40)]
    images = some_images(44)
    for i, image in enumerate(images):
        save(tmp_path / ("train" if i < 40 else "test") / f"images/{i}.png", image)
    with open(tmp_path / "patients.csv", "w", newline="") as file:
        csv.writer(file).writerows([*((f"{i}.png", p) for i, p in enumerate([*patients, *["q"] * 4]))])
    np.savez(
        tmp_path / "a.npz",
        train_images=images[:40],
        train_patient=np.arange(40) // 4,
        test_images=images[40:],
        test_patient=np.full(4, 99.0),
    )
    for spec in (tmp_path, tmp_path / "a.npz"):
        if spec.is_dir():
            (spec / "a.npz").rename(tmp_path.parent / "a.npz")
        else:
            (tmp_path.parent / "a.npz").rename(spec)
        splits = load(spec, wants=("image",))
        held = [set(patients_of(part)) for part in splits[:3]]
        assert sum(map(len, held)) == len(set.union(*held)) == 11
        assert len(splits.test) == 4


def test_parts_whose_patients_have_other_types(tmp_path):
    images = some_images(6)
    arrays = {"train_images": images[:4], "val_images": images[4:5], "test_images": images[5:]}
    patients = {
        "train_patient": np.array([1, 2, 3, 4]),
        "val_patient": np.array([5.0]),
        "test_patient": np.array(["3"]),
    }
    np.savez(tmp_path / "a.npz", **arrays, **patients)
    assert "patient 3 is in train (train_images[2]) and in test (test_images[0])" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize("value", [np.nan, "", "NaN", "None"])
def test_patients_known_for_a_part_only(value, tmp_path):
    patients = np.array([1.0] * 8 + [value]) if isinstance(value, float) else np.array(["a"] * 8 + [value])
    np.savez(tmp_path / "a.npz", images=some_images(), patient=patients)
    assert "`patient` has no patient for 1 of 9 images (the first is example 8)" in refused(tmp_path / "a.npz")


def test_tables_of_the_splits_of_a_folder(tmp_path):
    spec = build(tmp_path, "folders", some_images())
    for split in set(SPLITS):
        rows = [f"im{i},{'x' if i in (0, 8) else i}" for i, of in enumerate(SPLITS) if of == split]
        (tmp_path / split / "patients.csv").write_text("\n".join(rows))
    assert "patient x is in train (train/im0) and in test (test/im8)" in refused(spec)
    (tmp_path / "test/patients.csv").unlink()
    assert "has no patient for 2 of 9 images (the first is test/im7)" in refused(spec)


def test_slices_keep_the_patient_of_their_volume(tmp_path):
    volumes = RNG.normal(size=(6, 8, 9, 4)).astype(np.float32)
    np.savez(tmp_path / "a.npz", volumes=volumes, masks=volumes > 0, patient=np.array(list("aabbcc")))
    splits = load(tmp_path / "a.npz", slices=True, spatial=2)
    assert [len(part) for part in splits[:3]] == [8, 8, 8]
    held = [set(patients_of(part)) for part in splits[:3]]
    assert sum(map(len, held)) == 3


def test_too_few_groups_say_what_they_are(tmp_path):
    for arrays, says in (
        ({"patient": list("aaabbbaab")}, "only 2 patients"),
        ({"names": list("aaabbbaab")}, "only 2 different images"),
    ):
        np.savez(tmp_path / "a.npz", images=some_images(), **{k: np.array(v) for k, v in arrays.items()})
        assert says in refused(tmp_path / "a.npz")


def test_raters_keep_their_names(tmp_path):
    images, masks = some_images(), RNG.integers(0, 2, (9, 3, 16, 16))
    for entry in ("rater_names", "raters"):
        np.savez(tmp_path / "a.npz", images=images, masks=masks, **{entry: np.array(["Ann", "Bo", "Cy"])})
        assert load(tmp_path / "a.npz", optional=("masks",)).rater_names == ("Ann", "Bo", "Cy")
        assert load(tmp_path / "a.npz").rater_names == ()
    np.savez(tmp_path / "a.npz", images=images, masks=masks, raters=np.full(9, 3))
    assert load(tmp_path / "a.npz", optional=("masks",)).rater_names == ()
    np.savez(tmp_path / "a.npz", images=images, masks=masks, rater_names=np.array(["Ann", "Bo"]))
    with pytest.raises(UserError, match="masks are by 3 raters"):
        load(tmp_path / "a.npz", optional=("masks",))


def test_files_that_are_equal_byte_by_byte(tmp_path):
    content = {"a": b"x" * 90_000, "b": b"x" * 90_000, "c": b"x" * 89_000 + b"y" * 1000, "d": b"x" * 10, "e": b"z" * 10}
    middle = bytearray(content["a"])
    middle[7000] = 0  # between the blocks that are looked at first
    content["f"] = bytes(middle)
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    found = same_files([tmp_path / name for name in content])
    assert found[0] == found[1] is not None
    assert found[2:] == [None] * 4


def test_texts():
    assert as_texts(np.array(["a\u0301", "\u00e1", None], dtype=object), "x") == ["\u00e1", "\u00e1", ""]
    with pytest.raises(UserError, match=r"x has size \(2, 2\)"):
        as_texts(np.zeros((2, 2)), "x")


def test_groups_that_share_something_become_one_whatever_their_order():
    known = identities(list("ppqqrs"), [], [None, "x", "x", None, None, None])
    assert join(list("abcdef"), known) == list("aaaaef")
    turned = identities(list("srqqpp"), [], [None, None, None, "x", "x", None])
    assert join(list("fedcba"), turned) == list("feaaaa")


def test_groups_of_mixed_classes_are_split_by_group():
    groups, labels = np.repeat(np.arange(9), 4).astype(str).tolist(), np.tile([0, 0, 0, 1], 9)
    parts = split_by_class(groups, labels, ["a", "b"], seed=0, where="x", wanted=True)
    held = [{groups[i] for i in part} for part in parts.values()]
    assert sum(map(len, held)) == 9


def test_a_set_of_one_image_again_and_again_can_be_split():
    known = identities(None, [], ["x", "x", "x", "x"])
    assert join(list("abcd"), known) == list("abcd")
    assert join(list("abcde"), identities(None, [], ["x", "x", "y", "z", "z"])) == list("aacdd")
