"""A run's U-Net as a UNet2DModel: told the number of an entry, it answers what ours does at that entry's time."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.generation.ddpm import DDPMConfig
from jaxgen.app.exporting import exported
from jaxgen.errors import UserError
from jaxgen.experiment import Run, find
from jaxgen.interop import diffusers
from jaxgen.interop.schedulers import from_diffusers
from jaxgen.tasks import networks
from jaxgen.tasks.diffusion import make_path
from jaxgen.tasks.images import ImageFacts

FACTS = ImageFacts(value_range=((-1.0,), (1.0,)), image_channels=1)
CHANGES = {"size": 8, "channels": (128,), "blocks": 1, "attention": (0,), "head_width": 64, "patch": 1}


def run_of(classes=None, **changes):
    """A run of ddpm with random parameters."""
    config: DDPMConfig = dataclasses.replace(find("ddpm").presets["smoke"], **(CHANGES | changes))
    run = Run(config, FACTS)
    x = jax.ShapeDtypeStruct((2, config.size, config.size, 1), jnp.float32)
    shapes = jax.eval_shape(networks.network(run, classes=classes).init, jax.random.key(0), x, jnp.zeros(2))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: jnp.asarray(0.05 * rng.standard_normal(s.shape), jnp.float32), shapes)
    return run._replace(params={"ddpm": {"net": params}})


def test_the_same_answers():
    classes = 3
    run = run_of(classes)
    made = exported(run, "ddpm")
    x = jnp.asarray(np.random.default_rng(1).standard_normal((3, 8, 8, 1)), jnp.float32)
    numbers = jnp.array([0.0, 420.0, 999.0])
    label = {"label": jnp.array([0, 2, 3])}
    ours = jax.jit(networks.network(run, classes=classes).apply)
    theirs = jax.jit(diffusers.network(made.config).apply)
    want = ours(run.params["ddpm"]["net"], x, (numbers + 1) / 1000, **label)
    got = theirs(made.params, x, numbers, **label)
    assert float(jnp.abs(want).max()) > 0.1
    np.testing.assert_allclose(got, want, atol=2e-5 * float(jnp.abs(want).max()))


@pytest.mark.parametrize("path", ["linear", "scaled_linear", "cosine", "sigmoid"])
def test_the_scheduler_has_the_levels_of_the_run(path):
    run = run_of(path=path)
    s, ours = from_diffusers(exported(run, "ddpm").scheduler, 10), make_path(run.config)
    np.testing.assert_allclose(s.path.alpha(s.grid), ours.alpha(s.grid), rtol=1e-5)
    assert s.prediction == run.config.prediction


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "vp"}, r"--path vp has no table.*train with one of linear"),
        ({"patch": 2}, r"--patch 2 folds pixels"),
        ({"attention": None}, r"--attention names no level"),
        ({"channels": (32, 64), "attention": (1,), "head_width": 32}, r"--channels 32,64 are normed in 8 to 32 groups"),
    ],
)
def test_what_diffusers_cannot_build(changes, message):
    with pytest.raises(UserError, match=message):
        exported(run_of(**changes), "ddpm")


def test_what_is_no_network_of_diffusion():
    run = run_of()
    for params in ({"encoder": {}}, {"net": {"Dense_0": {}}}):
        with pytest.raises(UserError, match="stage 'ddpm' is no U-Net"):
            exported(run._replace(params={"ddpm": params}), "ddpm")
    net = run.params["ddpm"]["net"]
    with pytest.raises(UserError, match="its parameter more/bias is not the same"):
        exported(run._replace(params={"ddpm": {"net": {**net, "more": {"bias": jnp.zeros(3)}}}}), "ddpm")
