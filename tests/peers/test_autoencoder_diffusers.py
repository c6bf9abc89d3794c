"""diffusers' AutoencoderKL compared with ours on the same weights, both ways through folders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.families.vae import posterior
from jaxgen.interop import autoencoder_kl
from jaxgen.interop import diffusers as interop

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.peers

DOWN, ATTN_DOWN, UP, ATTN_UP = (
    "DownEncoderBlock2D",
    "AttnDownEncoderBlock2D",
    "UpDecoderBlock2D",
    "AttnUpDecoderBlock2D",
)
CASES = {
    # as Stable Diffusion's
    "four levels": {"block_out_channels": (8, 16, 16, 16), "layers_per_block": 2, "norm_num_groups": 8},
    "one level": {"block_out_channels": (12,), "norm_num_groups": 4},
    "three levels, three blocks": {"block_out_channels": (4, 8, 12), "layers_per_block": 3, "norm_num_groups": 2},
    # as Stable Diffusion 3's
    "no 1 x 1 convolutions": {
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "latent_channels": 6,
        "shift_factor": 0.1,
    },
    "no attention": {"block_out_channels": (8, 16), "norm_num_groups": 4, "mid_block_add_attention": False},
    "attention in a level": {
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "down_block_types": (DOWN, ATTN_DOWN),
        "up_block_types": (ATTN_UP, UP),
        "in_channels": 1,
        "out_channels": 2,
    },
}
FULL = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": (DOWN,) * 4,
    "up_block_types": (UP,) * 4,
}


def config_of(name):
    config = CASES[name]
    levels = len(config["block_out_channels"])
    return {"down_block_types": (DOWN,) * levels, "up_block_types": (UP,) * levels, **config}


def theirs(name, seed=0):
    torch.manual_seed(seed)
    model = diffusers.AutoencoderKL(**config_of(name))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return model.eval()


def inputs(config):
    rng, code = np.random.default_rng(1), config.get("latent_channels", 4)
    factor = 2 ** (len(config["block_out_channels"]) - 1)
    shapes = (2, 4 * factor, 2 * factor, config.get("in_channels", 3)), (2, 4, 2, code)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def run_theirs(model, x, z):
    def turned(a):
        return torch.from_numpy(a.transpose(0, 3, 1, 2).copy())

    with torch.no_grad():
        found = model.encode(turned(x)).latent_dist
        answers = found.mean, found.logvar, model.decode(turned(z)).sample, model(turned(x)).sample
    return [a.numpy().transpose(0, 2, 3, 1) for a in answers]


def run_ours(net, params, config, x, z):
    encoder, decoder = autoencoder_kl.nets(config)
    mean, log_variance = jax.jit(lambda p, x: posterior(encoder, p, x))(params["encoder"], jnp.asarray(x))
    y = jax.jit(decoder.apply)(params["decoder"], jnp.asarray(z))
    return mean, log_variance, y, jax.jit(net.apply)(params, jnp.asarray(x))


def agree(here, there):
    for a, b in zip(here, there, strict=True):
        assert np.abs(b).max() > 1e-2
        np.testing.assert_allclose(a, b, atol=1e-4 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("name", CASES)
def test_their_weights_here(name, tmp_path):
    model = theirs(name)
    model.save_pretrained(tmp_path)
    net, params, config = interop.load(tmp_path)
    assert sum(x.size for x in jax.tree.leaves(params)) == sum(p.numel() for p in model.parameters())
    agree(run_ours(net, params, config, *inputs(config)), run_theirs(model, *inputs(config)))


@pytest.mark.parametrize("name", CASES)
def test_our_weights_there(name, tmp_path):
    config = {"_class_name": "AutoencoderKL", **config_of(name)}
    net, given = interop.network(config), inputs(config)
    shapes, rng = jax.eval_shape(net.init, jax.random.key(0), given[0]), np.random.default_rng(2)
    params = jax.tree.map(lambda s: jnp.asarray(0.2 * rng.standard_normal(s.shape), jnp.float32), shapes)
    interop.save(tmp_path, params, config)
    model = diffusers.AutoencoderKL.from_pretrained(tmp_path).eval()
    agree(run_ours(net, params, config, *given), run_theirs(model, *given))


def test_stable_diffusion_s_number_of_parameters_on_the_meta_device():
    with torch.device("meta"):
        model = diffusers.AutoencoderKL(**FULL)
    net = interop.network({"_class_name": "AutoencoderKL", **FULL})
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    counts = sum(p.numel() for p in model.parameters()), sum(x.size for x in jax.tree.leaves(shapes))
    assert counts == (83_653_863, 83_653_863)
