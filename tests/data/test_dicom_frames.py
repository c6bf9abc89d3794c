"""Multi-frame files: what the functional groups say, frame by frame."""

import numpy as np
import pytest

from jaxgen.data.readers import read_header, read_image
from jaxgen.errors import UserError
from tests.data.dicom_files import enhanced, flat, groups, write


def along(image):
    return image.array[0, 0, :, 0].tolist()


HU = {"PixelValueTransformationSequence": {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}}


def test_shared_rescale_and_order_and_affine(tmp_path):
    path = enhanced(tmp_path / "a.dcm", flat(1000, 1010, 1020), [groups(z) for z in (4, 0, 2)], HU)
    image, head = read_image(path), read_header(path)
    assert along(image) == [-14, -4, -24]
    assert image.array.dtype == np.int16
    # column 2, row 1, slice 1: x = 2 * 0.25, y = 1 * 0.5, z = 2
    assert np.allclose(image.affine @ [2, 1, 1, 1], [-0.5, -0.5, 2, 1])
    assert np.allclose(head.affine, image.affine)
    assert (*head.shape, head.channels) == image.array.shape
    assert image.meta["frames"] == [1, 2, 0]


def test_rescale_of_each_frame_goes_before_the_shared_one(tmp_path):
    def scaled(slope, intercept):
        return {"PixelValueTransformationSequence": {"RescaleSlope": slope, "RescaleIntercept": intercept}}

    each = [groups(0, **scaled(2, 0)), groups(1, **scaled(0.5, 3)), groups(2)]
    path = enhanced(tmp_path / "a.dcm", flat(10, 10, 10), each, HU, Modality="PT")
    assert along(read_image(path)) == [20, 8, -1014]


def test_descending_frames_far_apart(tmp_path):
    path = enhanced(tmp_path / "a.dcm", flat(3, 2, 1, 0), [groups(z) for z in (30, 20, 10, 0)])
    image = read_image(path)
    assert along(image) == [0, 1, 2, 3]
    assert image.affine[2, 2] == 10  # not the thickness


def test_oblique_frames(tmp_path):
    c, s = np.cos(0.3), np.sin(0.3)
    each = [groups(0) for _ in range(3)]
    for k, group in enumerate(each):
        group.PlanePositionSequence[0].ImagePositionPatient = [0, -s * 3 * k, c * 3 * k]
    shared = {"PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, c, s]}}
    image = read_image(enhanced(tmp_path / "a.dcm", flat(0, 1, 2), each, shared))
    assert along(image) == [0, 1, 2]
    assert np.allclose(np.linalg.norm(image.affine[:3, :3], axis=0), [0.25, 0.5, 3])


def test_real_world_values_are_not_the_rescale(tmp_path):
    mapped = {"RealWorldValueMappingSequence": {"RealWorldValueSlope": 7.0, "RealWorldValueIntercept": 5.0}}
    path = enhanced(tmp_path / "a.dcm", flat(10, 20), [groups(0, **mapped), groups(1, **mapped)], HU)
    assert along(read_image(path)) == [-1014, -1004]


def test_one_frame_alone_is_a_flat_image_with_its_groups(tmp_path):
    image = read_image(enhanced(tmp_path / "a.dcm", flat(7)[0], [groups(5)], HU))
    assert image.array.shape == (3, 4, 1)
    assert image.array.max() == 7 - 1024
    assert image.affine[2, 3] == 5


def test_a_missing_frame_is_one_line(tmp_path):
    path = enhanced(tmp_path / "a.dcm", flat(*range(5)), [groups(z) for z in (0, 1, 2, 4, 5)])
    with pytest.raises(UserError, match=r"a.dcm: 2 mm from a.dcm frame 3 to a.dcm frame 4 .* 5 slices are 1 mm"):
        read_image(path)
    path = enhanced(tmp_path / "b.dcm", flat(*range(3)), [groups(z) for z in (0, 1)])
    with pytest.raises(UserError, match="3 frames, but PerFrameFunctionalGroupsSequence describes 2"):
        read_header(path)


@pytest.mark.parametrize(
    ("tag", "sequence", "pair"),
    [
        ("EffectiveEchoTime", "MREchoSequence", (5.0, 10.0)),
        ("TemporalPositionIndex", "FrameContentSequence", (1, 2)),
        ("DiffusionBValue", "MRDiffusionSequence", (0.0, 1000.0)),
        ("FrameType", "MRImageFrameTypeSequence", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])),
    ],
)
def test_several_volumes_in_a_file_are_told_apart(tmp_path, tag, sequence, pair):
    each = [groups(z, **{sequence: {tag: value}}) for z in (0, 1, 2) for value in pair]
    path = enhanced(tmp_path / "a.dcm", flat(10, 20, 11, 21, 12, 22), each, Modality="MR")
    with pytest.raises(UserError, match=rf"{tag} .* holds 2 volumes or images \(slices: 3, 3\)"):
        read_image(path)
    assert along(read_image(f"{path}#1")) == [10, 11, 12]
    assert along(read_image(f"{path}#2")) == [20, 21, 22]
    assert read_header(f"{path}#2").shape == (4, 3, 3)
    with pytest.raises(UserError, match="holds 2 volumes or images; choose one"):
        read_image(f"{path}#3")


