"""Masks of several classes, from npz files, folders and nnU-Net's folders."""

import json

import nibabel
import numpy as np
import pytest

from jaxgen.data import load
from jaxgen.data.phantoms import phantom_source
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)
N = 8
VALUES = np.zeros((N, 6, 7, 5), np.uint8)
VALUES[:, 1:3], VALUES[:, 4] = 2, 5
IMAGES = RNG.integers(1, 255, VALUES.shape).astype(np.uint8)
SPLIT = np.array(["train"] * 4 + ["validation"] * 2 + ["test"] * 2)


def npz(path, **arrays):
    np.savez(path / "set.npz", **{"images": IMAGES, "masks": VALUES, "split": SPLIT} | arrays)
    return path / "set.npz"


def nnunet(root, values=VALUES, labels=None, affine=np.diag([2.0, 1.0, 0.5, 1.0])):  # noqa: B008
    for kind, arrays in (("imagesTr", IMAGES), ("labelsTr", values)):
        (root / kind).mkdir(parents=True)
        for i, array in enumerate(arrays):
            name = f"c{i}_0000.nii.gz" if kind == "imagesTr" else f"c{i}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(array, affine), root / kind / name)
    known = {"background": 0, "core": 2, "rim": 5} if labels is None else labels
    (root / "dataset.json").write_text(json.dumps({"labels": known, "file_ending": ".nii.gz"}))
    return root


@pytest.mark.parametrize(
    ("foreground", "names", "numbers"),
    [("each", ("2", "5"), {0: 0, 2: 1, 5: 2}), ("5,2", ("5", "2"), {0: 0, 2: 2, 5: 1}), ("5", (), {0: 0, 2: 0, 5: 1})],
)
def test_values_become_the_numbers_of_classes(foreground, names, numbers, tmp_path):
    splits = load(npz(tmp_path), foreground=foreground, spatial=3)
    assert splits.mask_names == names
    for i, mask in enumerate(VALUES[SPLIT == "train"]):
        np.testing.assert_array_equal(splits.train[i]["mask"], np.vectorize(numbers.get)(mask))


