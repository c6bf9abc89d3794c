import numpy as np
from scipy import ndimage

from jaxgen.data import phantoms
from jaxgen.data.phantoms import thorax
from jaxgen.data.phantoms.texture import generator


def test_hounsfield_units_of_organs():
    found = {name: [] for name in thorax.ORGANS}
    for index in range(6):
        example = phantoms.ct2d(0, index, 128)
        hu, tissue = example["image"][..., 0], example["tissue"]
        assert hu.min() >= -1024
        assert hu.max() < 1100
        assert set(np.unique(tissue)) == set(range(len(thorax.ORGANS)))
        for number, name in enumerate(thorax.ORGANS):
            inside = ndimage.binary_erosion(tissue == number, iterations=2)  # partial volumes left out
            found[name] += [np.median(hu[inside])] if inside.any() else []
    low = {"air": -1001, "fat": -125, "muscle": 35, "lung": -895, "heart and vessels": 20, "bone": 150, "airway": -1001}
    high = {"air": -990, "fat": -75, "muscle": 75, "lung": -765, "heart and vessels": 270, "bone": 700, "airway": -900}
    for name, values in found.items():
        assert low[name] < min(values), name
        assert max(values) < high[name], name
    assert np.ptp(found["heart and vessels"]) > 50, "some with contrast agent, some without"


def test_the_body_lies_in_the_picture_and_the_anatomy_varies():
    examples = [phantoms.ct2d(1, i, 48) for i in range(12)]
    outside = np.zeros((48, 48), bool)
    outside[[0, -1]] = outside[:, [0, -1]] = True
    assert all((e["tissue"][outside] == 0).all() for e in examples)
    areas = [(e["mask"] > 0).mean() for e in examples]
    assert min(areas) > 0.08
    assert np.std(areas) > 0.01
    spread = np.std([e["image"] for e in examples], 0)
    assert spread.max() > 300


def test_a_finer_picture_is_of_the_same_anatomy():
    small, large = phantoms.ct2d(2, 3, 32)["image"], phantoms.ct2d(2, 3, 96)["image"]
    averaged = large.reshape(32, 3, 32, 3, 1).mean((1, 3))
    assert np.corrcoef(small.ravel(), averaged.ravel())[0, 1] > 0.98
    head = thorax.draw_chest(generator("ct2d", 2, 3))
    np.testing.assert_array_equal(head.lungs, thorax.draw_chest(generator("ct2d", 2, 3)).lungs)
