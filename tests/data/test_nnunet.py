"""Folders as nnU-Net and the Medical Segmentation Decathlon have them."""

import json

import nibabel
import numpy as np
import PIL.Image
import pytest

from jaxgen.data import load
from jaxgen.data.source import patients_of
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)
V1 = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "edema", "2": "tumour"}}
V2 = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "edema": 1, "tumour": 2}, "file_ending": ".nii.gz"}
MASK = np.zeros((8, 9, 4), np.uint8)
MASK[2:5, 2:5], MASK[3, 3] = 1, 2


def put(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".png"):
        PIL.Image.fromarray(array).save(path)
    else:
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def build(root, about=V2, *, cases=6, channels=1, test=0, numbered=True, labelled=True):
    """A data set; returns what each case holds, [x, y, z, c]."""
    content = {}
    for split, n in (("Tr", cases), ("Ts", test)):
        for i in range(n):
            case = f"{split.lower()}_{i:02d}"
            content[case] = RNG.normal(size=(8, 9, 4, channels)).astype(np.float32)
            for k in range(channels):
                suffix = f"_{k:04d}" if numbered else ""
                put(root / f"images{split}/{case}{suffix}.nii.gz", content[case][..., k])
            if split == "Tr" or labelled:
                put(root / f"labels{split}/{case}.nii.gz", MASK)
    if about is not None:
        (root / "dataset.json").write_text(json.dumps(about))
    return content


def everything(splits):
    return {name: part[i] for part in splits[:3] for i, name in enumerate(part.names)}


@pytest.mark.parametrize("about", [V1, V2, None])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_stacked_in_order(about, channels, tmp_path):
    content = build(tmp_path, about, channels=channels)
    splits = load(tmp_path, foreground=2)
    found = everything(splits)
    assert found.keys() == content.keys()
    for case, image in content.items():
        assert (found[case]["image"] == image).all()
        assert (found[case]["mask"] == (MASK == 2)).all()
    assert [len(part) for part in splits[:3]] == [4, 1, 1]
    assert [list(patients_of(part)) for part in splits[:3]] == [list(part.names) for part in splits[:3]]


@pytest.mark.parametrize("about", [V1, V2])
@pytest.mark.parametrize(("foreground", "value"), [("tumour", 2), ("Edema", 1), ("2", 2), ("any", None)])
def test_foreground_by_the_name_of_a_label(about, foreground, value, tmp_path):
    build(tmp_path, about)
    mask = load(tmp_path, foreground=foreground).train[0]["mask"]
    assert (mask == (MASK > 0 if value is None else value == MASK)).all()


def test_names_that_no_label_has(tmp_path):
    build(tmp_path)
    for name in ("necrosis", "background"):
        with pytest.raises(UserError, match=rf"--foreground {name}: .*edema \(1\), tumour \(2\)"):
            load(tmp_path, foreground=name)
    with pytest.raises(UserError, match=r"mask with 3 values \(0, 1, 2\).*--foreground"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"--foreground 7: no mask of .* has this value \(they have 0, 1, 2\)"):
        load(tmp_path, foreground=7)


def test_files_without_channel_numbers(tmp_path):
    """As in the Medical Segmentation Decathlon, even where every name ends in four digits."""
    content = build(tmp_path, V1, numbered=False)
    assert everything(load(tmp_path, foreground="any")).keys() == content.keys()
    for split in ("imagesTr", "labelsTr"):
        for file in (tmp_path / split).iterdir():
            file.rename(file.with_name(file.name.replace("tr_", "tr_00")))
    for options in ({"foreground": "any"}, {"wants": ("image",)}):
        assert everything(load(tmp_path, **options)).keys() == {f"tr_00{i:02d}" for i in range(6)}


def test_the_test_set(tmp_path):
    build(tmp_path, test=3)
    splits = load(tmp_path, foreground="any")
    assert [len(part) for part in splits[:3]] == [5, 1, 3]
    assert list(splits.test.names) == ["ts_00", "ts_01", "ts_02"]


def test_test_images_without_labels_serve_only_where_none_are_wanted(tmp_path):
    build(tmp_path, test=3, labelled=False)
    assert [len(part) for part in load(tmp_path, foreground="any")[:3]] == [4, 1, 1]
    assert [len(part) for part in load(tmp_path, wants=("image",))[:3]] == [5, 1, 3]
    assert [len(part) for part in load(tmp_path, wants=("image",), optional=("mask",), foreground="any")[:3]] == [
        4,
        1,
        1,
    ]


def test_a_case_in_both_sets_is_refused(tmp_path):
    build(tmp_path, test=2)
    for folder, suffix in (("images", "_0000"), ("labels", "")):
        (tmp_path / f"{folder}Ts/ts_00{suffix}.nii.gz").rename(tmp_path / f"{folder}Ts/tr_03{suffix}.nii.gz")
    with pytest.raises(UserError, match=r"patient tr_03 is in train .* and in test .*, 1 patient is"):
        load(tmp_path, foreground="any")


