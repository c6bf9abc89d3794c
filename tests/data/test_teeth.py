"""The dental phantom: every tissue in every image, teeth in front of others, and grey values that do not tell alone."""

import numpy as np

from jaxgen.data import load
from jaxgen.data.phantoms import dental2d
from jaxgen.data.phantoms.teeth import TISSUES, Tooth, place_teeth, tissues_of
from jaxgen.data.phantoms.texture import generator

EXAMPLES = [dental2d(3, i) for i in range(24)]
ALONG = np.linspace(-1, 1, 201)
X, Y = np.meshgrid(ALONG, ALONG)


def test_every_image_has_every_tissue_and_the_filling_is_brightest():
    for example in EXAMPLES:
        image, mask = example["image"][..., 0], example["mask"]
        assert np.unique(mask).tolist() == [0, 1, 2, 3, 4]
        means = [image[mask == k].mean() for k in range(5)]
        assert means[3] < means[2] < means[1] < means[4]


def test_a_grey_value_alone_does_not_tell_the_tissue():
    """Thresholds between the means of all images get fewer pixels right than those of each image itself."""

    def right(level, examples):
        pairs = [(np.abs(e["image"] - level(e)).argmin(-1), e["mask"]) for e in examples]
        return np.mean([(found == mask)[mask > 0].mean() for found, mask in pairs])

    def means(examples):
        return np.array([np.mean([e["image"][e["mask"] == k].mean() for e in examples]) for k in range(5)])

    whole = means(EXAMPLES)
    assert right(lambda e: whole, EXAMPLES) < right(lambda e: means([e]), EXAMPLES) - 0.1 < 0.8


def test_a_tooth_from_the_outside_in():
    tooth = Tooth((0.1, -0.2), (0.3, 0.45), 0.0, 3.0, 1, 0.3, (0.0, -0.8, 0.4))
    found = tissues_of(tooth, X, Y)
    inside = found > 0
    assert not inside[[0, -1]].any()
    assert not inside[:, [0, -1]].any()
    assert (found[Y > -0.2 + 0.05 * 0.45 + 0.01] != 1).all(), "enamel is on the crown alone"
    down, up = (tissues_of(tooth._replace(centre=(0.0, 0.0), root=root), X, Y) for root in (1, -1))
    np.testing.assert_array_equal(down, up[::-1])
    turned = tissues_of(tooth._replace(tilt=0.3), X, Y)
    assert abs((turned > 0).sum() / inside.sum() - 1) < 0.02, "turning leaves the area"
    widths = (down > 0).sum(axis=1)
    assert 0 < widths[130] < widths[70], "roots taper"


def test_neighbours_overlap_and_the_one_in_front_is_the_truth():
    overlaps = 0
    for i, example in enumerate(EXAMPLES[:8]):
        teeth = place_teeth(generator("dental2d", 3, i))
        along = (np.arange(64) + 0.5) / 32 - 1
        each = np.stack([tissues_of(tooth, *np.meshgrid(along, along)) for tooth in teeth])
        overlaps += ((each > 0).sum(0) > 1).any()
        front = np.zeros((64, 64), int)
        for tissue in each:
            front = np.where(tissue > 0, tissue, front)
        np.testing.assert_array_equal(example["mask"], front)
    assert overlaps >= 6


def test_its_tissues_are_classes_by_name():
    splits = load("dental_phantom/16", foreground="each")
    assert splits.mask_names == TISSUES
    assert set(np.unique(load("dental_phantom/32", foreground="pulp").train[0]["mask"])) == {0, 1}
