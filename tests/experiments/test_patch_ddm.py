"""PatchDDM compared with half the resolution, and the memory of its steps."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.segmentation import patch_ddm
from jaxgen.app.cli import main
from jaxgen.experiment import Run, stages_of
from jaxgen.tasks.segmentation import resolution


def run_of(**changes):
    config = dataclasses.replace(patch_ddm.EXPERIMENT.presets["smoke"], **changes)
    splits = patch_ddm.EXPERIMENT.load(config)
    return Run(config, patch_ddm.EXPERIMENT.measure(config, splits), splits=splits)


def test_half_the_resolution_sees_eight_times_the_volume():
    run = run_of(data="vessels3d_phantom/32", coordinates=False)
    whole, half = patch_ddm.EXPERIMENT.examples(run), resolution.HALF.examples(run)
    assert len(whole) > 8 * len(half) / 2 > 0
    assert whole[0]["image"].shape == half[0]["image"].shape == (8, 8, 8, 1)
    assert resolution.at_half(run).facts.spacing == tuple(2 * side for side in run.facts.spacing)
    first = run.splits.train[0]["image"][:16, :16, :16].reshape(8, 2, 8, 2, 8, 2, 1).mean((1, 3, 5))
    seen = np.asarray(half[0]["image"], np.float32)
    assert np.corrcoef(first.ravel(), seen.ravel())[0, 1] > 0.999, "it is the mean of eight voxels"


def test_it_is_trained_where_it_is_wanted_and_there_are_volumes():
    run = run_of()
    names = [spec.name for spec in stages_of(patch_ddm.EXPERIMENT, run.config, run.facts)]
    assert names == ["unet", "half", "diffusion"]
    images = dataclasses.replace(run.facts, spacing=(), tile=())
    without = dataclasses.replace(run.config, half_resolution=False)
    for config, facts in ((run.config, images), (without, run.facts)):
        assert [spec.name for spec in stages_of(patch_ddm.EXPERIMENT, config, facts)] == ["unet", "diffusion"]


@pytest.mark.thorough
def test_a_step_of_patches_needs_a_fraction_of_the_memory():
    """As in `small`: patches of 24 of volumes of 48."""
    found = resolution.memory_of_steps(
        run_of(data="position3d_phantom/48", size=24, channels=(16, 32), batch_size=2, patch=2)
    )
    assert found["patch_step_mib"] < found["whole_step_mib"]
    assert found["memory_ratio"] == pytest.approx(found["patch_step_mib"] / found["whole_step_mib"])
    assert found["memory_ratio"] < 0.25


@pytest.mark.thorough
def test_rows_and_differences_of_a_run(tmp_path):
    run = tmp_path / "run"
    flags = ["--data", "vessels3d_phantom/16", "--memory", "--workdir", str(run)]
    assert main(["run", "patch_ddm", "--preset", "smoke", *flags]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    dice = {name: row["dice"] for name, row in metrics.items() if isinstance(row, dict)}
    assert {"diffusion", "diffusion, windows", "half the resolution", "unet"} <= set(dice)
    assert metrics["dice_difference"] == dice["diffusion"] - dice["diffusion, windows"]
    assert metrics["gain_over_half"] == dice["diffusion"] - dice["half the resolution"]
    assert 0 < metrics["memory_ratio"] < 1
