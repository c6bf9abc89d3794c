"""What experiments on images share: facts about the data."""

import types

import numpy as np

from jaxgen.data import ArraySource
from jaxgen.tasks import images


def test_the_spread_is_that_of_the_images_as_the_network_sees_them():
    raw = np.random.default_rng(0).integers(0, 201, (20, 16, 16, 1)).astype(np.float32)
    raw[0, 0, 0], raw[0, 0, 1] = 0, 200
    splits = types.SimpleNamespace(train=ArraySource({"image": raw}), label_names=())
    facts = images.measure_spread(images.ImageConfig(size=16), splits)
    np.testing.assert_allclose(facts.sigma_data, (raw / 100 - 1).std(), rtol=1e-3)
    assert facts.image_channels == 1
    assert images.SpreadFacts.from_json(facts.to_json()) == facts
    old = {"value_range": [[0.0], [200.0]], "channels": 1, "classes": [], "sigma_data": 0.5}
    assert images.SpreadFacts.from_json(old).sigma_data == 0.5
