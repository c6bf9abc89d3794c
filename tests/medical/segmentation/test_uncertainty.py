import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.medical.segmentation.uncertainty import agreeing_probability, summarise


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


@pytest.mark.parametrize("members", [1, 2, 5, 6])
@pytest.mark.parametrize("threshold", [0.0, 0.05])
def test_the_probability_handed_out_agrees_with_the_mask(members, threshold):
    """Also where few members far inside outweigh many that are just outside, and where members tie."""
    maps = np.random.default_rng(members).exponential(1, (members, 40, 40)) - 0.8
    maps[:, :3] = threshold  # on the boundary
    summary = summarise(jnp.asarray(maps, jnp.float32), threshold=threshold)
    found = np.asarray(agreeing_probability(summary))
    share, mask = np.asarray(summary.probability), np.asarray(summary.mask)
    np.testing.assert_array_equal(found >= 0.5, mask)
    np.testing.assert_array_equal(found > 0.5, mask)
    assert found.dtype == np.float32
    majority = share >= 0.5
    np.testing.assert_allclose(found[majority == mask], share[majority == mask], atol=1e-7)
    np.testing.assert_allclose(found[majority != mask], 0.5, atol=1e-7)
    assert members < 5 or (majority != mask).any()
