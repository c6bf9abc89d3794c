"""The U-Net beside an equal PyTorch module on the same weights: outputs and gradients."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.medical.segmentation.conditional import conditional_net
from jaxgen.nets import unet

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def peer():
    return runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "torch_unet.py"))


def stirred(params, scale=0.1):
    """Parameters away from their zeros and ones, so that every one of them matters."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(x + scale * rng.standard_normal(x.shape).astype(np.float32)), params)


def to_torch(x):
    return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())


def relative(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def assert_equal_functions(peer, module, ours, theirs, params):
    """Equal outputs, and equal gradients of a random projection of them."""
    peer["load"](module, params)
    expected = theirs()
    weights = np.random.default_rng(1).standard_normal(expected.shape).astype(np.float32)
    (expected * torch.from_numpy(weights)).sum().backward()
    nhwc = jnp.asarray(weights.transpose(0, 2, 3, 1))

    @jax.jit
    def both(params):
        def projected(params):
            out = ours(params)
            return jnp.sum(out * nhwc), out

        return jax.grad(projected, has_aux=True)(params)

    grads, out = both(params)
    assert relative(np.asarray(out).transpose(0, 3, 1, 2), expected.detach().numpy()) < 2e-5
    grads = peer["named_like_torch"](module, grads)
    parameters = dict(module.named_parameters())
    assert grads.keys() == parameters.keys()
    for name, parameter in parameters.items():
        gradient = parameter.grad.numpy()
        assert np.abs(gradient).max() > 0, name
        assert relative(grads[name], gradient) < 5e-4, name


CASES = {
    "plain": {"channels": (8, 16), "blocks": 1},
    "attention": {"channels": (8, 16), "blocks": 2, "attention": (1,), "head_width": 8, "groups": 4},
    "patches": {"channels": (8, 12, 16), "blocks": 1, "patch": 2},
    "added time": {"channels": (8, 16), "blocks": 1, "adaptive": False},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_unet(peer, options):
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.standard_normal((2, 16, 24, 3)), jnp.float32)
    t = jnp.asarray([0.1, 0.7], jnp.float32)
    net = unet(2, **options)
    params = stirred(net.init(jax.random.key(0), x, t))
    module = peer["UNet"](3, 2, time=True, **options)
    their_t = torch.from_numpy(np.array(t))
    assert_equal_functions(peer, module, lambda p: net.apply(p, x, t), lambda: module(to_torch(x), their_t), params)


def test_conditional_net(peer):
    # The encoder has no time, the denoiser one.
    rng = np.random.default_rng(3)
    image = jnp.asarray(rng.standard_normal((2, 16, 16, 3)), jnp.float32)
    x = jnp.asarray(rng.standard_normal((2, 16, 16, 1)), jnp.float32)
    t = jnp.asarray([0.3, 0.9], jnp.float32)
    net = conditional_net(unet(8, channels=(12, 16), blocks=1), unet(1, channels=(8, 12), blocks=1, patch=2), patch=2)
    params = stirred(net.init(jax.random.key(0), image, x))
    module = peer["ConditionalUNet"](
        peer["UNet"](12, 8, channels=(12, 16), blocks=1),
        peer["UNet"](1, 1, channels=(8, 12), blocks=1, patch=2, time=True),
    )
    their_t = torch.from_numpy(np.array(t))
    assert_equal_functions(
        peer,
        module,
        lambda p: net.apply(p, x, t, net.encode(p, image)),
        lambda: module(to_torch(x), their_t, module.encode(to_torch(image))),
        params,
    )
