"""Fields written for ANTs and ITK: the file's header, and its numbers against the definition."""

import nibabel
import numpy as np

from jaxgen.data.displacement import write_displacement


def test_a_field_and_its_header(tmp_path):
    """A shift by one voxel to the patient's right and two voxels up, of 2 x 1 x 3 mm, stored from left to right."""
    affine = np.diag([-2.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = 5, -4, 2
    flow = np.broadcast_to([-1.0, 0.0, 2.0], (3, 4, 5, 3))
    write_displacement(tmp_path / "field.nii.gz", flow, affine, affine)
    file = nibabel.load(tmp_path / "field.nii.gz")
    assert file.shape == (3, 4, 5, 1, 3)
    assert file.header.get_intent()[0] == "vector"
    assert file.header.get_data_dtype() == np.float32
    np.testing.assert_array_equal(file.affine, affine)
    assert file.header.get_xyzt_units()[0] == "mm"
    # One voxel back along the first axis is 2 mm to the right, which is -2 in the frame of ITK (left is positive).
    np.testing.assert_array_equal(np.asarray(file.dataobj), np.broadcast_to([-2.0, 0.0, 6.0], file.shape))
