import numpy as np
import pytest
from scipy import ndimage

from jaxgen.data import load
from jaxgen.data.domains import load_domains
from jaxgen.data.phantoms import CONTRASTS, contrast3d
from jaxgen.errors import UserError
from jaxgen.imaging.intensity_mapping import lookup_table

PAIRS = [contrast3d(0, i, (32, 32, 24)) for i in range(8)]


def test_tissues_have_their_intensities_in_both_contrasts_and_their_order_changes():
    levels = {}
    for entry, name in (("source", "t1"), ("image", "t2")):
        for k in range(1, 4):
            values = np.concatenate([p[entry][..., 0][(p["tissue"] == k) & (p["mask"] == 0)] for p in PAIRS])
            levels[name, k] = np.median(values)
            assert levels[name, k] == pytest.approx(CONTRASTS[name][k], abs=0.06)
    assert levels["t1", 1] < levels["t1", 2] < levels["t1", 3]
    assert levels["t2", 1] > levels["t2", 2] > levels["t2", 3]


def test_shapes_types_and_the_head():
    for pair in PAIRS:
        assert pair["image"].shape == pair["source"].shape == (32, 32, 24, 1)
        assert pair["image"].dtype == pair["source"].dtype == np.float32
        assert pair["mask"].dtype == pair["tissue"].dtype == np.uint8
        assert not pair["image"][pair["tissue"] == 0].any()
        assert np.unique(pair["tissue"]).tolist() == [0, 1, 2, 3]
        assert pair["source"][pair["tissue"] > 0].min() > -0.1


def test_every_second_has_a_lesion_that_is_bright_in_both():
    assert [bool(p["mask"].any()) for p in PAIRS] == [False, True] * 4
    for pair in PAIRS[1::2]:
        assert (pair["tissue"][pair["mask"] == 1] > 0).all()
        for entry in ("image", "source"):
            means = [
                pair[entry][..., 0][(pair["tissue"] == 3) & (pair["mask"] == k)].mean()
                for k in (0, 1)
                if ((pair["tissue"] == 3) & (pair["mask"] == k)).sum() > 20
            ]
            assert len(means) < 2 or 0.2 < means[1] - means[0] < 0.4


def test_texture_is_shared_and_noise_is_not():
    pair = contrast3d(3, 0, 32)
    white = pair["tissue"] == 3
    inner = ndimage.binary_erosion(white, iterations=2)
    assert inner.sum() > 200
    a, b = (pair[entry][..., 0][inner] for entry in ("source", "image"))
    assert 0.5 < np.corrcoef(a, b)[0, 1] < 0.99


def test_no_map_of_intensities_undoes_it_and_slices_are_no_noise():
    source, image = (2 * np.stack([p[entry] for p in PAIRS]) - 1 for entry in ("source", "image"))
    mapped = lookup_table(source, image)(source)
    peak = 10 * np.log10(4 / np.square(mapped - image).mean())
    assert 22 < peak < 33
    shuffled = np.random.default_rng(0).permutation(image, axis=3)
    assert np.abs(np.diff(image, axis=3)).mean() < 0.5 * np.abs(np.diff(shuffled, axis=3)).mean()


def test_the_set_and_what_is_no_size():
    splits = load_domains("contrast_volumes_phantom/16x16x24", spatial=3)
    assert splits.train[0]["source"].shape == (16, 16, 24, 1)
    assert [len(part) for part in splits[:3]] == [96, 12, 24]
    assert (splits.train[0]["image"] != splits.test[0]["image"]).any()
    assert load("contrast_volumes_phantom", wants=("image",)).test[0]["image"].shape == (64, 64, 32, 1)
    with pytest.raises(ValueError, match="three axes"):
        contrast3d(0, 0, (16, 16))
    with pytest.raises(UserError, match="volumes where 2-D images are wanted"):
        load_domains("contrast_volumes_phantom")
    with pytest.raises(UserError, match="2-D images where volumes are wanted"):
        load_domains("contrast_phantom", spatial=3)
