"""Normalizing flows of images from the command line."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.generation import normalizing_flow
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.medical.anomaly.odd_images import odd_images
from jaxgen.tasks.images import ImageFacts


def metrics(run):
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.thorough
def test_smoke_preset_on_images_of_the_user(tmp_path):
    data, run = tmp_path / "squares.npz", tmp_path / "run"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 20, (40, 16, 16)).astype(np.uint8)
    images[::2, 4:12, 4:12] += 150
    np.savez(data, images=images, labels=np.arange(40) % 2)
    flags = ["--samples", "8", "--chunk", "8", "--conditional", "--feature-steps", "2"]
    assert (
        main(["run", "normalizing_flow", "--preset", "smoke", "--data", str(data), "--workdir", str(run), *flags]) == 0
    )
    found = metrics(run)
    assert {"likelihood", "complexity corrected", "typicality", "gaussian", "flow at 1"} <= set(found)
    assert np.isfinite([found["flow at 1"]["bits"], found["gaussian"]["bits"]]).all()
    tried = {t: found[f"validation_frechet_at_{t}"] for t in ("0.7", "0.85", "1")}
    best = min(tried, key=tried.__getitem__)
    assert f"flow at {best}" in found
    assert found["temperature"] == float(best)
    assert (run / "report.html").stat().st_size > 20_000


def test_the_full_preset_is_the_paper_s_flow():
    """By shape alone: 4 scales of 48 steps with 512 hidden channels for 64 pixels (Kingma & Dhariwal 2018, table 4)."""
    config = normalizing_flow.EXPERIMENT.presets["full"]
    assert (config.size, config.levels, config.couplings, config.width) == (64, 4, 48, 512)
    facts = ImageFacts(value_range=((0.0,) * 3, (255.0,) * 3), image_channels=3)
    model = normalizing_flow.model(Run(config, facts))
    params = jax.eval_shape(model.init, jax.random.key(0), {"image": jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)})
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == COUNT


COUNT = 112_827_732


def test_odd_images_are_bytes_of_the_same_shape():
    whole = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1)).astype(np.uint8)
    odd = odd_images(whole, 0)
    assert all(x.shape == whole.shape and x.dtype == np.uint8 for x in odd.values())
    assert np.ptp(odd["empty"], axis=(1, 2)).max() == 0
    assert (odd["blurred"].std() < whole.std()) & (odd["bright disc"] == 255).any((1, 2, 3)).all()
    np.testing.assert_array_equal(odd["negative"], 255 - whole)
    with pytest.raises(UserError, match="--size must be a multiple of 8"):
        normalizing_flow.NormalizingFlowConfig(size=20)
