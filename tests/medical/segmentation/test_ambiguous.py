import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.losses.matching import flow_matching
from jaxgen.medical.segmentation.ambiguous import Encoders, ambiguous_diffusion
from jaxgen.medical.segmentation.conditional import ConditionalNet
from jaxgen.paths import rectified
from jaxgen.samplers import Sampling, euler, grids
from jaxgen.types import Net

PATH = rectified()
SAMPLING = Sampling(PATH, euler(PATH), grids.uniform(PATH, 2), "x0")
NET = ConditionalNet(
    lambda key, image, x: jnp.float32(0.5),
    lambda params, image: image,
    lambda params, x, t, image: params * (x + image),
)
CODE = Net(
    lambda key, x: jnp.ones((2,)),
    lambda params, x: jnp.concatenate([params[:1] * x.mean((1, 2))[:, -1:], 0 * x.mean((1, 2))[:, :1] + params[1]], -1),
)
"""The mean of the mask, with log variance 1."""
BATCH = {"image": jnp.full((3, 4, 4, 1), 0.25), "distance": jnp.ones((3, 4, 4, 1))}


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_loss_is_the_error_and_the_divergence_of_the_codes(weight):
    model = ambiguous_diffusion(NET, SAMPLING, Encoders(CODE, CODE, weight))
    params, key = model.init(jax.random.key(0), BATCH), jax.random.key(1)
    seen = []

    def predict(x, t):
        seen.append(0.5 * (x + BATCH["image"]))
        return seen[-1]

    error = flow_matching(predict, PATH, key, BATCH["distance"], prediction="x0", target="x0")
    codes = BATCH["distance"].mean((1, 2, 3)), seen[0].mean((1, 2, 3))
    divergence = (codes[0] - codes[1]) ** 2 / (2 * np.exp(1.0))  # of Gaussians of equal variance
    found, info = model.objectives[0].loss(params, key, BATCH)
    np.testing.assert_allclose(info["divergence"], divergence, rtol=1e-5)
    np.testing.assert_allclose(found, error + weight * divergence, rtol=1e-5)


@pytest.mark.parametrize(("trained", "groups"), [(True, ("net", "rater", "answer")), (False, "net")])
def test_which_groups_learn(trained, groups):
    model = ambiguous_diffusion(NET, SAMPLING, Encoders(CODE, CODE, trained=trained))
    assert model.objectives[0].trains == groups


def test_masks_are_drawn_given_images_alone():
    model = ambiguous_diffusion(NET, SAMPLING, Encoders(CODE, CODE))
    params = model.init(jax.random.key(0), BATCH)
    assert model.sample({"net": params["net"]}, jax.random.key(2), 3, BATCH["image"]).shape == (3, 4, 4, 1)
    with pytest.raises(ValueError, match="given images"):
        model.sample(params, jax.random.key(2), 3)
