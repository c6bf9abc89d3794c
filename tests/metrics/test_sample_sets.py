"""Sets of drawn images in features: how near they are to the training images."""

import types

import numpy as np

from jaxgen.metrics.sample_sets import realism_of

RNG = np.random.default_rng(0)


def test_realism_is_one_for_held_out_images_and_nan_for_what_diverged():
    extract = lambda x: x.reshape(len(x), -1)  # noqa: E731
    train, held_out = RNG.normal(size=(20, 4, 4, 1)), RNG.normal(size=(9, 4, 4, 1))
    real = types.SimpleNamespace(extract=extract, train_features=extract(train), held_out=held_out)
    realism = realism_of(real)
    assert realism(held_out) == 1
    assert realism(train[:3]) < 1e-6
    assert np.isnan(realism(np.full((3, 4, 4, 1), np.inf)))
