"""Transposed convolution against its definition, and the vector-quantised autoencoder built on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.families.vector_quantised import vector_quantised_model
from jaxgen.nets import VQForm, vqvae_decoder, vqvae_encoder
from jaxgen.nets.transposed_convolution import transposed_convolution
from jaxgen.nets.vqvae import Down, Up

FORM = VQForm((4, 6), (3, 5), 1, (Down(), Down(2, 3, 1)), (Up(2, 3, 1, 1), Up()), "sigmoid")


@pytest.mark.parametrize(
    ("size", "k", "stride", "padding", "more"),
    [((5,), 4, 2, 1, 0), ((4,), 3, 2, 1, 1), ((3,), 2, 3, 0, 2), ((3, 4), 4, 2, 1, 0), ((2, 3, 2), 3, 2, 1, 1)],
)
def test_transposed_convolution_is_the_sum_that_it_says(size, k, stride, padding, more):
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, *size, 3)), rng.standard_normal((*(k,) * len(size), 3, 2))
    grown = [(n - 1) * stride + k + more for n in size]
    expected = np.zeros((2, *grown, 2))
    for place in np.ndindex(*size):
        for tap in np.ndindex(*kernel.shape[:-2]):
            at = tuple(stride * i + t for i, t in zip(place, tap, strict=True))
            expected[(slice(None), *at)] += x[(slice(None), *place)] @ kernel[tap]
    inner = tuple(slice(padding, n - padding) for n in grown)
    found = transposed_convolution(
        *(jnp.asarray(a, jnp.float32) for a in (x, kernel)), stride=stride, padding=padding, output_padding=more
    )
    np.testing.assert_allclose(found, expected[(slice(None), *inner)], atol=1e-5)


def test_the_family_of_vector_quantised_autoencoders_takes_them():
    nets = vqvae_encoder(3, FORM), vqvae_decoder(1, FORM)
    model = vector_quantised_model(*nets, 5)
    batch = {"image": jnp.asarray(np.random.default_rng(0).random((2, 8, 12, 1)), jnp.float32)}
    params = jax.eval_shape(model.init, jax.random.key(0), batch)
    value, info = jax.eval_shape(model.objectives[0].loss, params, jax.random.key(1), batch)
    assert value.shape == info["error"].shape == (2,)
    decode = nets[1].apply
    assert jax.eval_shape(decode, params["decoder"], jnp.zeros((1, 2, 3, 3))).shape == (1, 8, 12, 1)


def test_a_form_that_contradicts_itself_is_refused():
    with pytest.raises(ValueError, match="of one length"):
        vqvae_encoder(3, FORM._replace(down=(Down(),)))
    with pytest.raises(ValueError, match="output must be None or one of"):
        vqvae_decoder(3, FORM._replace(output="softmax"))
