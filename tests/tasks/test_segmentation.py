"""What segmentation experiments share: options, preparing, facts, figures, and methods other than distance maps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data.image import Image
from jaxgen.data.source import ArraySource, Splits
from jaxgen.errors import UserError
from jaxgen.experiment import Run, StageSpec
from jaxgen.figures import segmentation as figures
from jaxgen.medical.segmentation.cases import Case, of_maps
from jaxgen.tasks import segmentation
from jaxgen.tasks.segmentation.data import SegmentationFacts, baseline_network, measure_masks

CONFIG = segmentation.SegmentationConfig(
    size=32, patch=2, baseline_channels=(8,), members=2, chunk=2, tile_overlap=4, target="binary"
)


def test_the_value_range_is_that_of_the_training_images():
    images = np.arange(3 * 4 * 4 * 2, dtype=np.float32).reshape(3, 4, 4, 2)
    part = ArraySource({"image": images, "masks": np.ones((3, 2, 4, 4), np.uint8)})
    splits = Splits(part, part, part)
    config = dataclasses.replace(CONFIG, intensity="data", percentiles=(0, 100))
    want = SegmentationFacts(image_channels=2, raters=2, value_range=((0, 1), (94, 95)))
    assert measure_masks(config, splits) == want
    assert measure_masks(CONFIG, splits).value_range is None


def test_raters_and_cases_keep_their_names():
    mask = np.zeros((8, 8), bool)
    mask[2:5, 2:5] = True
    found = {"flow": of_maps(np.where(mask, -1.0, 1.0)[None])}
    case = Case.of("site/case 7", np.zeros((8, 8, 1)), np.stack([mask, ~mask]), found)
    named = figures.members([case], [0], "flow", raters=("Ann", "Bo"))
    assert named.caption.endswith("the raters Ann, Bo.")
    assert [text.get_text() for text in named.figure.legends[0].get_texts()] == ["Ann", "Bo"]
    assert named.figure.axes[0].get_ylabel() == "case 7"
    plain = figures.members([case], [0], "flow")
    assert not plain.figure.legends
    assert "the reference (green)" in plain.caption


def bright(keys, tiles):
    """Two members whose masks are the bright pixels, above 0 and above 0.5."""
    return jnp.stack([0.0 - tiles, 0.5 - tiles])


@pytest.fixture(scope="module")
def run():
    rng = np.random.default_rng(0)
    images = rng.random((3, 40, 48, 1)).astype(np.float32)
    part = ArraySource({"image": images, "masks": np.stack([images[..., 0] > 0.5, images[..., 0] > 0.75], 1)})
    splits = Splits(part, part, part, name="bright", origin="made up", licence="CC0-1.0")
    config = dataclasses.replace(CONFIG, percentiles=(0.0, 100.0))
    params = baseline_network(config).init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    facts = measure_masks(config, splits)
    return Run(config, facts, {"unet": {"net": params}}, splits, jax.random.key(1))


def test_any_method_that_draws_maps_is_evaluated_sampled_and_applied(run):
    """The protocol asks for maps that are at most 0 in the foreground, not for distances."""
    method = segmentation.Ensemble("bright", "Bright", bright)
    found = segmentation.Comparison(run, method).evaluation()
    assert set(found.metrics) == {"unet", "bright", "bright_single", "test_images"}
    assert found.metrics["bright_single"]["dice"] > found.metrics["unet"]["dice"]
    assert "eikonal_error" not in found.metrics["bright_single"]
    assert found.metrics["bright"]["ged"] < 0.1 < found.metrics["unet"]["ged"]
    assert set(found.figures) == {"overview", "members", "uncertainty", "failures"}
    assert "Bright" in found.headline
    sampled = segmentation.sampled(run, method, 4)
    assert {name: maps.shape for name, maps in sampled.arrays.items()} == {
        f"distance_{i}": (2, 40, 48) for i in range(4)
    }
    apply = segmentation.applied(run, method)
    image = run.splits.test[0]["image"]
    out = apply(jax.random.key(2), Image(image, None, {}))
    scaled = 2 * (image[..., 0] - image.min()) / np.ptp(image) - 1
    np.testing.assert_array_equal(out["mask"], scaled >= 0.25)
    with pytest.raises(UserError, match="trained on 1 channels, this image has 2"):
        apply(jax.random.key(2), Image(np.concatenate([image, image], -1), None, {}))


def test_a_preview_shows_validation_images_once_the_method_has_parameters(run):
    method = segmentation.Ensemble("bright", "Bright", bright)
    shown = segmentation.preview(run, method)
    assert set(shown.metrics) == {"unet/dice", "bright/dice"}
    assert shown.metrics["bright/dice"] > 0.5
    assert len(shown.images.figure.axes) == 7 * len(run.splits.validation)
    made = segmentation.experiment(
        name="bright",
        summary="",
        data="",
        config=segmentation.SegmentationConfig,
        presets={},
        stages=(StageSpec("bright", print),),
        method=lambda run: method,
    )
    assert made.preview(run) is None
    assert made.preview(run._replace(params={**run.params, "bright": {}})).metrics == shown.metrics


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": 33}, "--size must be a multiple of 2"),
        ({"percentiles": (9.0, 1.0)}, "--percentiles must ascend"),
        ({"attention": (1,)}, "--attention must name levels from 0 to 0"),
    ],
)
def test_options_that_do_not_go_together(change, says):
    with pytest.raises(UserError, match=says):
        dataclasses.replace(CONFIG, **change)
