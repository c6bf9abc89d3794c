"""The GAN experiments: from the command line to the files they leave, and their full presets by shape."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.generation import conditional_gan
from experiments.generation import gan as gan_recipe
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.imaging.differentiable_augment import named_augment
from jaxgen.tasks import features, gan
from jaxgen.tasks.images import ImageFacts
from jaxgen.types import Model

MODULES = {"gan": gan_recipe, "conditional_gan": conditional_gan}
PRESETS = gan_recipe.EXPERIMENT.presets


def facts(channels=1, classes=()):
    return ImageFacts(value_range=((0.0,), (255.0,)), image_channels=channels, classes=classes)


@pytest.mark.thorough
@pytest.mark.parametrize("name", MODULES)
def test_smoke_preset_on_images_of_the_user(name, data, tmp_path):
    run = tmp_path / "run"
    flags = ["--samples", "8", "--chunk", "8"]
    assert main(["run", name, "--preset", "smoke", "--data", str(data), "--workdir", str(run), *flags]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    numbers = [v for entry in metrics.values() if isinstance(entry, dict) for v in entry.values()]
    assert np.isfinite(numbers).all()
    assert set(metrics) == {name, "gaussian", "held-out images", "images"}
    assert ("accuracy" in metrics[name]) == (name == "conditional_gan")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["stage"] == "gan"]
    assert all(("variety" in line) == ("coverage" in line) for line in lines)
    assert [("coverage" in line, "classes_drawn" in line) for line in lines] == [(False, False), (True, True)] * 3
    for line in lines:
        assert 0 <= line["accuracy/critic"] <= 1
        assert line["penalty/critic"] > 0
        assert {"grad_norm/generator", "grad_norm/critic", "loss/generator", "loss/critic"} <= set(line)
    assert main(["sample", str(run), "--n", "3"]) == 0
    (drawn,) = run.glob("samples*/samples.npz")
    assert np.load(drawn)["images"].shape == (3, 16, 16, 1)


def test_one_image_a_class_is_warned_of(monkeypatch):
    """In features that are nothing but brightness: two shades are little variety, all shades are much."""

    class Brightness:
        def __init__(self, run):
            pass

        def __call__(self, x):
            return x.mean((1, 2))

        def classes(self, x):
            return (x.mean((1, 2, 3)) > 0).astype(int)

    monkeypatch.setattr(features, "Features", Brightness)
    config = dataclasses.replace(PRESETS["smoke"], watch_images=64, chunk=64)
    shades = np.random.default_rng(0).integers(0, 256, (64, 1, 1, 1)).astype(np.uint8)

    def watched(drawn):
        def sample(params, key, n):
            return jnp.broadcast_to(jnp.asarray(drawn)[jnp.arange(n) % len(drawn), None, None, None], (n, 16, 16, 1))

        model = Model(lambda key, batch: {}, (), sample)
        watch = gan.make_watch(Run(config, facts(classes=("dark", "bright"))), model)
        numbers = watch.measure({}, jax.random.key(0), {"image": np.broadcast_to(shades, (64, 16, 16, 1))})
        said = []
        for adviser in watch.advisers:
            memory = adviser.memory
            for _ in range(10):
                memory, warning = adviser.read(memory, {"variety": numbers["variety"]})
                said += [] if warning is None else [warning]
        return numbers["variety"], said

    few, said = watched(np.array([-0.7, 0.6]))
    assert few == pytest.approx(0, abs=1e-6)
    assert len(said) == 1
    assert said[0].startswith("modes are missing: variety")
    many, said = watched(np.linspace(-1, 1, 64))
    assert many == pytest.approx(1, abs=0.2)
    assert said == []


def test_a_conditional_gan_asks_for_labels(tmp_path, capsys):
    path = tmp_path / "plain.npz"
    np.savez(path, images=np.zeros((40, 16, 16), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None])
    flags = ["--preset", "smoke", "--data", str(path), "--workdir", str(tmp_path / "r")]
    assert main(["run", "conditional_gan", *flags]) == 2
    assert "labels" in capsys.readouterr().err


def test_configurations_that_do_not_fit():
    with pytest.raises(UserError, match="--size must be a multiple of 32"):
        dataclasses.replace(PRESETS["small"], size=36)
    with pytest.raises(UserError, match="--size must be a multiple of 8"):
        dataclasses.replace(PRESETS["small"], network="residual", channels=(64, 48, 24), size=36)


def test_the_critic_sees_images_changed_as_asked():
    """An image that brightens along its columns tells which change was made."""
    x = jnp.broadcast_to(jnp.linspace(-0.5, 0.5, 16)[:, None], (4, 16, 16, 1))

    def seen(*names):
        augment = named_augment(names or None)
        return None if augment is None else np.asarray(augment(jax.random.key(0), x))

    assert seen() is None
    cut, moved, coloured = seen("cutout"), seen("translation"), seen("colour")
    assert ((cut == x) | (cut == -1)).all()
    assert 0.1 < (cut == -1).mean() < 0.3
    assert not (moved == x).all()
    assert set(np.unique(moved)) <= {-1.0, *np.unique(x).tolist()}
    steps = np.diff(coloured[..., 0], axis=2)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:, :1, :1], steps.shape), atol=1e-6)
    assert np.ptp(coloured.mean((1, 2, 3))) > 0.05


def block(c, expansion=2, group_width=16):
    """Parameters of a residual block: 1x1, 3x3 in groups, 1x1, each with its biases."""
    wide = expansion * c
    return (c * wide + wide) + (9 * group_width * wide + wide) + (wide * c + c)


def test_the_full_preset_is_r3gan_s_network_for_64_pixels():
    """Widths 768, 768, 768, 768, 384 from 4 to 64 pixels, two blocks a level, counted by hand."""
    config = PRESETS["full"]
    generator, critic = gan.networks(Run(config, facts(channels=3)))
    z = jax.ShapeDtypeStruct((1, config.latent), jnp.float32)
    params = jax.eval_shape(generator.init, jax.random.key(0), z)
    x = jax.eval_shape(generator.apply, params, z)
    assert x.shape == (1, 64, 64, 3)
    blocks = 2 * (4 * block(768) + block(384))
    ends = (4 * 4 * 768 + 64 * 768 + 768) + (768 * 384 + 384) + (384 * 3 + 3)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == blocks + ends
    params = jax.eval_shape(critic.init, jax.random.key(0), x)
    ends = (3 * 384 + 384) + (384 * 768 + 768) + (4 * 4 * 768 + 1)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == blocks + ends


GAMES = [("relativistic", {}), ("hinge", {"r1": 0.0, "r2": 0.0, "spectral": True, "network": "dcgan"})]
GAMES += [("wasserstein", {"r1": 0.0, "r2": 0.0, "gradient_penalty": 10.0, "critic_steps": 2})]


@pytest.mark.parametrize(
    ("preset", "precision", "game"), [("small", "float32", 0), ("small", "bfloat16", 1), ("small", "float32", 2)]
)
@pytest.mark.parametrize("name", MODULES)
def test_presets_and_losses_trace_a_training_step(name, preset, precision, game):
    check_trace(MODULES[name].EXPERIMENT, preset, precision, *GAMES[game])


def check_trace(experiment, preset, precision, loss, options):
    config = dataclasses.replace(experiment.presets[preset], precision=precision, loss=loss, **options)
    dtype = jnp.dtype(precision)
    batch = {
        "image": jax.ShapeDtypeStruct((2, config.size, config.size, 1), dtype),
        "label": jax.ShapeDtypeStruct((2,), jnp.int32),
    }
    stage = experiment.stages[-1].build(Run(config, facts(classes=("a", "b", "c"))))
    model = stage.model
    params = jax.eval_shape(model.init, jax.random.key(0), batch)
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), params)
    keys = jax.random.split(jax.random.key(0), 2)
    assert len(model.objectives) == config.critic_steps + 1
    for objective in model.objectives[-2:]:
        loss, _ = jax.eval_shape(objective.loss, params, keys, batch)
        assert (loss.shape, loss.dtype) == ((2,), jnp.float32)
