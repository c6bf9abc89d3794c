"""What segmentation after pre-training is fed, and that what it compares has one architecture."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.segmentation.pretrained_segmentation import EXPERIMENT, method
from jaxgen.data.source import ArraySource, Splits
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.tasks.segmentation import pretraining
from jaxgen.tasks.segmentation.data import baseline_network, example_tiles, measure_masks

CONFIG = dataclasses.replace(EXPERIMENT.presets["smoke"], size=16, labelled=3)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def run():
    masks = np.broadcast_to(np.arange(16, dtype=np.uint8) % 3, (9, 16, 16))
    part = ArraySource({"image": RNG.random((9, 16, 16, 1)).astype(np.float32), "mask": masks})
    splits = Splits(part, part, part, mask_names=("one", "two"))
    return Run(CONFIG, measure_masks(CONFIG, splits), {}, splits)


def test_pretraining_sees_all_images_and_no_mask_and_the_rest_a_few(run):
    for spec in (pretraining.DIFFUSION, pretraining.DENOISING):
        tiles = spec.examples(run)
        assert len(tiles) == 9
        assert set(tiles[0]) == {"image"}
    few = example_tiles(run)
    assert len(few) == 3
    own = [spec.name for spec in EXPERIMENT.stages if spec.examples is not None]
    assert own == ["diffusion", "denoising"]


def test_one_architecture_from_three_starts(run):
    image = jnp.zeros((1, 16, 16, 1))
    shapes = [
        jax.tree.map(jnp.shape, jax.eval_shape(net.init, jax.random.key(0), image))
        for net in (
            baseline_network(CONFIG, 2),
            pretraining.tuned_network(run, "diffusion"),
            pretraining.tuned_network(run, "denoising"),
        )
    ]
    assert shapes[0] == shapes[1] == shapes[2]


def test_each_network_is_told_a_time_that_it_knows():
    config = dataclasses.replace(CONFIG, path="rectified", clean_time=0.25, denoising_time=0.5)
    assert pretraining.pretrained_at(config, "diffusion") == 0.75
    assert pretraining.pretrained_at(config, "denoising") == 0.5


def test_the_autoencoder_sees_one_level_of_noise():
    path = pretraining.PATHS[CONFIG.path]()
    times = pretraining.one_level(CONFIG)(path, jax.random.key(2), 3)
    np.testing.assert_allclose(times, CONFIG.denoising_time, rtol=1e-6)
    assert 0.2 < float(path.sigma(times[0])) < 0.5


def test_blocks_that_the_decoder_has_not_are_refused():
    with pytest.raises(UserError, match="--feature-blocks must be from 0 to 3, got 4"):
        dataclasses.replace(CONFIG, feature_blocks=(1, 4))


@pytest.mark.thorough
def test_the_method_is_one_network(run):
    net = pretraining.tuned_network(run, "diffusion")
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
    ensemble = method(run._replace(params={"ptdr": {"net": params}}))
    drawn = ensemble.draw(None, jnp.zeros((2, 16, 16, 1)))
    assert drawn.shape == (1, 2, 16, 16, 2)
    np.testing.assert_allclose(drawn, 1 / 3, rtol=1e-6)
