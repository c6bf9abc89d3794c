import nibabel
import numpy as np
import PIL.Image
import pytest

from jaxgen.data import Everything
from jaxgen.data.domains import Unpaired, has_sources, is_paired, load_domains
from jaxgen.errors import UserError


def write(folder, names, shift=0, size=(10, 12)):
    folder.mkdir(parents=True)
    for i, name in enumerate(names):
        pixels = np.random.default_rng(i).integers(0, 200, size, np.uint8) + np.uint8(shift)
        PIL.Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder.parent


@pytest.fixture
def pairs(tmp_path):
    names = [f"case{i:02d}" for i in range(12)]
    write(tmp_path / "source", names)
    return write(tmp_path / "target", names[::-1][::-1], shift=50)


def test_files_of_one_name_are_pairs_in_every_split(pairs):
    splits = load_domains(str(pairs))
    assert is_paired(splits)
    assert sum(map(len, splits[:3])) == 12
    for part in splits[:3]:
        for i in range(len(part)):
            np.testing.assert_array_equal(part[i]["image"], part[i]["source"] + 50)


def test_the_other_way_round_and_all_in_test(pairs):
    there = load_domains(str(pairs), reverse=True).train[0]
    np.testing.assert_array_equal(there["source"], there["image"] + 50)
    every = load_domains(Everything(str(pairs)))
    assert [len(part) for part in every[:3]] == [0, 0, 12]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "target" / "case03.png").unlink(), r"case03 has no counterpart in target/ \(12 images"),
        (lambda root: (root / "source" / "case03.png").unlink(), r"case03 has no counterpart in source/ \(11 images"),
        (lambda root: (root / "source" / "case03.png").rename(root / "source" / "x.png"), "say --unpaired"),
    ],
)
def test_a_file_without_its_counterpart_is_named(pairs, change, message):
    change(pairs)
    with pytest.raises(UserError, match=message):
        load_domains(str(pairs))


def test_a_missing_folder_and_pairs_of_two_sizes(pairs, tmp_path):
    alone = write(tmp_path / "other" / "source", ["a", "b", "c"])
    with pytest.raises(UserError, match="has source/ but no target/"):
        load_domains(str(alone))
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9), np.uint8)).save(
        pairs / "source" / "case00.png"
    )
    with pytest.raises(UserError, match="case00 has 9 x 9 pixels in source/ and 10 x 12 in target/"):
        [example for part in load_domains(str(pairs))[:3] for example in (part[i] for i in range(len(part)))]


def test_different_subjects_are_no_pairs(tmp_path):
    write(tmp_path / "source", [f"a{i}" for i in range(9)])
    root = str(write(tmp_path / "target", [f"b{i}" for i in range(20)], shift=50))
    splits = load_domains(root, paired=False)
    assert not is_paired(splits)
    train = splits.train
    assert isinstance(train, Unpaired)
    assert len(train) > len(train._sources)
    seen = {train[i]["source"].tobytes() for i in range(len(train))}
    assert len(seen) == len(train._sources)
    other = load_domains(root, paired=False, reverse=True).train
    assert len(other) == len(train)
    np.testing.assert_array_equal(other[0]["image"], train[0]["source"])


def test_an_npz_with_two_arrays(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (10, 8, 8), np.uint8)
    path = tmp_path / "pairs.npz"
    np.savez(path, images=images, sources=images + 20)
    assert has_sources(str(path))
    example = load_domains(str(path)).train[0]
    np.testing.assert_array_equal(example["source"], example["image"] + 20)
    np.savez(path, images=images, sources=images[:9])
    with pytest.raises(UserError, match="`sources` has 9 examples, but `images` has 10"):
        load_domains(str(path))
    np.savez(path, images=images, sources=images[:, :7])
    with pytest.raises(UserError, match="`sources` has size"):
        load_domains(str(path))
    np.savez(path, images=images)
    assert not has_sources(str(path))
    with pytest.raises(UserError, match="has no array `sources`"):
        load_domains(str(path))


