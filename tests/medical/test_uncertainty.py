import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.medical.uncertainty import summarise


@pytest.mark.parametrize(("shape", "rank"), [((4, 5), 2), ((2, 4, 5), 2), ((3, 4, 5), 3)])
def test_summary_in_numpy(shape, rank):
    maps = np.random.default_rng(0).normal(0.2, 1, (7, *shape))
    maps[0].flat[0] = 0.0  # zero is inside
    summary = summarise(jnp.asarray(maps, jnp.float32), rank)
    mean, std, p = maps.mean(0), maps.std(0), (maps <= 0).mean(0)
    np.testing.assert_array_equal(summary.mask, mean <= 0)
    np.testing.assert_allclose(summary.mean, mean, atol=1e-6)
    np.testing.assert_allclose(summary.probability, p, atol=1e-6)
    np.testing.assert_allclose(summary.mask_variance, p * (1 - p), atol=1e-6)
    np.testing.assert_allclose(summary.standardised_mean, -np.abs(mean) / std, rtol=1e-4, atol=1e-5)
    case = (std**2).mean(tuple(range(-rank, 0)))
    assert summary.case_uncertainty.shape == case.shape == shape[: len(shape) - rank]
    np.testing.assert_allclose(summary.case_uncertainty, case, rtol=1e-5)


def test_members_that_agree_leave_no_doubt():
    summary = summarise(-jnp.ones((3, 2, 2)))
    assert summary.mask.all()
    assert not np.any(summary.mask_variance)
    assert np.isfinite(summary.standardised_mean).all()
    assert summary.case_uncertainty == 0


def test_too_few_axes_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\) are not \[members"):
        summarise(jnp.zeros((3, 4)))
