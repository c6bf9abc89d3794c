"""Points in the plane: what models of them are compared with."""

import numpy as np
import scipy.stats

from jaxgen.data.planar import planar_set
from jaxgen.tasks import points

FACTS = points.PointFacts(mean=(0.5, -1.0), covariance=((2.0, 0.3), (0.3, 0.5)))


def test_the_gaussian_s_log_density():
    x = np.random.default_rng(0).normal(size=(5, 2))
    want = scipy.stats.multivariate_normal(FACTS.mean, FACTS.covariance).logpdf(x)
    np.testing.assert_allclose(points.gaussian_log_prob(FACTS, x), want, rtol=1e-10)


def test_data_and_facts():
    config = points.PointsConfig(data="moons", points=100, test_points=40, seed=3)
    splits = points.load_points(config)
    assert [len(part) for part in splits[:3]] == [100, 1000, 40]
    train = points.points_of(splits.train)
    facts = points.measure_points(config, splits)
    np.testing.assert_allclose(facts.mean, train.mean(0))
    np.testing.assert_allclose(facts.covariance, np.cov(train.T))
    assert points.PointFacts.from_json(facts.to_json()) == facts
    assert not np.isin(points.points_of(splits.test), train).any()


def test_the_gap_is_the_divergence_from_the_true_density():
    known = planar_set("eight_gaussians")
    x, _ = known.draw(np.random.default_rng(0), 4000)
    found = points.score(known, x, known.log_prob(x) - 0.25, x, gap="excess")
    assert found["excess"] == 0.25
    assert found["excess_error"] < 1e-12
    assert abs(found["nats"] - 0.25 - known.entropy(400)) < 0.05
    assert set(found) == {"nats", "excess", "excess_error", "energy_distance"} == set(points.describe("excess"))


def test_panels_for_densities_points_and_trajectories():
    known, x = planar_set("moons"), np.zeros((5, 2))
    figure = points.panels(
        known, "All.", densities={"model": known.log_prob}, sets={"drawn": x}, ways={"way": np.zeros((3, 5, 2))}
    )
    assert [axes.get_title() for axes in figure.figure.axes] == ["true density", "model", "drawn", "way"]
    pictures = [axes.get_images()[0].get_array() for axes in figure.figure.axes[:2]]
    np.testing.assert_array_equal(*pictures)
