import numpy as np
import pytest

from jaxgen import paths
from jaxgen.samplers import grids, shifting


def test_the_ratio_is_multiplied_on_every_path():
    for path, shift in ((paths.cosine(), 3.0), (paths.variance_preserving(), 0.5)):
        even, moved = grids.uniform(path, 8), shifting.shifted(path, 8, shift)
        np.testing.assert_allclose(moved[np.array([0, -1])], [path.t_noise, path.t_data])
        ratios = [path.sigma(t) / path.alpha(t) for t in (even[1:-1], moved[1:-1])]
        np.testing.assert_allclose(ratios[1], shift * ratios[0], rtol=1e-3)


def test_the_formula_of_flow_matching():
    level = 1 - np.linspace(0, 1, 8)
    want = 3 * level / (1 + 2 * level)
    np.testing.assert_allclose(1 - shifting.shifted(paths.rectified(), 7, 3.0), want, atol=1e-6)
    begun = shifting.shifted(paths.rectified(), 4, 3.0, start=0.4)
    assert float(begun[0]) == pytest.approx(0.4)
    level = 1 - np.asarray(begun)
    np.testing.assert_allclose(np.diff(level / (3 - 2 * level), n=2), 0, atol=1e-5)


def test_more_pixels_more_noise():
    assert shifting.shift_of_size(64 * 64, 32 * 32, 2) == pytest.approx(2)
    assert shifting.shift_of_size(64**3) == pytest.approx(2)
    assert shifting.shift_of_size(64**3, scale=1.5) == pytest.approx(3)
    assert shifting.mu_of_tokens(1024) == pytest.approx(0.5 + 0.65 * 768 / 3840)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shifting.shifted(paths.rectified(), 4, 0.0), "shift is 0"),
        (lambda: shifting.shifted(paths.rectified(), 4, float("nan")), "shift is nan"),
        (lambda: shifting.shifted(paths.rectified(), 0), "steps is 0"),
        (lambda: shifting.shift_of_size(0), "must be above 0"),
        (lambda: shifting.mu_of_tokens(5, base_tokens=7, max_tokens=7), "both 7"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
