import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.data.phantoms import LESIONS, brain2d
from jaxgen.imaging.tiles import tiling
from jaxgen.medical.anomaly.patch_diffusion import (
    box_masks,
    patch_diffusion,
    patch_diffusion_model,
    stitching_weights,
)
from jaxgen.mixtures import ideal_denoiser
from jaxgen.types import Net

PATH = paths.cosine()
PLANS = [tiling((12, 12), 6), tiling((12, 10), 6, 3), tiling((7, 6, 5), 4, 1), tiling((4, 9), 6, 2)]


@pytest.mark.parametrize("merge", ["average", "cut"])
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_the_weights_of_all_boxes_add_up_to_one(plan, merge):
    masks, weights = box_masks(plan), stitching_weights(plan, merge)
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-6)
    assert (weights[masks == 0] == 0).all()
    if merge == "cut":
        assert set(np.unique(weights)) <= {0.0, 1.0}


def test_a_cut_lies_half_way_between_centres():
    plan = tiling((12, 12), 8, 4)
    first = stitching_weights(plan, "cut")[0]
    np.testing.assert_array_equal(first[:6, :6], 1)
    assert first.sum() == 36
    with pytest.raises(ValueError, match="average, cut"):
        stitching_weights(plan, "blend")


def test_outside_of_the_boxes_nothing_changes():
    x = jax.random.normal(jax.random.key(0), (2, 12, 12, 1))
    plan = tiling((12, 12), 4)
    y = patch_diffusion(PATH, lambda x, t: 0 * x + 9.0, jax.random.key(1), x, plan, 0.6, boxes=[0, 4])
    inside = box_masks(plan)[[0, 4]].max(0) > 0
    np.testing.assert_array_equal(y[:, ~inside], x[:, ~inside])
    assert (y[:, inside] == 9.0).all()


def test_the_network_sees_the_clean_image_round_a_noised_box():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    plan, seen = tiling((8, 8), 4), []

    def denoise(x, t):
        seen.append(x)
        return x

    patch_diffusion(PATH, denoise, jax.random.key(1), x, plan, 0.6, noise=lambda key, shape: jnp.full(shape, 3.0))
    assert len(seen) == 1, "one call for all boxes"
    for box, mask in zip(seen[0].reshape(4, 2, 8, 8, 1), box_masks(plan), strict=True):
        np.testing.assert_array_equal(box[:, mask == 0], x[:, mask == 0])
        want = PATH.alpha(0.6) * x + PATH.sigma(0.6) * 3.0
        np.testing.assert_allclose(box[:, mask > 0], want[:, mask > 0], rtol=1e-5)


def test_training_judges_the_inside_of_one_box():
    plan = tiling((8, 8), 4)
    x = jnp.zeros((64, 8, 8, 1))
    answer = jnp.asarray(sum((k + 1) * mask for k, mask in enumerate(box_masks(plan))))[..., None]
    net = Net(lambda key, x, t: {}, lambda params, x, t, key=None: jnp.broadcast_to(answer, x.shape))
    model = patch_diffusion_model(net, PATH, plan)
    loss, _ = model.objectives[0].loss({"net": {}}, jax.random.split(jax.random.key(0), 64), {"image": x})
    assert set(np.asarray(loss).tolist()) == {1.0, 2.0, 3.0, 4.0}
    counts = np.bincount(np.asarray(loss).astype(int))[1:]
    assert (np.abs(counts - 16) < 4 * np.sqrt(64 * 3 / 16)).all()
    with pytest.raises(TypeError, match="no image"):
        model.sample({}, jax.random.key(0), 1)


def test_with_the_ideal_prior_a_box_becomes_healthy_as_the_level_rises():
    drawn = [brain2d(7, i, 32, contrast="t2", lesion=LESIONS["L1"]) for i in range(6)]
    ill, well = (np.stack([2 * e[name] - 1 for e in drawn]) for name in ("image", "healthy"))
    healthy = ideal_denoiser(PATH, well, bandwidth=0.1)
    run = jax.jit(
        lambda level: patch_diffusion(PATH, healthy, jax.random.key(0), jnp.asarray(ill), tiling((32, 32), 32), level)
    )
    errors = [float(jnp.sqrt(jnp.mean((run(level) - well) ** 2))) for level in (0.03, 0.1, 0.25, 0.5)]
    assert all(np.diff(errors) < 0)
    assert errors[-1] < 0.02 < errors[0]
