"""Class labels: from npz files, tables and class folders; their numbers, names and shares of the splits."""

import unicodedata

import numpy as np
import PIL.Image
import pytest

from jaxgen.data import load
from jaxgen.data.labels import number_classes
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)
BOTH = ("image", "label")


def put(path, colour=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(RNG.integers(0, 256, (6, 7, 3) if colour else (6, 7), dtype=np.uint8)).save(path)


def save(tmp_path, n=20, **arrays):
    images = {} if "train_images" in arrays else {"images": RNG.integers(0, 256, (n, 6, 7), dtype=np.uint8)}
    np.savez(tmp_path / "a.npz", **images, **arrays)
    return tmp_path / "a.npz"


def counts(splits):
    classes = len(splits.label_names)
    return [np.bincount([int(s[i]["label"]) for i in range(len(s))], minlength=classes).tolist() for s in splits[:3]]


def classes_of(splits):
    """Name of the example -> name of its class."""
    return {name: splits.label_names[int(part[i]["label"])] for part in splits[:3] for i, name in enumerate(part.names)}


@pytest.mark.parametrize(
    ("values", "names", "numbers", "expected"),
    [
        ([3, 1, 3], (), [1, 0, 1], ("1", "3")),
        (np.array([2.0, 0.0]), (), [1, 0], ("0", "2")),
        (np.array([True, False]), (), [1, 0], ("0", "1")),
        (["b", " a", "b"], (), [1, 0, 1], ("a", "b")),
        (["10", "9"], (), [1, 0], ("9", "10")),
        ([1, 0], ("x", "y"), [1, 0], ("x", "y")),
        ([2, 0], ("x", "y", "z"), [1, 0], ("x", "z")),
        (["cat", "ant"], ("x", "y"), [1, 0], ("ant", "cat")),
    ],
)
def test_classes_are_numbered_in_order(values, names, numbers, expected):
    labels, found = number_classes(values, "here", names)
    assert (labels.tolist(), found, labels.dtype) == (numbers, expected, np.int32)


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        ([0, -1], (), "example 1 has the label -1"),
        ([0.0, np.nan], (), "example 1 has the label nan"),
        ([0.5, 1.0], (), "example 0 has the label 0.5"),
        (["a", " "], (), "example 1 has no label"),
        ([0, 2], ("x", "y"), "the label 2 has no name"),
    ],
)
def test_labels_that_are_missing_or_make_no_sense(values, names, message):
    with pytest.raises(UserError, match=f"^here: {message}.*;"):
        number_classes(values, "here", names)


def test_npz_with_names(tmp_path):
    labels = np.arange(40) % 4
    path = save(tmp_path, 40, labels=labels.astype(np.uint8)[:, None], label_names=np.array(["a", "b", "none", "d"]))
    splits = load(path, wants=BOTH)
    assert splits.label_names == ("a", "b", "none", "d")
    assert counts(splits) == [[6] * 4, [2] * 4, [2] * 4]
    assert {int(name): value for name, value in classes_of(splits).items()} == {
        i: ("a", "b", "none", "d")[k] for i, k in enumerate(labels)
    }
    assert splits.train[0]["label"].dtype == np.int32
    alone = load(path, wants=("image",))
    assert [list(s.names) for s in alone[:3]] == [list(s.names) for s in splits[:3]], "one split, labels or not"
    assert set(alone.train[0]) == {"image"}
    assert alone.label_names == ()


def test_npz_whose_labels_are_words(tmp_path):
    splits = load(save(tmp_path, labels=np.array(["ill", "well"] * 10)), wants=BOTH)
    assert classes_of(splits)["0"] == "ill"
    assert counts(splits) == [[6, 6], [2, 2], [2, 2]]


