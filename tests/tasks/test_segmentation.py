"""What segmentation experiments share: options, preparing, facts, figures, and methods other than distance maps."""

import dataclasses

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest

from jaxgen.app.apply import apply_image
from jaxgen.app.result_files import write_results
from jaxgen.data import read_image
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


@pytest.mark.thorough
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


OBLIQUE = np.array([[1.2, -0.4, 0.3, 5], [0.5, 1.1, 0.6, -7], [-0.3, 0.2, 2.4, 9], [0, 0, 0, 1.0]])
"""Of voxels of about 1.3 x 1.2 x 2.5 mm, turned about every axis."""
BRIGHT = segmentation.Ensemble("bright", "Bright", lambda keys, tiles, noise: three_levels(tiles), 4)


def three_levels(tiles):
    """Two members: values from 0.4 up are the second class, those below it from 0 up the first."""
    first = jnp.maximum(0 - tiles, tiles - 0.4)
    return jnp.stack([jnp.concatenate([first + shift, 0.4 - tiles], -1) for shift in (0.0, 0.01)])


@pytest.fixture(scope="module")
def volumes():
    """A run on volumes with two classes whose voxels are of two sizes; nothing is trained."""
    rng = np.random.default_rng(0)

    def part(n, shape, spacing):
        images = np.stack([np.linspace(0, 1, shape[0])[:, None, None, None] * np.ones((*shape, 1))] * n)
        images = images + 0.01 * rng.random(images.shape)
        masks = np.digitize(images[..., 0], [0.5, 0.7])
        return ArraySource({"image": images.astype(np.float32), "mask": masks, "spacing": np.tile(spacing, (n, 1))})

    train, test = part(3, (20, 12, 6), (1.0, 1.0, 2.0)), part(2, (20, 12, 12), (1.0, 1.0, 1.0))
    splits = Splits(train, test, test, name="ramps", origin="made up", mask_names=("low", "high"))
    own = {"spatial": 3, "size": 16, "tile_overlap": 8, "percentiles": (0.0, 100.0), "foreground": "each"}
    config = dataclasses.replace(CONFIG, **own)
    facts = measure_masks(config, splits)
    net = baseline_network(config, facts.class_count)
    params = net.init(jax.random.key(0), jnp.zeros((1, *facts.tile, 1)))
    return Run(config, facts, {"unet": {"net": params}}, splits, jax.random.key(1))


def test_volumes_of_several_classes_are_evaluated_in_millimetres_and_case_by_case(volumes):
    facts = volumes.facts
    assert (facts.classes, facts.spacing, facts.tile) == (("low", "high"), (1, 1, 2), (16, 12, 6))
    found = segmentation.Comparison(volumes, BRIGHT).evaluation()
    ours = found.metrics["bright"]
    assert min(ours["dice, low"], ours["dice, high"]) > 0.8 > found.metrics["unet"]["dice"]
    assert ours["dice"] == pytest.approx((ours["dice, low"] + ours["dice, high"]) / 2)
    assert ours["hausdorff95, high"] <= 1.5
    assert "mm, mean over test images" in found.describe["hausdorff95, high"].help
    assert set(found.figures) == {"overview", "members", "classes", "uncertainty"}
    assert [(row["image"], row["class"], row["method"]) for row in found.cases[:3]] == [
        ("0", "low", "unet"), ("0", "low", "bright"), ("0", "high", "unet")
    ]  # fmt: skip
    tiles = segmentation.data.example_tiles(volumes)
    assert tiles[0]["distance"].shape == (16, 12, 6, 1, 2)
    assert set(segmentation.sampled(volumes, BRIGHT, 1).arrays) == {"distance_0_low", "distance_0_high"}


def test_apply_to_an_oblique_volume_gives_labels_on_its_grid(volumes, tmp_path):
    ramp = np.linspace(0, 1, 24)[:, None, None] * np.ones((24, 9, 11))
    nibabel.save(nibabel.Nifti1Image(ramp.astype(np.float32), OBLIQUE), tmp_path / "scan.nii.gz")
    image = read_image(tmp_path / "scan.nii.gz")
    apply = segmentation.applied(volumes, BRIGHT)
    done = write_results(
        apply_image(apply, jax.random.key(0), image, 3, tmp_path), image, tmp_path / "out", "scan", False, False
    )
    assert done["classes"] == ["background", "low", "high"]
    assert done["files"] == [f"scan_{n}.nii.gz" for n in ("mask", "probability_low", "probability_high", "uncertainty")]
    mask = nibabel.load(tmp_path / "out" / "scan_mask.nii.gz")
    np.testing.assert_allclose(mask.affine, OBLIQUE, atol=1e-5)
    labels = np.asarray(mask.dataobj)
    assert labels.dtype == np.uint8
    assert (labels != np.digitize(ramp, [0.5, 0.7])).mean() < 0.06  # a voxel at either border
    bare = Image(ramp[..., None].astype(np.float32), None, {"path": "scan.npy"})
    with pytest.raises(UserError, match=r"scan.npy: does not say how large its voxels are; .*--spacing"):
        apply(jax.random.key(0), bare)


def test_volumes_without_a_voxel_size_are_refused_before_anything_is_trained(volumes):
    bare = [ArraySource({k: v for k, v in part.arrays.items() if k != "spacing"}) for part in volumes.splits[:3]]
    with pytest.raises(UserError, match="--data nuclei_dsb2018: 0: does not say how large its voxels are"):
        measure_masks(volumes.config, Splits(*bare))
    given = dataclasses.replace(volumes.config, spacing=(1.0, 1.0, 2.0))
    assert measure_masks(given, Splits(*bare)).spacing == (1, 1, 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"spatial": 3, "size": (32, 32)}, "--size has 2 numbers for --spatial 3"),
        ({"spatial": 3, "slices": True}, "--slices: --spatial 3 takes whole volumes"),
        ({"spacing": (1.0, 1.0, 1.0)}, "--spacing has 3 numbers for --spatial 2"),
        ({"size": (32, 33)}, "--size must be a multiple of 2 .* got 32,33"),
        ({"size": 33}, "--size must be a multiple of 2"),
        ({"percentiles": (9.0, 1.0)}, "--percentiles must ascend"),
        ({"attention": (1,)}, "--attention must name levels from 0 to 0"),
    ],
)
def test_options_that_do_not_go_together(change, says):
    with pytest.raises(UserError, match=says):
        dataclasses.replace(CONFIG, **change)
