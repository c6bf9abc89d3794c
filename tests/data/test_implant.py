"""A patient with an implant: the same at every visit, unlike every other, and where the mask says."""

import numpy as np
import pytest

from jaxgen.data.phantoms import cxr2d
from jaxgen.data.phantoms.implant import METAL, implant2d, plates_of


def test_patterns_have_no_symmetry_and_differ():
    patterns = [plates_of(0, i) for i in range(30)]
    for plates in patterns:
        assert plates.sum() in (4, 5)
        for other in (plates[::-1], plates[:, ::-1], plates.T, np.rot90(plates), np.rot90(plates, 2)):
            assert (plates != other).any()
    assert len({plates.tobytes() for plates in patterns}) > 25
    assert (plates_of(1, 0) != plates_of(0, 0)).any()


def test_visits_are_of_one_patient():
    rest = implant2d(3, 1, 32, visit=None)
    np.testing.assert_array_equal(rest["image"], implant2d(3, 1, 32, visit=None)["image"])
    visits = np.stack([implant2d(3, 1, 32, visit=i)["image"] for i in range(4)])
    others = np.stack([implant2d(3, i, 32, visit=0)["image"] for i in range(2, 6)])
    assert np.abs(np.diff(visits, axis=0)).max() > 0.1, "each visit is new"
    inside = rest["mask"].astype(bool)
    near, far = (np.abs(x - rest["image"])[:, inside].mean() for x in (visits, others))
    assert near < far / 2


@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_plates_lie_within_the_mask_and_nowhere_else(size):
    rest = implant2d(0, 0, size, visit=None)
    inside, image = rest["mask"].astype(bool), rest["image"][..., 0]
    assert image[inside].max() > (METAL + 0.62) / 2 > image[~inside].max() - 0.3
    assert image.shape == inside.shape == (size, size)
    rows, columns = np.nonzero(inside)
    assert np.ptp(rows) == pytest.approx(0.285 * size, abs=1.5)
    assert (columns < size / 2).all() or (columns >= size / 2 - 1).all(), "over one lung"


def test_the_body_is_one_of_the_class_and_sizes_are_checked():
    bare = [cxr2d(0, i, 32, findings=())["image"] for i in range(5)]
    inside = implant2d(0, 0, 32, visit=None)["mask"].astype(bool)
    image = implant2d(0, 0, 32)["image"]
    assert min(np.abs(one - image)[~inside].mean() for one in bare) < 0.06
    with pytest.raises(ValueError, match="a size of 16 pixels or more, got 8"):
        implant2d(0, 0, 8)
