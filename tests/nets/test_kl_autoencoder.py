"""The published autoencoders: sizes, forms, memory-saving blocks, and decoding in tiles."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.families.latent_autoencoder import decode, encode, latent_autoencoder_model
from jaxgen.nets import KLForm, kl_decoder, kl_encoder, monai_form, ops, residual, tiled_kl_decoder
from jaxgen.nets.doubled_convolution import doubled_convolution

BRAIN = monai_form((64, 128, 128, 128), encoder_middle="none", decoder_middle="none")
SMALL = monai_form((8, 12), (1, 0), groups=4)


def random_params(net, *inputs, seed=0):
    """Random values in place of those that start at zero or one."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs)

    def draw(path, s):
        spread = 0.3 if path[-1].key in ("scale", "shift", "bias") else np.prod(s.shape[:-1]) ** -0.5
        return jnp.asarray(spread * rng.standard_normal(s.shape) + (path[-1].key == "scale"), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.mark.parametrize(
    ("form", "rank", "channels", "code", "expected"), [(KLForm(), 2, 3, 4, 83_653_863), (BRAIN, 3, 1, 3, 13_766_248)]
)
def test_published_numbers_of_parameters(form, rank, channels, code, expected):
    x = jax.ShapeDtypeStruct((1, *(32,) * rank, channels), jnp.float32)
    z = jax.ShapeDtypeStruct((1, *(4,) * rank, code), jnp.float32)
    encoder, decoder, key = kl_encoder(code, form), kl_decoder(channels, form), jax.random.key(0)
    params = jax.eval_shape(encoder.init, key, x), jax.eval_shape(decoder.init, key, z)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected
    assert jax.eval_shape(encoder.apply, params[0], x).shape == (*z.shape[:-1], 2 * code)
    assert jax.eval_shape(decoder.apply, params[1], z).shape == x.shape


@functools.cache
def small():
    """Encoder, decoder, an image and the parameters of a small network with attention in the middle."""
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, 8, 8, 1)), jnp.float32)
    nets = kl_encoder(3, SMALL), kl_decoder(1, SMALL)
    params = {"encoder": random_params(nets[0], x), "decoder": random_params(nets[1], jnp.zeros((2, 4, 4, 3)))}
    return *nets, x, params


@pytest.mark.thorough
def test_the_family_of_latent_autoencoders_takes_them():
    encoder, decoder, x, params = small()
    model = latent_autoencoder_model(encoder, decoder, code=(4, 4, 3))
    assert jax.tree.structure(jax.eval_shape(model.init, jax.random.key(0), {"image": x})) == jax.tree.structure(params)
    objective = model.objectives[0]
    slopes = jax.jit(jax.grad(lambda p: objective.loss(p, jax.random.key(0), {"image": x})[0].sum()))(params)
    dead = [jax.tree_util.keystr(path) for path, g in jax.tree.leaves_with_path(slopes) if not (g != 0).any()]
    assert dead == []
    z = jax.eval_shape(lambda p: encode(encoder, p, x, 0.5), params)
    assert z.shape == (2, 4, 4, 3)
    assert jax.eval_shape(lambda p, z: decode(decoder, p, z, 0.5), params, z).shape == x.shape


def test_recomputed_blocks_have_the_same_parameters_and_gradients():
    form = monai_form((4, 4), (1, 0), groups=2, decoder_middle="none")
    z = jnp.asarray(np.random.default_rng(2).standard_normal((1, 2, 3, 3)), jnp.float32)
    plain, kept = kl_decoder(1, form), kl_decoder(1, form._replace(remat=True))
    params = random_params(plain, z)
    assert jax.tree.structure(jax.eval_shape(kept.init, jax.random.key(0), z)) == jax.tree.structure(params)
    counts = [str(jax.make_jaxpr(net.apply)(params, z)).count("remat") for net in (plain, kept)]
    assert counts[0] == 0 < counts[1]
    slopes = [jax.jit(jax.grad(lambda p, net=net: (net.apply(p, z) ** 2).mean()))(params) for net in (plain, kept)]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), *slopes)


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        (KLForm(channels=(8, 12)), "blocks must name"),
        (monai_form((8, 12), groups=8), "groups 8 must divide each width, and does not divide 12"),
        (monai_form((8,), groups=8, encoder_projection=False), "needs encoder_projection"),
    ],
)
def test_a_form_that_contradicts_itself_is_refused(form, complaint):
    for make in (kl_encoder, kl_decoder):
        with pytest.raises(ValueError, match=complaint):
            make(1, form)


