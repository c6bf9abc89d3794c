"""Training in bfloat16: parameters are rounded, and nothing else is: not the data, the noise, a density or a loss."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import bijections as bj
from jaxgen import families, paths
from jaxgen.bijections.bijection import total, without_parameters
from jaxgen.metrics import dequantise
from jaxgen.nets import (
    UNetVariant,
    conditioner,
    dcgan_discriminator,
    dcgan_generator,
    decoder,
    dense_conditioner,
    dit,
    encoder,
    mlp,
    ops,
    unet,
)
from jaxgen.samplers import Sampling, euler, grids
from jaxgen.train import init_state, make_optimizer, make_train_step
from jaxgen.types import Model, Net, Objective

STRETCH = without_parameters(
    lambda x: ((x + 1 - 1 / 256) * 256, total(jnp.full_like(x, math.log(256.0)))),
    lambda y: (y / 256 - 1 + 1 / 256, total(jnp.full_like(y, -math.log(256.0)))),
)
"""Black dequantised, [-1, -1 + 2/256), to [-1, 1)."""

FLOWS = {
    "splines": bj.elementwise(bj.rational_quadratic(bins=64, bound=3.0)),
    "spline couplings": bj.scan_chain(
        bj.chain(
            bj.coupling(dense_conditioner(95 * 2, widths=(8,)), bj.rational_quadratic(32, 3.0)),
            bj.coupling(dense_conditioner(95 * 2, widths=(8,)), bj.rational_quadratic(32, 3.0), swap=True),
        ),
        1,
    ),
    "autoregressive splines": families.masked_autoregressive_flow(
        4, layers=1, widths=(8,), transform=bj.rational_quadratic(32, 3.0)
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_a_likelihood_in_training_stays_above_the_entropy_of_the_data(name):
    """Black images: one possible byte, an entropy of 0 bits. On a lattice of bfloat16 the loss would fall below."""
    model = families.flow_model(bj.chain(STRETCH, FLOWS[name]), (4,))
    optimizers = {"net": make_optimizer(0.03, steps=150)}

    def prepare(keys, batch):
        return {"image": dequantise(keys, batch["image"])}

    batch = {"image": jnp.zeros((128, 4), jnp.uint8)}
    keys = jax.random.split(jax.random.key(9), 128)
    state = init_state(model, optimizers, jax.random.key(0), prepare(keys, batch))
    step = make_train_step(model, optimizers, ema_decay=0.99, prepare=prepare, precision="bfloat16")
    many = jax.jit(lambda state: jax.lax.scan(lambda state, _: step(state, batch), state, length=150))
    state, metrics = many(state)
    bits = np.asarray(metrics["loss"])[-50:].mean() / 4 / math.log(2) + math.log2(128)
    x = prepare(jax.random.split(jax.random.key(5), 128), batch)["image"]
    held_out = -float(model.log_prob(state.params, jax.random.key(0), x).mean()) / 4 / math.log(2) + math.log2(128)
    assert -0.02 < bits < 1
    assert held_out == pytest.approx(bits, abs=0.1)  # the parameters that are kept say nearly the same


IMAGE = {"image": jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), jnp.float32)}
VECTOR = {"image": IMAGE["image"].reshape(2, 64)[:, :4]}
UNET = unet(1, channels=(8, 8), blocks=1)
PATH = paths.rectified()
SAMPLING = Sampling(PATH, euler(PATH), grids.uniform(PATH, 2))
FAMILIES = {
    "diffusion": (families.diffusion_model(UNET, (8, 8, 1), SAMPLING._replace(prediction="noise")), IMAGE),
    "flow matching": (families.flow_matching_model(UNET, (8, 8, 1), SAMPLING), IMAGE),
    "vae": (
        families.vae_model(
            encoder(4, channels=(8,), vector=True),
            decoder(1, channels=(8,), spatial=(8, 8)),
            (2,),
            families.logistic_likelihood(),
        ),
        IMAGE,
    ),
    "gan": (
        families.gan_model(
            dcgan_generator((8, 8, 1), channels=(8, 8)),
            dcgan_discriminator(channels=(8, 8)),
            (8, 8, 1),
            latent=5,
            game=families.Game(r1=0.1),
        ),
        IMAGE,
    ),
    "glow": (families.flow_model(families.glow((8, 8, 1), levels=1, steps=1, width=8), (8, 8, 1)), IMAGE),
    "cnf": (families.cnf_model(mlp(4, widths=(8,)), (4,), steps=2), VECTOR),
    "adversarial autoencoder": (
        families.adversarial_autoencoder_model(
            encoder(2, channels=(8,), vector=True),
            decoder(1, channels=(8,), spatial=(8, 8)),
            mlp(1, widths=(8,)),
            families.normal_prior(2),
        ),
        IMAGE,
    ),
}


def doors(model: Model, seen: list) -> Model:
    """The model with every objective noting what it is given and what it answers."""

    def watched(objective):
        def loss(params, key, batch):
            value, info = objective.loss(params, key, batch)
            seen.append((params, batch, value, info))
            return value, info

        return objective._replace(loss=loss)

    return model._replace(objectives=tuple(watched(objective) for objective in model.objectives))


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for value in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_alone_are_cast_and_networks_compute_in_bfloat16(name):
    model, batch = FAMILIES[name]
    seen: list = []
    model = doors(model, seen)
    groups = {group for objective in model.objectives for group in objective.groups}
    optimizers = {group: make_optimizer(1e-3) for group in groups}
    with ops.form("accelerator"):
        state = jax.eval_shape(lambda: init_state(model, optimizers, jax.random.key(0), batch))
        step = make_train_step(model, optimizers, ema_decay=0.9, precision="bfloat16")
        traced, (after, metrics) = jax.make_jaxpr(step, return_shape=True)(state, batch)
    assert seen
    for params, given, value, info in seen:
        leaves = jax.tree_util.tree_leaves_with_path(params)
        kernels = [leaf.dtype for path, leaf in leaves if "kernel" in jax.tree_util.keystr(path)]
        assert set(kernels) == {jnp.dtype(jnp.bfloat16)}
        assert {given["image"].dtype, value.dtype} == {jnp.dtype(jnp.float32)}
        assert all(jnp.dtype(x.dtype) != jnp.bfloat16 for x in jax.tree.leaves(info))
    for leaf in jax.tree.leaves((after.params, after.ema, after.opt_state, metrics)):
        assert leaf.dtype != jnp.bfloat16
    products = [e for e in equations(traced.jaxpr) if e.primitive.name in ("dot_general", "conv_general_dilated")]
    narrow = [e for e in products if all(v.aval.dtype == jnp.bfloat16 for v in e.invars)]
    if name == "cnf":  # its density needs the very velocity that carries the data
        assert not narrow
    elif name == "glow":  # 1x1 convolutions of channels, the matrices of an inverse, stay float32
        assert len(narrow) >= 9
    else:
        assert len(narrow) == len(products) > 0


NETS = {
    "unet": (UNET, (IMAGE["image"], jnp.zeros(2))),
    "dit": (dit(1, width=8, depth=1, heads=1, patch=4), (IMAGE["image"], jnp.zeros(2))),
    "mlp": (mlp(3, widths=(4,)), (VECTOR["image"], jnp.zeros(2))),
    "conditioner": (conditioner(2, width=4), (IMAGE["image"],)),
    "generator": (dcgan_generator((8, 8, 1), channels=(8, 8)), (jnp.ones((2, 5)),)),
    "critic's features": (dcgan_discriminator(channels=(8, 8), features=True), (IMAGE["image"],)),
}


@pytest.mark.parametrize("name", NETS)
def test_a_network_answers_in_float32_whatever_it_computes_in(name):
    net, inputs = NETS[name]
    params = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    for dtype, answer in ((jnp.bfloat16, jnp.float32), (jnp.float16, jnp.float32), (jnp.float32, jnp.float32)):
        cast = jax.tree.map(lambda leaf, dtype=dtype: jax.ShapeDtypeStruct(leaf.shape, dtype), params)
        assert jax.eval_shape(net.apply, cast, *inputs).dtype == answer


def test_what_a_network_is_told_besides_does_not_widen_its_activations():
    """Features, context, segmentation, label and vector come in float32; the skip connections stay bfloat16."""
    net = unet(1, channels=(8, 8), blocks=1, classes=2, variant=UNetVariant(cross_attention=(1,), spade=4))
    told = {
        "vector": jnp.ones((2, 3)),
        "features": jnp.ones((2, 8, 8, 8)),
        "label": jnp.arange(2),
        "context": jnp.ones((2, 3, 5)),
        "segmentation": jnp.ones((2, 8, 8, 2)),
    }
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), IMAGE["image"], jnp.zeros(2), **told))
    half = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), params)
    with ops.form("accelerator"):
        traced = jax.make_jaxpr(lambda p: net.apply(p, IMAGE["image"], jnp.zeros(2), **told))(half)
    joined = [e for e in equations(traced.jaxpr) if e.primitive.name == "concatenate" and e.outvars[0].aval.ndim == 4]
    assert len(joined) == 4
    assert all(e.outvars[0].aval.dtype == jnp.bfloat16 for e in joined)


def test_the_density_of_a_continuous_flow_is_that_of_its_rounded_parameters():
    """Not that of a network that sees x rounded, whose divergence says nothing of where it carries x."""
    model, _ = FAMILIES["cnf"]
    x = -1 + 0.01 * VECTOR["image"]  # within a few steps of bfloat16
    params = jax.jit(model.init)(jax.random.key(1), {"image": x})
    half = jax.tree.map(lambda leaf: (5 * leaf).astype(jnp.bfloat16), params)
    exact = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), half)
    loss = jax.jit(model.objectives[0].loss)
    for function in (lambda p: loss(p, jax.random.key(0), {"image": x})[0], lambda p: model.log_prob(p, None, x)):
        np.testing.assert_allclose(function(half), function(exact), rtol=1e-6)


def test_frequencies_norms_and_transforms_keep_their_digits():
    """A frequency rounded in training and not when sampling would be another network."""
    seen = {}
    params = {
        "GaussianFourier_0": {"weight": jnp.ones(2)},
        "GroupNorm_0": {"scale": jnp.ones(2), "shift": jnp.ones(2)},
        "0": {"lower": jnp.ones((2, 2)), "upper": jnp.ones((2, 2)), "log_diagonal": jnp.ones(2), "theta": jnp.ones(2)},
        "Dense_0": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
        "codebook": {"entries": jnp.ones((2, 2))},
        "scale": {"factor": jnp.ones(())},
    }

    def loss(params, key, batch):
        seen.update({jax.tree_util.keystr(p): x.dtype for p, x in jax.tree_util.tree_leaves_with_path(params)})
        return jnp.sum(batch["image"], 1) * sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(params)), {}

    model = Model(lambda key, batch: {"net": params}, (Objective("net", loss),), lambda *_: None)
    optimizers = {"net": make_optimizer(0.1)}
    state = init_state(model, optimizers, jax.random.key(0), VECTOR)
    jax.eval_shape(make_train_step(model, optimizers, ema_decay=0.9, precision="bfloat16"), state, VECTOR)
    assert {name for name, dtype in seen.items() if dtype == jnp.bfloat16} == {
        "['net']['Dense_0']['bias']",
        "['net']['Dense_0']['kernel']",
    }


@pytest.mark.thorough
def test_any_network_in_bfloat16_serves_a_loss_on_complex_images():
    """A network of one's own that answers in bfloat16: complex numbers are made of float32 nevertheless."""
    from jaxgen.imaging.sampling_masks import random_mask
    from jaxgen.medical.reconstruction.kspace_cold_diffusion import kspace_cold_diffusion_model

    mask = functools.partial(random_mask, shape=(8, 8), acceleration=2)
    net = Net(lambda key, x, t: {"kernel": jnp.ones(())}, lambda params, x, t, key=None: params["kernel"] * x)
    model = kspace_cold_diffusion_model(net, mask, (8, 8, 2), steps=2)
    half = {"net": {"kernel": jnp.ones((), jnp.bfloat16)}}
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 2))
    value, _ = model.objectives[0].loss(half, jax.random.key(1), {"image": x})
    assert value.dtype == jnp.float32
    low = Net(net.init, lambda params, x, t, key=None: x.astype(jnp.bfloat16))
    model = kspace_cold_diffusion_model(low, mask, (8, 8, 2), steps=2)
    kspace = jnp.ones((1, 8, 8, 1), jnp.complex64).at[:, :, ::2].set(0)
    assert model.sample(half, jax.random.key(2), 1, kspace).dtype == jnp.float32
