"""``jaxgen apply`` of a registration: pairs of files in, files that ITK reads out."""

import dataclasses
import json

import jax
import nibabel
import numpy as np
import PIL.Image
import pytest

from experiments.registration import registration as recipe
from jaxgen.app import result_files
from jaxgen.app.cli import main
from jaxgen.data.image import Image
from jaxgen.data.readers import read_image
from jaxgen.experiment import Run
from jaxgen.medical.registration.models import Registration
from jaxgen.tasks import registration

OBLIQUE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.3, -0.2, 0.4) @ np.diag([1.0, -1.5, 2.0]), [12.0, -7.0, 30.0]
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "registration"
    flags = ["--preset", "smoke", "--steps", "1", "--checkpoint-every", "1", "--methods", "voxelmorph"]
    assert main(["run", "registration", *flags, "--workdir", str(folder)]) == 0
    return folder


def save(path, array, affine=OBLIQUE):
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return str(path)


def waves(shape, affine):
    place = nibabel.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    return (np.sin(place / 11.0).sum(-1) * 40 + 100).astype(np.float32)


def bends(fixed_affine):
    """A registration whose field is known: smooth, in voxels of a fixed image of 24 x 20 x 16."""

    def flow(params, moving, fixed, share=1.0):
        x = jax.numpy.stack(jax.numpy.meshgrid(*(jax.numpy.arange(n) for n in fixed.shape[1:4]), indexing="ij"), -1)
        return (jax.numpy.sin(x / 5.0) * jax.numpy.array([1.0, -0.7, 0.5]))[None]

    return Registration(recipe.MODELS["voxelmorph"](recipe.EXPERIMENT.presets["smoke"]).model, flow)


@pytest.mark.parametrize("moving_affine", [OBLIQUE, np.diag([1.2, 1.2, 1.2, 1.0])])
def test_itk_warps_as_we_do(tmp_path, moving_affine):
    """The moving image under the written field, resampled by ITK, is the warped image that is written."""
    sitk = pytest.importorskip("SimpleITK")
    shape = (24, 20, 16)
    middle = nibabel.affines.apply_affine(OBLIQUE, (np.array(shape) - 1) / 2)
    affine = moving_affine.copy()
    affine[:3, 3] = middle - affine[:3, :3] @ (np.array((40, 40, 40)) - 1) / 2
    config = dataclasses.replace(recipe.EXPERIMENT.presets["smoke"], size=shape)
    facts = registration.RegistrationFacts(value_range=((0.0,), (220.0,)), structures=("a",))
    register = registration.apply_pair(Run(config, facts, {"voxelmorph": {}}), "voxelmorph", bends(OBLIQUE))
    moving_file = save(tmp_path / "moving.nii.gz", waves((40, 40, 40), affine), affine)
    fixed_file = save(tmp_path / "fixed.nii.gz", waves(shape, OBLIQUE))
    found = register(read_image(moving_file), read_image(fixed_file), None)
    out = tmp_path / "out"
    out.mkdir()
    result_files.write_results(found, read_image(fixed_file), out, "pair", False, False)
    field = sitk.ReadImage(str(out / "pair_field.nii.gz"), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(field)
    theirs = sitk.Resample(sitk.ReadImage(moving_file), sitk.ReadImage(fixed_file), transform, sitk.sitkLinear, -1.0)
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "pair_warped.nii.gz")))
    known = sitk.GetArrayFromImage(theirs) > 0
    assert known.mean() > 0.9
    np.testing.assert_allclose(ours[known], sitk.GetArrayFromImage(theirs)[known], atol=0.05)
    plain = sitk.Resample(sitk.ReadImage(moving_file), sitk.ReadImage(fixed_file))
    assert np.abs(sitk.GetArrayFromImage(plain) - ours)[known].mean() > 1, "the field moves something"


def test_a_pair_of_pictures(run, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        PIL.Image.fromarray(rng.integers(0, 255, (40, 30), np.uint8)).save(tmp_path / f"{name}.png")
    labels = (rng.random((40, 30)) < 0.5).astype(np.uint8)
    np.save(tmp_path / "labels.npy", labels)
    out = tmp_path / "out"
    command = ["apply", str(run), str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--out", str(out)]
    assert main([*command, "--labels", str(tmp_path / "labels.npy")]) == 0
    with np.load(out / "a_to_b_arrays.npz") as file:
        names = {"warped", "jacobian", "labels", "displacement_0", "displacement_1"}
        assert set(file.files) == names
        assert {file[name].shape for name in names} == {(40, 30)}
    summary = json.loads((out / "summary.json").read_text())["a_to_b"]
    assert 0 <= summary["folded"] <= 1
    assert summary["outside"] < 0.2
    assert main(command) == 2, "nothing is written over"
    assert main([*command, "--overwrite"]) == 0


def test_bad_pairs_are_refused(run, tmp_path, capsys):
    PIL.Image.fromarray(np.zeros((40, 30), np.uint8)).save(tmp_path / "a.png")
    PIL.Image.fromarray(np.zeros((41, 30), np.uint8)).save(tmp_path / "b.png")
    np.save(tmp_path / "half.npy", np.full((40, 30), 0.5))
    np.save(tmp_path / "small.npy", np.zeros((4, 3), np.uint8))
    volume = save(tmp_path / "v.nii.gz", np.zeros((20, 20, 20), np.float32))
    a, b, half, small = (str(tmp_path / name) for name in ("a.png", "b.png", "half.npy", "small.npy"))
    wrong = {
        "1 images, and this run registers pairs": [a],
        "40 x 30 and 41 x 30": [a, b],
        "half.npy": [a, a, "--labels", half],
        "labels lie on its grid": [a, a, "--labels", small],
        "the run registers images of 2 axes": [volume, volume],
        "missing.png": [a, str(tmp_path / "missing.png")],
    }
    for message, inputs in wrong.items():
        assert main(["apply", str(run), *inputs, "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_field_is_of_the_fixed_image(tmp_path):
    image = Image(np.zeros((4, 5, 6, 1)), OBLIQUE, {"kind": "nifti"})
    field = np.random.default_rng(0).standard_normal((4, 5, 6, 3)).astype(np.float32)
    done = result_files.write_results({"field": field}, image, tmp_path, "x", False, False)
    assert done == {"files": ["x_field.nii.gz"]}
    found = nibabel.load(tmp_path / "x_field.nii.gz")
    assert found.shape == (4, 5, 6, 1, 3)
    assert found.header.get_intent()[0] == "vector"
    np.testing.assert_allclose(found.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_array_equal(found.get_fdata()[:, :, :, 0], field)
