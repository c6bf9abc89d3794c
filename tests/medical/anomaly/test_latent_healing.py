"""Latent healing: which maps come of unlikely codes, by models that are written by hand."""

import numpy as np

from jaxgen.medical.anomaly import Healthy, LatentHealing, absolute_residual


def divergence(x):
    return np.stack([np.broadcast_to(x.mean((1, 2, 3))[:, None, None], (len(x), 4, 4))] * 2)


def test_unlikely_codes_are_counted_from_no_divergence():
    """What is subtracted is the same for every image, and no map falls below 0."""
    healthy = Healthy(np.array([1.0, 4.0]), np.array([0.5, 2.0]), np.zeros((4, 4)))
    found = LatentHealing(divergence, lambda x, mask: x, healthy, absolute_residual).likelihood
    x = np.zeros((1, 16, 16, 1), np.float32)
    np.testing.assert_allclose(found(x)[0], 0, atol=1e-6)
    many = found(np.concatenate([x + 3, x, x + 1]))[0]
    np.testing.assert_allclose(many, found(x + 3)[0][0] * np.array([1, 0, 1 / 3])[:, None, None], atol=1e-5)
    x[0, 0, 0] = np.nan
    assert np.isnan(found(x)[0]).all()


def test_only_what_is_unlikely_is_healed_and_only_there_does_it_count():
    """A code of 2 places, of which the first is unlikely; healing gives 0, the autoencoder half the image."""
    healthy = Healthy(np.array([0.0]), np.array([1.0]), np.array([0.5, 9.0]))
    masks = []

    def restore(x, mask):
        masks.append(mask.tolist())
        return np.where(np.repeat(mask, 2, axis=1)[..., None] > 0, 0, 0.5 * x)

    method = LatentHealing(lambda x: x[None, :, ::2, 0], restore, healthy, absolute_residual, 0.0)
    x = np.ones((1, 4, 1))
    assert method.ungated(x)[0].tolist() == [[1.0, 1.0, 0.5, 0.5]]
    assert method.reconstructed(x)[0].tolist() == [[0.5, 0.5, 0.5, 0.5]]
    assert method.healed(x)[0].tolist() == [[1.0, 0.75, 0.125, 0.0]]
    assert method.unhealed(x)[0].tolist() == [[0.5, 0.375, 0.125, 0.0]]
    assert masks == [[[1.0, 0.0]], [[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 0.0]]]
    assert next(iter(LatentHealing.maps().values()))(method, x)[0].tolist() == method.healed(x)[0].tolist()