def test_npz_in_parts(tmp_path):
    arrays = {
        f"{split}_{kind}": value
        for split, n in (("train", 40), ("test", 6))
        for kind, value in (("images", RNG.integers(0, 256, (n, 6, 7), dtype=np.uint8)), ("labels", np.arange(n) % 2))
    }
    splits = load(save(tmp_path, **arrays), wants=BOTH)
    assert counts(splits) == [[17, 17], [3, 3], [3, 3]], "validation comes from train"
    assert (splits.test.arrays["image"][..., 0] == arrays["test_images"]).all()
    arrays["val_images"], arrays["val_labels"] = 255 - arrays["test_images"][:2], arrays["test_labels"][:2]
    splits = load(save(tmp_path, **arrays), wants=BOTH)
    assert counts(splits) == [[20, 20], [1, 1], [3, 3]]
    for change, message in (
        ({"val_labels": None}, "no array `val_labels` beside `train_labels`"),
        ({"test_images": arrays["test_images"][:, :5]}, r"`test_images` has size \(6, 5, 7\)"),
        ({"train_images": None, "train_labels": None}, "no train_images"),
        ({"images": arrays["test_images"]}, "both `images` and `train_images`"),
        ({"valid_images": arrays["test_images"]}, "both of val_... and valid_"),
        ({"split": np.array(["train"] * 48)}, "keep one way"),
    ):
        np.savez(tmp_path / "b.npz", **{k: v for k, v in {**arrays, **change}.items() if v is not None})
        with pytest.raises(UserError, match=message):
            load(tmp_path / "b.npz", wants=BOTH)


def test_npz_several_labels_an_image(tmp_path):
    labels, several = RNG.integers(0, 2, (20, 3)), ("image", "labels")
    splits = load(save(tmp_path, labels=labels, label_names=np.array(["x", "y", "z"])), wants=several)
    assert splits.label_names == ("x", "y", "z")
    for part in splits[:3]:
        assert (part.arrays["labels"] == labels[[int(n) for n in part.names]]).all()
    path = save(tmp_path, labels=labels, label_names=np.array(["x", "y"]))
    with pytest.raises(UserError, match="3 columns, but there are 2 names"):
        load(path, wants=several)
    path = save(tmp_path, labels=labels)
    with pytest.raises(UserError, match="several classes of an image, or none"):
        load(path, wants=BOTH)
    alone = load(path, wants=("image",), optional=("label",))
    assert (set(alone.train[0]), alone.label_names) == ({"image"}, ())
    with pytest.raises(UserError, match="one class an image"):
        load(save(tmp_path, labels=labels[:, 0]), wants=several)


