import numpy as np
import pytest

from jaxgen.data.planar import PLANAR, checkerboard, planar_set
from jaxgen.errors import UserError


@pytest.mark.parametrize("name", PLANAR)
def test_density_integrates_to_one(name):
    law = planar_set(name)
    cells = 400
    width = 2 * law.extent / cells
    line = -law.extent + width * (np.arange(cells) + 0.5)
    total = sum(np.exp(law.log_prob(np.stack([line, np.full(cells, y)], -1))).sum() for y in line) * width**2
    assert total == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", PLANAR)
def test_entropy_is_the_mean_of_minus_log_prob_of_draws(name):
    law = planar_set(name)
    points, mode = law.draw(np.random.default_rng(0), 20_000)
    surprise = -law.log_prob(points)
    error = surprise.std() / np.sqrt(len(points))
    assert abs(surprise.mean() - law.entropy(400)) < 4 * error + 1e-3
    assert points.dtype == np.float32
    assert set(mode) == set(range(len(law.modes)))


@pytest.mark.parametrize("name", ["eight_gaussians", "25_gaussians", "checkerboard"])
def test_points_lie_nearest_to_the_mode_they_came_from(name):
    law = planar_set(name)
    points, mode = law.draw(np.random.default_rng(1), 2000)
    nearest = np.linalg.norm(points[:, None] - law.modes, axis=-1).argmin(-1)
    assert (nearest == mode).mean() > 0.99


def test_nothing_lies_on_the_light_squares():
    board = checkerboard()
    assert board.log_prob(np.array([[0.5, -0.5], [-1.5, -0.5], [5.0, 0.0]])).tolist() == [-np.inf] * 3
    assert np.isfinite(board.log_prob(np.array([[0.5, 0.5], [-1.5, -1.5]]))).all()


def test_an_unknown_name_is_refused():
    with pytest.raises(UserError, match="there are eight_gaussians"):
        planar_set("moon")
