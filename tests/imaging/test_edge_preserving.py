import numpy as np

from jaxgen.imaging.edge_preserving import bilateral_filter, non_local_means

X = np.random.default_rng(0).normal(0, 1, (2, 9, 10, 1)).astype(np.float32)


def brute(weight, reach, x=X):
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect").astype(np.float64)
    found = np.zeros(x.shape)
    for b, i, j in np.ndindex(*x.shape[:3]):
        total = mass = 0.0
        for di in range(-reach, reach + 1):
            for dj in range(-reach, reach + 1):
                w = weight(padded[b, ..., 0], i + reach, j + reach, di, dj)
                total, mass = total + w * padded[b, i + reach + di, j + reach + dj, 0], mass + w
        found[b, i, j, 0] = total / mass
    return found


def test_the_bilateral_filter_by_its_formula():
    def weight(p, i, j, di, dj):
        return np.exp(-(di**2 + dj**2) / (2 * 1.5**2) - (p[i + di, j + dj] - p[i, j]) ** 2 / (2 * 0.7**2))

    np.testing.assert_allclose(bilateral_filter(X, 1.5, 0.7, reach=2), brute(weight, 2), atol=1e-5)


def test_non_local_means_by_its_formula_inside():
    def weight(p, i, j, di, dj):
        here, there = (p[a - 1 : a + 2, b - 1 : b + 2] for a, b in ((i, j), (i + di, j + dj)))
        same = here.shape == there.shape == (3, 3)
        return np.exp(-np.mean((here - there) ** 2) / 0.8**2) if same else 0.0

    found = np.asarray(non_local_means(X, 0.8, reach=2))
    inner = (slice(None), slice(3, -3), slice(3, -3))  # whose patches, and those looked at, lie in the image
    np.testing.assert_allclose(found[inner], brute(weight, 2)[inner], atol=1e-5)


def test_they_take_noise_away_and_leave_a_step():
    clean = np.zeros((1, 24, 24, 1), np.float32)
    clean[:, :, 12:] = 1.0
    noisy = clean + 0.1 * np.random.default_rng(1).normal(0, 1, clean.shape).astype(np.float32)
    for found in (bilateral_filter(noisy, 1.5, 0.3), non_local_means(noisy, 0.15)):
        assert np.square(found - clean).mean() < 0.3 * np.square(noisy - clean).mean()
        assert np.abs(np.asarray(found)[0, :, 11:13, 0] - clean[0, :, 11:13, 0]).mean() < 0.1