def test_patients_with_several_cases(tmp_path):
    build(tmp_path, test=2)
    rows = [f"tr_{i:02d},p{i // 2}\n" for i in range(6)] + ["ts_00,q0\nts_01,q1\n"]
    (tmp_path / "patients.csv").write_text("".join(rows))
    splits = load(tmp_path, wants=("image",))
    assert set(patients_of(splits.train)).isdisjoint(patients_of(splits.validation))
    (tmp_path / "patients.csv").write_text("".join(rows).replace("q1", "p0"))
    with pytest.raises(UserError, match="patient p0 is in train"):
        load(tmp_path, wants=("image",))


def test_the_first_fold(tmp_path):
    build(tmp_path, test=1)
    folds = [{"train": ["tr_00", "tr_02", "tr_04"], "val": ["tr_01"]}, {"train": ["tr_01"], "val": ["tr_00"]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))
    splits = load(tmp_path, foreground="any")
    assert [list(part.names) for part in splits[:3]] == [["tr_00", "tr_02", "tr_04"], ["tr_01"], ["ts_00"]]
    for broken, says in (
        ([], "no fold"),
        ({"train": 3}, "no fold"),
        ([{"train": ["tr_00"], "val": ["tr_99"]}], "names the case tr_99"),
        ([{"train": ["tr_00"], "val": []}], "validation of the first fold is empty"),
        ([{"train": ["tr_00", "tr_01"], "val": ["tr_01"]}], "tr_01 is in train .* and in validation"),
    ):
        (tmp_path / "splits_final.json").write_text(json.dumps(broken))
        with pytest.raises(UserError, match=says):
            load(tmp_path, foreground="any")


def test_pictures_with_files_beside_them(tmp_path):
    for i in range(4):
        put(tmp_path / f"imagesTr/c{i}_0000.png", RNG.integers(0, 255, (8, 9, 3), dtype=np.uint8))
        put(tmp_path / f"labelsTr/c{i}.png", MASK[..., 0])
        (tmp_path / f"imagesTr/c{i}.json").write_text("{}")
    about = {"labels": {"background": 0, "edema": 1, "tumour": 2}, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    example = load(tmp_path, spatial=2, foreground="tumour").train[0]
    assert (example["image"].shape, example["mask"].sum()) == ((8, 9, 3), 1)


def test_slices_stay_with_their_case(tmp_path):
    build(tmp_path, channels=2)
    splits = load(tmp_path, spatial=2, slices=True, foreground="any")
    assert splits.train[0]["image"].shape == (8, 9, 2)
    held = [{name.split("[")[0] for name in part.names} for part in splits[:3]]
    assert sum(map(len, held)) == len(set.union(*held)) == 6


REGIONS = {"background": 0, "whole": [1, 2], "core": 2}


def test_regions_need_a_value(tmp_path):
    build(tmp_path, {**V2, "labels": REGIONS})
    for foreground in ("binary", "core", "whole"):
        with pytest.raises(UserError, match=r"dataset\.json: the label whole is a region .*--foreground \(any, or one"):
            load(tmp_path, foreground=foreground)
    assert (load(tmp_path, foreground="any").train[0]["mask"] == (MASK > 0)).all()
    assert (load(tmp_path, foreground="2").train[0]["mask"] == (MASK == 2)).all()
    assert len(load(tmp_path, wants=("image",)).train) == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "not an object"),
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        ('{"labels": [0, 1]}', "`labels` is not an object"),
        ('{"labels": {"background": 0, "a": 1.5}}', "the label a has the value"),
        ('{"labels": {"background": 0, "a": null}}', "the label a has the value"),
        ('{"labels": {"background": 0, "a": 1, "ignore": 2}}', "ignore"),
        ('{"labels": {}, "file_ending": ".mha"}', "file_ending '.mha'"),
        ('{"labels": {}, "file_ending": 3}', "file_ending 3"),
    ],
)
def test_descriptions_that_make_no_sense(text, says, tmp_path):
    build(tmp_path, None)
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=rf"dataset\.json: .*{says}.*;") as caught:
        load(tmp_path, foreground="any")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda root: (root / "imagesTr/tr_02_0001.nii.gz").unlink(), "the case tr_02 has no channel 0001"),
        (
            lambda root: (root / "labelsTr/tr_02.nii.gz").unlink(),
            "tr_02_0000.nii.gz: has no labels; add .*tr_02.nii.gz",
        ),
        (lambda root: put(root / "labelsTr/x.nii.gz", MASK), "x.nii.gz: labels without an image"),
        (lambda root: put(root / "imagesTr/tr_02_0001.nii.gz", MASK[:4]), "tr_02_0001.nii.gz: 4 x 9 x 4, but"),
        (
            lambda root: put(root / "imagesTr/tr_02_0001.nii.gz", MASK, np.diag([2, 1, 1, 1])),
            "tr_02_0001.nii.gz: lies elsewhere than",
        ),
    ],
)
def test_files_that_do_not_belong_together(change, says, tmp_path):
    build(tmp_path, channels=2)
    change(tmp_path)
    with pytest.raises(UserError, match=says):
        load(tmp_path, foreground="any")
