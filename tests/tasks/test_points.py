"""Points in the plane: what models of them are compared with."""

import numpy as np

from jaxgen.data.planar import planar_set
from jaxgen.tasks import points


def test_data_and_facts():
    config = points.PointsConfig(data="moons", points=100, test_points=40, seed=3)
    splits = points.load_points(config)
    assert [len(part) for part in splits[:3]] == [100, 1000, 40]
    train = points.points_of(splits.train)
    facts = points.measure_points(config, splits)
    np.testing.assert_allclose(facts.mean, train.mean(0))
    np.testing.assert_allclose(facts.covariance, np.cov(train.T))
    assert points.PointFacts.from_json(facts.to_json()) == facts
    np.testing.assert_allclose(facts.gaussian.covariance, np.cov(train.T))
    assert not np.isin(points.points_of(splits.test), train).any()


def test_the_gap_is_the_divergence_from_the_true_density():
    known = planar_set("eight_gaussians")
    x, _ = known.draw(np.random.default_rng(0), 4000)
    found = known.score(x, lambda x: known.log_prob(x) - 0.25, x, gap="excess")
    assert found["excess"] == 0.25
    assert found["excess_error"] < 1e-12
    assert abs(found["nats"] - 0.25 - known.entropy(400)) < 0.05
    assert set(found) == {"nats", "excess", "excess_error", "energy_distance"} == set(points.describe("excess"))