def test_names_of_nnunet_and_the_size_of_voxels(tmp_path):
    root = nnunet(tmp_path)
    splits = load(root, foreground="each", spatial=3, optional=("spacing",))
    assert splits.mask_names == ("core", "rim")
    example = splits.test[0]
    np.testing.assert_array_equal(example["mask"], VALUES[0] // 2)
    np.testing.assert_allclose(example["spacing"], [2, 1, 0.5])
    assert load(root, foreground="Rim, 2", spatial=3).mask_names == ("rim", "core")
    sliced = load(root, foreground="each", spatial=2, slices=True, optional=("spacing",)).train[0]
    assert (sliced["spacing"].tolist(), sliced["mask"].shape) == ([2, 1], (6, 7))


def test_several_raters_and_their_majority(tmp_path):
    masks = np.stack([VALUES, VALUES, 0 * VALUES], 1)
    masks[:, 2, 4] = 2
    splits = load(npz(tmp_path, masks=masks), foreground="each", optional=("masks",), spatial=3)
    assert splits.train[0]["masks"].max() == 2
    np.testing.assert_array_equal(splits.train[0]["mask"], VALUES[0] // 2)
    masks[0, 1, 0, 0, 0] = 9
    named = {"label_names": np.array(["background", "x", "core", "y", "z", "rim"])}
    with pytest.raises(UserError, match="of rater 1: mask with the value 9, which is no class"):
        load(npz(tmp_path, masks=masks, **named), foreground="each", optional=("masks",), spatial=3)


def test_the_size_of_voxels_in_an_npz(tmp_path):
    for spacing in (np.array([1, 2, 3]), np.tile([1, 2, 3], (N, 1))):
        splits = load(npz(tmp_path, spacing=spacing), foreground="any", spatial=3, optional=("spacing",))
        assert splits.test[1]["spacing"].tolist() == [1, 2, 3]
    assert "spacing" not in load(npz(tmp_path, spacing=np.zeros(2)), foreground="any").train[0]  # nobody asked
    for wrong, says in ((np.zeros(3), "numbers above 0"), (np.ones(2), r"size \(2,\); save \[3\] or \[8, 3\]")):
        with pytest.raises(UserError, match=says):
            load(npz(tmp_path, spacing=wrong), foreground="any", spatial=3, optional=("spacing",))


@pytest.mark.parametrize(
    ("foreground", "change", "says"),
    [
        ("each", (slice(0, 4), 5, 2), "no training mask has the class 5; leave it out of --foreground .such as 2."),
        ("1,2", None, "no training mask has the class 1"),
        ("2,2", None, "a label is listed twice"),
        ("2,rim", None, "has no label rim"),
        ("each,", None, "not a choice"),
        ("0,2", None, "not a choice"),
        ("each", (slice(None), None, 0), "no mask of .* marks anything"),
    ],
)
def test_classes_that_cannot_be_learned(foreground, change, says, tmp_path):
    masks = VALUES.copy()
    if change is not None:
        which, old, new = change
        masks[which] = np.where(masks[which] == old, new, masks[which]) if old else new
    with pytest.raises(UserError, match=says) as error:
        load(npz(tmp_path, masks=masks), foreground=foreground, spatial=3)
    assert "\n" not in str(error.value)


def test_values_that_nobody_named(tmp_path):
    values = VALUES.copy()
    values[3, 0, 0, 0] = 7
    with pytest.raises(UserError, match=r"c3.nii.gz: mask with the value 7, .*they have 2 \(core\), 5 \(rim\)"):
        load(nnunet(tmp_path / "a", values), foreground="each", spatial=3)
    assert load(tmp_path / "a", foreground="2,5", spatial=3).mask_names == ("core", "rim")
    objects = np.arange(N * 6 * 7 * 5).reshape(VALUES.shape).astype(np.int32)
    with pytest.raises(UserError, match="have 1679 values, more than 64 classes"):
        load(npz(tmp_path, masks=objects), foreground="each", spatial=3)


@pytest.mark.parametrize(
    ("missing", "says"),
    [("imagesTr", "has labelsTr/ but no imagesTr/"), ("labelsTr", "has no labelsTr/ folder")],
)
def test_half_of_nnunet_s_folders(missing, says, tmp_path):
    root = nnunet(tmp_path)
    (root / missing).rename(tmp_path.parent / f"{tmp_path.name}-{missing}")
    with pytest.raises(UserError, match=says):
        load(root, foreground="each", spatial=3)


def test_phantoms_with_classes_and_with_positions():
    splits = load("tumour3d_phantom/16x24x16", foreground="each", spatial=3, optional=("spacing",))
    assert splits.mask_names == ("oedema", "core", "enhancing")
    example = splits.train[0]
    assert (example["image"].shape, example["spacing"].tolist()) == ((16, 24, 16, 4), [12, 8, 12])
    assert load("tumour_phantom", foreground="core").train[0]["mask"].max() == 1
    with pytest.raises(UserError, match="choose it with --foreground"):
        load("tumour_phantom").train[0]
    volume = phantom_source("tumor4c", 1, 3, (32, 32, 32))[0]
    image, mask = volume["image"], volume["mask"]
    inside, outside = image[mask > 0].mean(0), image[(mask == 0) & (image[..., 1] > 0.6)].mean(0)
    assert inside[0] > outside[0] + 0.3  # the whole lesion is bright in FLAIR
    assert image[mask > 1].mean(0)[1] < image[mask == 1].mean(0)[1] - 0.2  # T1 shows the core
    assert image[mask == 3].mean(0)[2] > image[mask == 2].mean(0)[2] + 0.2  # and contrast agent what is inside it
    assert abs(inside[3] - outside[3]) < 0.05
    balls = phantom_source("pos3d", 1, 0, 24)[0]
    left, right = balls["balls"][:12], balls["balls"][12:]
    assert (balls["mask"][:12] == left).all()
    assert right.any() > balls["mask"][12:].any()
    assert abs(balls["image"][:12][left > 0].mean() - balls["image"][12:][right > 0].mean()) < 0.05