def test_echoes_between_each_other_are_no_volume_even_if_evenly_spaced(tmp_path):
    each = [groups(z, MREchoSequence={"EffectiveEchoTime": 5.0 + z % 2}) for z in range(6)]
    with pytest.raises(UserError, match="EffectiveEchoTime"):
        read_image(enhanced(tmp_path / "a.dcm", flat(*range(6)), each))


def test_two_stacks_of_two_orientations_are_told_apart(tmp_path):
    each = [groups(z, FrameContentSequence={"StackID": "1"}) for z in (0, 1, 2)]
    for y in (0, 1, 2):
        turned = {"PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}}
        each.append(groups(0, FrameContentSequence={"StackID": "2"}, **turned))
        each[-1].PlanePositionSequence[0].ImagePositionPatient = [0, y, 0]
    path = enhanced(tmp_path / "a.dcm", flat(*range(6)), each)
    with pytest.raises(UserError, match="ImageOrientationPatient"):
        read_image(path)
    assert along(read_image(f"{path}#2")) == [3, 4, 5]


def test_frames_at_one_place_that_no_tag_tells_apart_are_one_line(tmp_path):
    path = enhanced(tmp_path / "a.dcm", flat(*range(6)), [groups(z) for z in (0, 1, 2)] * 2)
    with pytest.raises(UserError, match=r"2 slices lie at one place .* 6 slices at 3 places\), and no tag"):
        read_image(path)


def test_films_keep_the_order_of_their_frames(tmp_path):
    first = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1]}
    image = read_image(write(tmp_path / "us.dcm", flat(5, 3, 4), Modality="US", **first))
    assert along(image) == [5, 3, 4]
    assert image.affine is None


def test_a_dose_grid_is_in_its_units_and_places(tmp_path):
    path = write(
        tmp_path / "d.dcm",
        flat(1, 2, 3),
        Modality="RTDOSE",
        DoseGridScaling=0.5,
        GridFrameOffsetVector=[0, 3, 6],
        ImagePositionPatient=[1, 2, 3],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[2, 2],
    )
    image = read_image(path)
    assert along(image) == [0.5, 1, 1.5]
    assert np.allclose(image.affine @ [0, 0, 2, 1], [-1, -2, 9, 1])


def test_colour_frames_and_empty_groups(tmp_path):
    colours = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    each = [groups(z, PixelValueTransformationSequence={"RescaleSlope": None}) for z in (1, 0)]
    image = read_image(enhanced(tmp_path / "a.dcm", colours, each))
    assert (image.array == colours[::-1].transpose(2, 1, 0, 3)).all()
    each[0].PlanePositionSequence = []
    with pytest.raises(UserError, match="ImagePositionPatient"):
        read_image(enhanced(tmp_path / "b.dcm", colours, each))