def test_a_folder_of_images_alone_has_nothing_to_translate(tmp_path):
    write(tmp_path / "images", ["a", "b", "c"])
    with pytest.raises(UserError, match="source/ and target/"):
        load_domains(str(tmp_path))


@pytest.mark.parametrize("spec", ["contrast_phantom/16", "rescaled_phantom/16", "scanner_phantom/16"])
def test_computed_pairs(spec):
    example = load_domains(spec).test[1]
    assert example["source"].shape == example["image"].shape == (16, 16, 1)
    assert (example["source"] != example["image"]).any()


def write_volumes(root, shape=(6, 5, 4), **affines):
    """Pairs of NIfTI volumes; the affine of case01 in a folder may be another."""
    rng = np.random.default_rng(0)
    for i in range(5):
        values = rng.random(shape, np.float32)
        for folder, more in (("source", 0), ("target", 3)):
            (root / folder).mkdir(exist_ok=True)
            affine = affines.get(folder) if i == 1 and folder in affines else np.diag([1.0, 1.0, 2.0, 1.0])
            nibabel.save(nibabel.Nifti1Image(values + more, affine), root / folder / f"case{i:02d}.nii.gz")
    return str(root)


def every_example(splits):
    return [part[i] for part in splits[:3] for i in range(len(part))]


def test_volumes_of_one_name_are_pairs(tmp_path):
    splits = load_domains(write_volumes(tmp_path), spatial=3)
    assert is_paired(splits)
    assert sum(map(len, splits[:3])) == 5
    for example in every_example(splits):
        assert example["source"].shape == (6, 5, 4, 1)
        np.testing.assert_allclose(example["image"], example["source"] + 3, atol=1e-6)
    with pytest.raises(UserError, match="a volume of 6 x 5 x 4 where 2-D images are wanted"):
        load_domains(str(tmp_path))


def test_a_pair_that_lies_in_two_places_is_named(tmp_path):
    moved = np.diag([1.0, 1.0, 2.0, 1.0])
    moved[2, 3] = 4
    root = write_volumes(tmp_path, target=moved)
    message = r"case01 lies elsewhere in source/ than in target/ \(their affines differ\); resample each pair onto"
    for spec in (root, Everything(root)):
        with pytest.raises(UserError, match=message):
            load_domains(spec, spatial=3)
    assert len(load_domains(root, slices=True).train), "slices are taken as they are"


def test_a_pair_of_volumes_of_two_sizes_is_named(tmp_path):
    root = write_volumes(tmp_path)
    short = nibabel.Nifti1Image(np.random.default_rng(0).random((6, 5, 3), np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
    nibabel.save(short, tmp_path / "source" / "case02.nii.gz")
    with pytest.raises(UserError, match="case02 has 6 x 5 x 3 voxels in source/ and 6 x 5 x 4 in target/"):
        every_example(load_domains(root, spatial=3))


def test_an_npz_of_volumes(tmp_path):
    images = np.random.default_rng(0).random((6, 16, 15, 14)).astype(np.float32)
    path = tmp_path / "pairs.npz"
    np.savez(path, images=images, sources=images + 2)
    example = load_domains(str(path), spatial=3).train[0]
    assert example["image"].shape == (16, 15, 14, 1)
    np.testing.assert_allclose(example["source"], example["image"] + 2, atol=1e-6)
    slices = load_domains(str(path), slices=True)
    assert sum(map(len, slices[:3])) == 6 * 14
    np.testing.assert_allclose(slices.train[3]["source"], slices.train[3]["image"] + 2, atol=1e-6)
    np.savez(path, images=images, sources=images[..., :13])
    with pytest.raises(UserError, match="`sources` has size"):
        load_domains(str(path), spatial=3)
    np.savez(path, images=images[..., 0], sources=images[..., 0])
    with pytest.raises(UserError, match="2 spatial axes"):
        load_domains(str(path), spatial=3)
