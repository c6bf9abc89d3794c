"""The experiment from the command line to the files it leaves, on its smallest preset."""

import json
import math

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import PIL.Image
import pytest

from experiments.segmentation import flow_sdf
from jaxgen.app.cli import main
from jaxgen.app.provenance import about_data
from jaxgen.config import from_dict, to_dict
from jaxgen.data.source import ArraySource, Splits
from jaxgen.tasks.segmentation.data import SegmentationFacts, baseline_network

PRESETS = flow_sdf.EXPERIMENT.presets


def shapes(config, channels, classes=1):
    """The parameters of the flow and of the baseline, without making them."""
    sides = (config.size,) * config.spatial
    image = jax.ShapeDtypeStruct((1, *sides, channels), jnp.float32)
    distance = jax.ShapeDtypeStruct((1, *sides, classes), jnp.float32)
    flow = jax.eval_shape(flow_sdf.flow_network(config, classes).init, jax.random.key(0), image, distance)
    return flow, jax.eval_shape(baseline_network(config, classes).init, jax.random.key(0), image)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("preset", "channels"), [("smoke", 1), ("small", 1), ("small-volumes", 4), ("full", 3), ("full-glas", 3)]
)
def test_flow_and_baseline_have_as_many_parameters(preset, channels):
    flow, baseline = shapes(PRESETS[preset], channels, 3 if preset == "small-volumes" else 1)
    assert abs(count(baseline) / count(flow) - 1) <= 0.10


def test_the_full_preset_is_the_paper_s_network():
    """Recorded: 6 levels of 3 blocks, attention where 128 pixels became 16 and 8 and in the middle, RRDB encoder."""
    flow, baseline = shapes(PRESETS["full"], 3)
    assert (count(flow["encoder"]), count(flow["denoiser"]), count(baseline)) == FULL_COUNTS
    attentive = [name for name in flow["denoiser"] if name.startswith("SelfAttention")]
    assert len(attentive) == 2 * (3 + 4) + 1


FULL_COUNTS = (8_782_592, 151_825_153, 158_847_041)


@pytest.mark.parametrize("preset", PRESETS)
def test_tiles_overlap_in_every_preset(preset):
    config = PRESETS[preset]
    assert config.size // 8 <= config.tile_overlap < config.size


def test_the_volumes_preset_is_small_but_for_its_data_patches_and_networks():
    volumes, small = PRESETS["small-volumes"], PRESETS["small"]
    assert (volumes.spatial, volumes.foreground, volumes.multiple) == (3, "each", 4)
    assert (volumes.steps, volumes.precision, volumes.network) == (small.steps, small.precision, small.network)


def test_the_deepest_network_says_what_a_patch_is_a_multiple_of():
    assert PRESETS["small"].multiple == 4 * 2**2
    assert PRESETS["full"].multiple == 2**5