def test_an_image_of_an_uneven_size_is_refused():
    encoder, _, _, params = small()
    with pytest.raises(ValueError, match="multiple of 2"):
        encoder.apply(params["encoder"], jnp.zeros((1, 7, 8, 1)))


TILED = {
    "2-D, attention, SiLU": (KLForm((8, 8), (1, 0), attention=(1,), groups=4), 1, (5, 3)),
    "2-D, linear, no projection": (
        KLForm((4, 4), (1, 0), 0, decoder_middle="none", decoder_projection=False, groups=4, upsampling="linear"),
        2,
        (3, 4),
    ),
    "3-D": (monai_form((4, 8), 1, groups=2, decoder_middle="none"), 1, (5, 3, 4)),
}


@pytest.mark.parametrize("name", TILED)
def test_decoding_in_tiles_is_decoding(name):
    form, b, size = TILED[name]
    whole = kl_decoder(2, form)
    z = jnp.asarray(np.random.default_rng(0).standard_normal((b, *size, 3)), jnp.float32)
    params = random_params(whole, z)
    expected = np.asarray(jax.jit(whole.apply)(params, z))
    assert np.abs(expected).max() > 0.1
    tiled = tiled_kl_decoder(2, form, rows=4)
    assert jax.tree.structure(jax.eval_shape(tiled.init, jax.random.key(0), z)) == jax.tree.structure(params)
    np.testing.assert_allclose(tiled.apply(params, z), expected, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_convolution_of_repeated_pixels(rank):
    rng = np.random.default_rng(rank)
    x, kernel, bias = (rng.standard_normal(shape) for shape in ((2, *(4, 3, 2)[:rank], 3), (3,) * rank + (3, 2), 2))
    x, kernel, bias = (jnp.asarray(a, jnp.float32) for a in (x, kernel, bias))
    expected = jax.jit(lambda x: ops.convolution(residual.repeat(x), kernel, bias))(x)
    np.testing.assert_allclose(jax.jit(doubled_convolution)(x, kernel, bias), expected, atol=2e-5)
    inner = jax.jit(functools.partial(doubled_convolution, padded=True))(x, kernel, bias)
    np.testing.assert_allclose(inner, expected[:, 2:-2], atol=2e-5)


def test_tiles_are_not_for_compiled_functions():
    net = tiled_kl_decoder(1, SMALL)
    with pytest.raises(ValueError, match=r"outside of jax\.jit"):
        jax.jit(net.apply)({}, jnp.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match="rows must be positive"):
        tiled_kl_decoder(1, SMALL, rows=0)


FULL_SIZE = """
import jax, jax.numpy as jnp, numpy as np, resource
from jaxgen.nets import monai_form, tiled_kl_decoder
form = monai_form((64, 128, 128, 128), encoder_middle="none", decoder_middle="none")
net, z = tiled_kl_decoder(1, form), jax.random.normal(jax.random.key(0), (1, 20, 28, 20, 3))
x = np.asarray(net.apply(jax.jit(net.init)(jax.random.key(1), z), z))
assert x.shape == (1, 160, 224, 160, 1) and np.isfinite(x).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if __import__("sys").platform == "darwin" else 2**20))
"""


@pytest.mark.slow
def test_a_brain_of_full_size_decodes_in_bounded_memory():
    done = subprocess.run([sys.executable, "-c", FULL_SIZE], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 12
