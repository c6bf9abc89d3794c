import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.medical.segmentation.pretrained import at_time, fine_tuned
from jaxgen.nets import unet
from tests.nets.parameters import perturbed

IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), jnp.float32)
OPTIONS = {"channels": (8,), "blocks": 1}


@pytest.mark.thorough
def test_segmenting_begins_at_the_trained_weights_and_knows_the_time():
    denoiser, net = unet(1, **OPTIONS), unet(4, **OPTIONS)
    trained = perturbed(jax.jit(denoiser.init)(jax.random.key(0), IMAGE, 0.0))
    model = fine_tuned(at_time(net, 0.3), trained)
    batch = {"image": IMAGE, "distance": jnp.where(jnp.arange(3.0) < IMAGE, -1.0, 1.0)}
    params = model.init(jax.random.key(1), batch)
    changed = [name for name in trained if params["net"][name] is not trained[name]]
    assert changed == ["Conv_1"]
    loss, _ = model.objectives[0].loss(params, jax.random.key(2), batch)
    np.testing.assert_allclose(loss, np.log(4), rtol=1e-5)  # no class is likelier than another yet
    net_params = perturbed(params["net"])
    logits = at_time(net, 0.3).apply(net_params, IMAGE)
    np.testing.assert_allclose(logits, net.apply(net_params, IMAGE, jnp.full(2, 0.3)), atol=1e-5)
    assert np.abs(logits - net.apply(net_params, IMAGE, 0.6)).max() > 1e-3
    gradients = jax.grad(lambda p: model.objectives[0].loss({"net": p}, jax.random.key(3), batch)[0].sum())(net_params)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients)), "all weights are trained"