def test_runs_of_before_open():
    config = PRESETS["smoke"]
    saved = {("image_channels" if name == "encoder_channels" else name): v for name, v in to_dict(config).items()}
    assert from_dict(flow_sdf.FlowSDFConfig, saved) == config
    for name in ("spatial", "spacing", "flips"):
        assert name in to_dict(config)
        saved.pop(name)
    assert from_dict(flow_sdf.FlowSDFConfig, saved) == config
    facts = flow_sdf.EXPERIMENT.facts.from_json({"channels": 3, "readers": 2, "value_range": [[0], [9]]})
    assert facts == SegmentationFacts(image_channels=3, raters=2, value_range=((0,), (9,)))
    assert not {"classes", "spacing", "tile"} & set(facts.to_json())  # nor do they differ when such a run goes on


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--size", "36"], "--size must be a multiple of 8"),
        (["--percentiles", "99,1"], "--percentiles"),
        (["--attention", "7"], "--attention"),
    ],
)
def test_flags_that_do_not_go_together(flags, says, capsys, tmp_path):
    assert main(["run", "flow_sdf", "--preset", "smoke", "--workdir", str(tmp_path / "run"), *flags]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of the smoke preset; tests must not change it."""
    workdir = tmp_path_factory.mktemp("flow_sdf") / "run"
    assert main(["run", "flow_sdf", "--preset", "smoke", "--workdir", str(workdir)]) == 0
    return workdir


@pytest.mark.thorough
def test_a_run_leaves_metrics_and_figures(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"unet", "flow_sdf", "flow_sdf_single"} <= set(metrics)
    for method, names in {
        "unet": ("dice", "dice_pooled", "iou", "ece", "brier", "error_auroc", "component_error"),
        "flow_sdf": ("dice", "ece", "error_auroc", "error_auroc_mean"),
        "flow_sdf_single": ("dice", "eikonal_error"),
    }.items():
        for name in names:
            value = metrics[method][name]
            assert math.isfinite(value), (method, name)
            assert name in ("component_error", "eikonal_error") or 0 <= value <= 1
    assert metrics["test_images"] == PRESETS["smoke"].test_images < json.loads((run / "data.json").read_text())["test"]
    captions = json.loads((run / "figures" / "captions.json").read_text())
    assert {f["name"] for f in captions["figures"]} == {"overview", "flow", "members", "uncertainty", "failures"}
    assert set(metrics["unet"]) | set(metrics["flow_sdf"]) | set(metrics["flow_sdf_single"]) <= set(
        captions["describe"]
    )
    for figure in captions["figures"]:
        with PIL.Image.open(run / "figures" / f"{figure['name']}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 5  # something is drawn
    stages = {json.loads(line)["stage"] for line in (run / "log.jsonl").read_text().splitlines()}
    assert stages == {"unet", "flow_sdf"}
    assert (run / "report.html").stat().st_size > 10_000


@pytest.mark.thorough
def test_apply_to_a_picture_and_a_volume(run, tmp_path):
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 255, (48, 80), np.uint8)).save(tmp_path / "cells.png")
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    nibabel.save(
        nibabel.Nifti1Image(rng.integers(0, 900, (20, 40, 3)).astype(np.int16), affine), tmp_path / "scan.nii.gz"
    )
    out = tmp_path / "out"
    assert main(["apply", str(run), str(tmp_path / "cells.png"), str(tmp_path / "scan.nii.gz"), "--out", str(out)]) == 0
    arrays = np.load(out / "cells_arrays.npz")
    assert {"mask", "probability", "uncertainty", "distance"} <= set(arrays)
    assert all(array.shape == (48, 80) for array in arrays.values())
    np.testing.assert_array_equal(arrays["mask"] > 0, arrays["distance"] <= 0)
    np.testing.assert_array_equal(arrays["mask"] > 0, arrays["probability"] > 0.5)
    np.testing.assert_allclose(arrays["uncertainty"], arrays["probability"] * (1 - arrays["probability"]), atol=1e-6)
    mask = nibabel.load(out / "scan_mask.nii.gz")
    assert mask.shape == (20, 40, 3)
    np.testing.assert_allclose(mask.affine, affine)
    assert set(np.unique(mask.get_fdata())) <= {0, 1}
    likely = nibabel.load(out / "scan_probability.nii.gz").get_fdata() >= 0.5
    np.testing.assert_array_equal(mask.get_fdata() > 0, likely)
    again = tmp_path / "alone"
    assert main(["apply", str(run), str(tmp_path / "cells.png"), "--out", str(again)]) == 0
    for name, array in np.load(again / "cells_arrays.npz").items():
        np.testing.assert_array_equal(array, arrays[name])  # whatever else is applied to


@pytest.mark.thorough
def test_apply_names_the_channels_that_do_not_fit(run, tmp_path, capsys):
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / "colour.png")
    assert main(["apply", str(run), str(tmp_path / "colour.png"), "--out", str(tmp_path / "out")]) != 0
    err = capsys.readouterr().err
    assert "trained on 1 channels, this image has 3" in err
    assert "Traceback" not in err


def test_what_a_run_says_of_its_data():
    parts = [ArraySource({"image": np.zeros((2, 4, 4, 1))}, patients=patients) for patients in ("aa", "bb", "cd")]
    about = about_data(Splits(*parts, label_names=("ill", "well"), rater_names=("Ann", "Bo")))
    assert (about["classes"], about["raters"]) == (["ill", "well"], ["Ann", "Bo"])
    assert (about["patients"], about["test_patients"]) == ({"train": 1, "validation": 1, "test": 2}, ["c", "d"])
    unknown = [ArraySource({"image": np.zeros((2, 4, 4, 1))}) for _ in range(3)]
    assert not {"classes", "raters", "patients", "test_patients"} & set(about_data(Splits(*unknown)))


@pytest.mark.thorough
def test_sample_keeps_the_distance_maps(run, tmp_path):
    assert main(["sample", str(run), "--n", "2", "--out", str(tmp_path / "samples")]) == 0
    maps = np.load(tmp_path / "samples" / "samples.npz")
    assert {name: maps[name].shape for name in maps} == {f"distance_{i}": (3, 128, 128) for i in range(2)}
