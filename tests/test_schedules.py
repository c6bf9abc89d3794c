import math

import numpy as np
import pytest

from jaxgen import paths, schedules

TABLES = [
    schedules.linear_betas,
    schedules.scaled_linear_betas,
    schedules.cosine_betas,
    schedules.sigmoid_betas,
]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("T", [2, 50, 1000])
def test_rates_lie_between_0_and_1_and_rise(table, T):
    betas = table(T)
    assert betas.shape == (T,)
    assert betas.dtype == np.float32
    assert (betas > 0).all()
    assert (betas < 1).all()
    assert (np.diff(betas) > 0).all()


def test_entries_by_hand():
    T, i = 1000, 700
    np.testing.assert_allclose(schedules.linear_betas(T)[i], 1e-4 + (0.02 - 1e-4) * i / 999, rtol=1e-6)
    root = math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * i / 999
    np.testing.assert_allclose(schedules.scaled_linear_betas(T)[i], root**2, rtol=1e-6)
    want = 1e-4 + (0.02 - 1e-4) / (1 + math.exp(6 - 12 * i / 999))
    np.testing.assert_allclose(schedules.sigmoid_betas(T)[i], want, rtol=1e-6)
    ends = schedules.linear_betas(10, 0.1, 0.3), schedules.scaled_linear_betas(10, 0.1, 0.3)
    for betas in ends:
        np.testing.assert_allclose(betas[[0, -1]], [0.1, 0.3], rtol=1e-6)


def test_cosine_table_follows_the_cosine_path():
    T = 200
    kept = np.cumprod(1 - schedules.cosine_betas(T, max_beta=1.0).astype(np.float64))
    t = (np.arange(T) + 1) / T
    np.testing.assert_allclose(np.sqrt(kept), paths.cosine().alpha(t), atol=1e-6)
    assert schedules.cosine_betas(T).max() == np.float32(0.999)
    np.testing.assert_array_equal(schedules.cosine_betas(T)[:-1], schedules.cosine_betas(T, max_beta=1.0)[:-1])


@pytest.mark.parametrize("table", TABLES)
def test_zero_terminal_snr(table):
    betas = table(1000).astype(np.float64)
    rescaled = schedules.zero_terminal_snr(betas)
    before, after = (np.sqrt(np.cumprod(1 - b.astype(np.float64))) for b in (betas, rescaled))
    assert rescaled.dtype == np.float32
    assert rescaled[-1] == 1
    assert after[-1] == 0
    np.testing.assert_allclose(after[0], before[0], rtol=1e-6)
    # An affine change of alpha, read off two entries and checked on the rest.
    slope = (after[0] - after[500]) / (before[0] - before[500])
    np.testing.assert_allclose(after, after[0] + slope * (before - before[0]), atol=1e-5)
