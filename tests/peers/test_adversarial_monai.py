"""Adversarial losses beside MONAI's patch-adversarial loss, on the same maps of logits."""

import numpy as np
import pytest

from jaxgen.losses import adversarial

torch = pytest.importorskip("torch")
monai_losses = pytest.importorskip("monai.losses")
pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def logits():
    rng = np.random.default_rng(0)
    return tuple((2 * rng.normal(size=(4, 5, 6))).astype(np.float32) for _ in range(2))


def peer(criterion, real, generated, **options):
    """MONAI's generator loss, and the sum of the critic's two; means over the batch."""
    loss = monai_losses.PatchAdversarialLoss(criterion=criterion, **options)
    a, b = (torch.from_numpy(x)[:, None] for x in (real, generated))
    critic = loss(a, target_is_real=True, for_discriminator=True) + loss(
        b, target_is_real=False, for_discriminator=True
    )
    return float(loss(b, target_is_real=True, for_discriminator=False)), float(critic)


def ours(losses, real, generated):
    return float(losses.generator(real, generated).mean()), float(losses.critic(real, generated).mean())


def test_cross_entropy(logits):
    np.testing.assert_allclose(ours(adversarial.non_saturating(), *logits), peer("bce", *logits), rtol=1e-5)


def test_least_squares_without_the_half(logits):
    expected = peer("least_squares", *logits, no_activation_leastsq=True)
    np.testing.assert_allclose(2 * np.array(ours(adversarial.least_squares(), *logits)), expected, rtol=1e-5)


def test_hinge_of_what_monai_squashes_first(logits):
    """MONAI's generator loss is 1 larger: ``max(0, 1 - d)`` where the papers have ``-d``, the same as d is below 1."""
    generator, critic = ours(adversarial.hinge(), *(np.tanh(x) for x in logits))
    np.testing.assert_allclose((generator + 1, critic), peer("hinge", *logits), rtol=1e-5)