def test_npz_one_hot(tmp_path):
    classes = np.arange(20) % 2 + 1
    splits = load(save(tmp_path, labels=np.eye(3)[classes], label_names=np.array(["x", "y", "z"])), wants=BOTH)
    assert classes_of(splits) == {str(i): "xyz"[k] for i, k in enumerate(classes)}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "has no array `labels`"),
        ({"labels": np.ones(20, int)}, "every image has the label 1"),
        ({"labels": np.arange(20) == 4}, "the class 1 has only 1 image, too few"),
        ({"labels": np.arange(19)}, "`labels` has 19 examples"),
        (
            {"labels": np.arange(20) // 18, "split": np.array(["train"] * 16 + ["val", "val", "test", "test"])},
            "test has the class 1, which train lacks",
        ),
    ],
)
def test_npz_that_cannot_be_learned_from(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        load(save(tmp_path, **arrays), wants=BOTH)


def test_labels_that_nobody_wants_do_no_harm(tmp_path):
    for labels in (np.arange(20), np.full(20, -1), np.zeros(20), np.zeros((20, 3)), np.zeros(7)):
        assert len(load(save(tmp_path, labels=labels), wants=("image",)).train) == 14


def test_patients_come_before_classes(tmp_path):
    patient = np.arange(20) // 2
    splits = load(save(tmp_path, labels=np.arange(20) % 2, patient=patient), wants=BOTH)
    owners = [{int(n) // 2 for n in s.names} for s in splits[:3]]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 10


def test_a_table(tmp_path):
    for i in range(8):
        put(tmp_path / f"images/{i}.png")
    table = tmp_path / "labels.csv"
    table.write_text("".join(f"{i},{('benign', 'malignant')[i % 2]}\n" for i in range(8)))
    splits = load(tmp_path, wants=BOTH)
    assert classes_of(splits) == {str(i): ("benign", "malignant")[i % 2] for i in range(8)}
    alone = load(tmp_path, wants=("image",))
    assert [list(s.names) for s in alone[:3]] == [list(s.names) for s in splits[:3]]
    table.write_text("name,label\n" + "".join(f"images/{i}.png,{7 - 4 * (i % 2)}\n" for i in range(8)))
    splits = load(tmp_path, wants=BOTH)
    assert splits.label_names == ("3", "7")
    assert classes_of(splits) == {str(i): str(7 - 4 * (i % 2)) for i in range(8)}
    table.write_text("0,a\n")
    with pytest.raises(UserError, match="no line for the image 1"):
        load(tmp_path, wants=BOTH)
    assert len(load(tmp_path, wants=("image",)).train) == 6


def test_images_beside_their_table(tmp_path):
    for i in range(8):
        put(tmp_path / f"{i}.png")
    (tmp_path / "labels.csv").write_text("".join(f"{i}.png,{i % 2}\n" for i in range(8)))
    assert classes_of(load(tmp_path, wants=BOTH)) == {str(i): str(i % 2) for i in range(8)}


def test_a_folder_for_each_class(tmp_path):
    for name, n in (("glioma", 10), ("no tumor", 7), ("é", 3)):
        for i in range(n):
            put(tmp_path / unicodedata.normalize("NFD", name) / f"{i}.{('png', 'jpg')[i % 2]}", colour=i == 1)
    (tmp_path / "README.txt").write_text("about")
    (tmp_path / "__MACOSX").mkdir()
    splits = load(tmp_path, wants=BOTH)
    assert splits.label_names == ("glioma", "no tumor", "é")
    assert counts(splits) == [[6, 5, 1], [2, 1, 1], [2, 1, 1]]
    assert all(name.split("/")[0] == value for name, value in classes_of(splits).items())
    shapes = {s[i]["image"].shape for s in splits[:3] for i in range(len(s))}
    assert shapes == {(6, 7, 3)}, "grey and colour together: all become colour"
    alone = load(tmp_path, wants=("image",))
    assert [list(s.names) for s in alone[:3]] == [list(s.names) for s in splits[:3]]


def test_splits_of_class_folders(tmp_path):
    for split, n in (("Training", 20), ("Testing", 2)):
        for name in ("glioma", "healthy"):
            for i in range(n):
                put(tmp_path / split / name / f"{i}.png")
    splits = load(tmp_path, wants=BOTH)
    assert counts(splits) == [[17, 17], [3, 3], [2, 2]]
    assert splits.test.names[0] == "Testing/glioma/0"
    put(tmp_path / "Testing/pituitary/0.png")
    with pytest.raises(UserError, match="test has the class pituitary, which train lacks"):
        load(tmp_path, wants=BOTH)
    assert len(load(tmp_path, wants=("image",)).test) == 5


def test_patients_of_class_folders(tmp_path):
    for name in ("a", "b"):
        for i in range(9):
            put(tmp_path / name / f"{i}.png")
    lines = [f"{name}/{i}.png,{name}{i // 3}\n" for name in ("a", "b") for i in range(9)]
    (tmp_path / "patients.csv").write_text("".join(lines))
    owners = [{(n[0], int(n[2:]) // 3) for n in s.names} for s in load(tmp_path, wants=BOTH)[:3]]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 6


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a/0.png", "a/1.png", "a/2.png"], "every image has the label a"),
        (["a/0.png", "a/1.png", "a/2.png", "b/0.png"], "the class b has only 1 image"),
        (["a/0.png", "b/0.png", "c.png"], "c.png: lies beside the folders of classes"),
        (["0.png", "1.png"], "labels.csv: no such file; .*subfolder"),
        (["train/a/0.png", "Training/a/0.png"], "has both Training/ and train/"),
        (["a/0.png", "b/notes.txt"], "notes.txt: (empty file|not a format)"),
    ],
)
def test_class_folders_that_cannot_be_used(tmp_path, files, message):
    for file in files:
        if file.endswith("png"):
            put(tmp_path / file)
        else:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text("text")
    with pytest.raises(UserError, match=message):
        load(tmp_path, wants=BOTH)
