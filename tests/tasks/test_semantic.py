"""Images from label maps: maps as channels, networks that read them, and what segmentation networks are trained on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import experiment as experiments
from jaxgen.app.cli import main
from jaxgen.data import ArraySource
from jaxgen.data.label_channels import Maps
from jaxgen.experiment import Run
from jaxgen.nets import UNetVariant, unet
from jaxgen.nets.reads_map import reads_map
from jaxgen.tasks.translation import Translator, data, semantic
from jaxgen.types import Net

FOUND = experiments.find("semantic_synthesis")
SMOKE = FOUND.presets["smoke"]


@pytest.fixture(scope="module")
def run():
    splits = semantic.load(SMOKE)
    return Run(SMOKE, data.measure(SMOKE, splits), {}, splits)


def test_a_map_has_a_channel_for_every_label_and_says_what_the_mask_says(run):
    mask = np.array([[0, 2], [1, 0]], np.uint8)
    maps = Maps(ArraySource({"image": np.zeros((1, 2, 2, 1)), "mask": mask[None]}), 3)
    given = maps[0]["source"]
    np.testing.assert_array_equal(given.argmax(-1), mask)
    np.testing.assert_array_equal(np.sort(given, -1), np.broadcast_to([-1.0, -1.0, 1.0], (2, 2, 3)))
    assert run.facts.source_channels == 5
    pairs = data.examples(run).arrays["source"]
    assert set(np.unique(pairs)) == {0, 255}
    assert (pairs.astype(int).sum(-1) == 255).all()


def test_masks_of_one_class_are_refused(tmp_path, capsys):
    image = np.random.default_rng(0).integers(0, 255, (20, 16, 16), np.uint8)
    np.savez(tmp_path / "data.npz", images=image, masks=(image > 128).astype(np.uint8))
    flags = ["--preset", "smoke", "--data", str(tmp_path / "data.npz"), "--workdir", str(tmp_path / "run")]
    assert main(["run", "semantic_synthesis", *flags]) == 2
    assert "have one class, and a label map needs two or more" in capsys.readouterr().err
    assert main(["run", "semantic_synthesis", "--unpaired", *flags]) == 2


@pytest.mark.parametrize("channels", [0, 1])
def test_a_network_sees_its_map_in_the_norms_and_noise_where_it_is_given_nothing(channels):
    variant = UNetVariant(spade=4, spade_encoder=True)
    net = reads_map(unet(1, channels=(8,), blocks=1, variant=variant), channels)
    x, given = jnp.ones((1, 8, 8, channels)), jnp.full((2, 8, 8, 3), -1.0).at[1, :, :4, 1].set(1.0)
    z = jnp.concatenate([jnp.repeat(x, 2, 0), given], -1)
    t = None if channels == 0 else jnp.zeros(2)
    params = net.init(jax.random.key(0), z, t)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), params)
    keys = jax.random.split(jax.random.key(2), 2)
    one, two = (net.apply(params, z, t, key=key) for key in keys)
    assert one.shape == (2, 8, 8, 1)
    assert (np.abs(one - two).max() > 1e-3) == (channels == 0)
    other = net.apply(params, z.at[0].set(z[1]), t, key=keys[0])
    assert np.abs(other[0] - one[0]).max() > 1e-3
    np.testing.assert_allclose(other[1], one[1], atol=1e-5)


def test_segmentation_networks_get_the_few_images_as_often_as_drawn_ones(run):
    changed = run._replace(config=dataclasses.replace(run.config, few=4))

    def method(run):
        return Translator("grey", lambda key, maps: np.zeros((*maps.shape[:-1], 1), np.float32))

    few, mixed = semantic.few_real(changed).arrays, semantic.with_drawn(method)(changed).arrays
    n = len(run.splits.train)
    assert len(few["image"]) == 4
    assert len(mixed["image"]) == 2 * n
    assert {x.tobytes() for x in mixed["image"][:n]} == {x.tobytes() for x in few["image"]}
    assert set(np.unique(mixed["image"][n:])) == {128}
    np.testing.assert_array_equal(mixed["source"][n:], data.examples(run).arrays["source"])


def test_the_map_that_was_asked_for_is_found_by_a_perfect_network(run, monkeypatch):
    """A segmentation network that reads labels off grey values, and images that have these."""
    levels = jnp.linspace(-1, 1, 5)
    exact = Net(lambda key, x: {}, lambda params, x, key=None: -jnp.square(x - levels))
    monkeypatch.setattr(semantic, "segmenter", lambda run: exact)
    truth = np.random.default_rng(0).integers(0, 5, (3, 16, 16))
    trained = run._replace(params={"segmenter": {"net": {}}})
    found = semantic.labels_of(trained, "segmenter", np.asarray(levels)[truth][..., None])
    np.testing.assert_array_equal(found, truth)
