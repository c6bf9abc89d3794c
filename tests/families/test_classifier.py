import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws, paths
from jaxgen.families import classifier_model
from jaxgen.types import Net


def linear():
    """Logits ``[x, -x, t]`` of the first pixel and of the time: everything can be worked out by hand."""

    def apply(params, x, t=None, *, key=None):
        first = x[:, 0]
        time = jnp.zeros(len(x)) if t is None else jnp.broadcast_to(t, x.shape[:1])
        return params * jnp.stack([first, -first, time], axis=-1)

    return Net(lambda key, x, t=None: jnp.ones(()), apply)


BATCH = {"image": jnp.array([[2.0], [-1.0]]), "label": jnp.array([0, 0])}


def test_clean_images_give_the_cross_entropy_and_the_accuracy():
    model = classifier_model(linear())
    loss, info = model.objectives[0].loss(jax.jit(model.init)(jax.random.key(0), BATCH), jax.random.key(1), BATCH)
    logits = np.array([[2, -2, 0], [-1, 1, 0]], float)
    np.testing.assert_allclose(loss, np.log(np.exp(logits).sum(-1)) - logits[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(info["accuracy"], [1, 0])


@pytest.mark.parametrize("law", [draws.normal, lambda key, shape: 3 + draws.uniform(key, shape)])
def test_noisy_images_are_those_of_the_path_at_the_network_s_time(law):
    path = paths.rectified()
    model = classifier_model(linear(), path=path, noise=law)
    keys = jax.random.split(jax.random.key(1), 2)
    loss, _ = model.objectives[0].loss({"net": jnp.ones(())}, keys, BATCH)
    time_key, noise_key = draws.split(draws.split(keys, 2)[0], 2)
    t = draws.uniform(time_key, (2,))
    x = (t[:, None] * BATCH["image"] + (1 - t[:, None]) * law(noise_key, (2, 1)))[:, 0]
    logits = jnp.stack([x, -x, t], axis=-1)
    np.testing.assert_allclose(loss, jax.nn.logsumexp(logits, axis=-1) - x, rtol=1e-5)


def test_an_example_does_not_depend_on_the_rest_of_the_batch():
    model = classifier_model(linear(), path=paths.rectified())
    keys = jax.random.split(jax.random.key(1), 2)
    whole, _ = model.objectives[0].loss({"net": jnp.ones(())}, keys, BATCH)
    half, _ = model.objectives[0].loss({"net": jnp.ones(())}, keys[1:], jax.tree.map(lambda a: a[1:], BATCH))
    np.testing.assert_array_equal(whole[1:], half)


def test_it_draws_nothing():
    with pytest.raises(TypeError, match="draws nothing"):
        classifier_model(linear()).sample({}, jax.random.key(0), 1)
