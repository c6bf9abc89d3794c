"""A bundle folder of a tiny latent diffusion model: what it gives, and one clear line for each thing that is wrong.

tests/peers/test_monai_bundle.py compares the samples with MONAI's.
"""

import json
import pickle
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import samplers
from jaxgen.errors import UserError
from jaxgen.interop import monai_autoencoder, monai_unet
from jaxgen.interop.monai_bundle import Conditions, load_bundle

KL = {
    "_target_": "monai.networks.nets.AutoencoderKL",
    "spatial_dims": 2,
    "channels": [4, 4],
    "latent_channels": 2,
    "num_res_blocks": 1,
    "norm_num_groups": 2,
    "attention_levels": [False, False],
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
}
UNET = {
    "_target_": "monai.networks.nets.DiffusionModelUNet",
    "spatial_dims": 2,
    "in_channels": 4,
    "out_channels": 2,
    "channels": [4],
    "num_res_blocks": 1,
    "norm_num_groups": 2,
    "num_head_channels": 4,
    "attention_levels": [False],
    "with_conditioning": True,
    "cross_attention_dim": 2,
}
INFERENCE = {
    "bundle_root": ".",
    "age": 0.1,
    "sex": 1.0,
    "conditioning": "$torch.tensor([[@age, @sex]]).unsqueeze(1)",
    "scale_factor": 0.5,
    "latent_shape": [2, 4, 6],
    "autoencoder_def": KL,
    "load_autoencoder": "$@autoencoder_def.load_state_dict(torch.load(@bundle_root + '/models/autoencoder.pt'))",
    "network_def": UNET,
    "load_diffusion": "$@network_def.load_state_dict(torch.load(@bundle_root + '/models/model.pt'))",
    "scheduler": {"_target_": "monai.networks.schedulers.DDIMScheduler", "clip_sample": False},
    "num_inference_steps": 3,
}


def random_params(shapes):
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(tree, [jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32) for x in leaves])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    monai_autoencoder.save(folder / "models/autoencoder.pt", random_params(monai_autoencoder.shapes(KL)), KL)
    monai_unet.save(folder / "models/model.pt", random_params(monai_unet.shapes(UNET)), UNET)
    (folder / "configs/inference.json").write_text(json.dumps(INFERENCE))
    return folder


@pytest.fixture(scope="module")
def bundle(written):
    return load_bundle(written)


def test_what_a_bundle_says(bundle):
    assert bundle.shape == (4, 6, 2)
    assert bundle.scale == 0.5
    assert bundle.covariates == {"age": 0.1, "sex": 1.0}
    assert {name: one.name for name, one in bundle.definitions.items()} == {
        "autoencoder": "autoencoder_def",
        "unet": "network_def",
    }
    assert set(bundle.params) == {"encoder", "decoder", "unet"}


def test_samples_are_those_of_the_covariates(bundle):
    sample = jax.jit(bundle.sample, static_argnums=2)
    key, conditions = jax.random.key(0), Conditions(covariates=jnp.array([[0.1, 1.0], [0.9, 0.0]]))
    own = sample(bundle.params, key, 2)
    asked = sample(bundle.params, key, 2, conditions)
    assert own.shape == (2, 8, 12, 1)
    np.testing.assert_allclose(asked[0], own[0], atol=1e-5)
    assert np.abs(asked[1] - own[1]).max() > 1e-3


def test_codes_carry_the_scale_and_a_denoiser_goes_with_any_sampler(bundle):
    x = jnp.ones((1, 8, 12, 1))
    z = bundle.encode(bundle.params, x)
    assert z.shape == (1, 4, 6, 2)
    drawn = bundle.encode(bundle.params, x, jax.random.key(0))
    assert np.abs(drawn - z).max() > 1e-4
    noise, conditions = jax.random.normal(jax.random.key(1), (1, 4, 6, 2)), Conditions(jnp.array([[0.1, 1.0]]))
    heun = samplers.heun(bundle.scheduler.path)
    denoise = bundle.denoiser(bundle.params, conditions)
    assert jax.eval_shape(
        lambda z: samplers.sample(heun, denoise, jax.random.key(0), z, bundle.scheduler.grid), noise
    ).shape == (1, 4, 6, 2)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (Conditions(), "give 2 covariates per image, or tokens of width 2 as context"),
        (Conditions(covariates=jnp.zeros((1, 3))), "give 2 covariates per image"),
        (Conditions(context=jnp.zeros((1, 1, 2))), "give 2 covariates per image, which this network takes as channels"),
        (Conditions(covariates=jnp.zeros((1, 2)), vector=jnp.zeros((1, 3))), r"give a vector of 0 numbers .*\(none\)"),
    ],
)
def test_conditions_that_do_not_fit(bundle, conditions, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(bundle.denoiser(bundle.params, conditions), jnp.zeros((1, 4, 6, 2)), 0.5)


def test_overrides_and_steps(written):
    other = load_bundle(written, overrides={"age": 0.7, "scale_factor": 2, "latent_shape": [2, 8, 8]}, steps=7)
    assert (other.covariates["age"], other.scale, other.shape, len(other.scheduler.grid)) == (0.7, 2.0, (8, 8, 2), 8)


def test_a_bundle_without_an_autoencoder(written):
    """The code is the image."""
    pixels = load_bundle(written, overrides={"autoencoder_def": None, "load_autoencoder": None, "scale_factor": 1})
    assert set(pixels.params) == {"unet"}
    assert jax.eval_shape(lambda key: pixels.sample(pixels.params, key, 3), jax.random.key(0)).shape == (3, 4, 6, 2)
    assert pixels.decode(pixels.params, jnp.ones((1, 2))).tolist() == [[1.0, 1.0]]


BROKEN = [
    ({"network_def": None}, r"inference.json: defines no U-Net of diffusion .*; give the folder of a bundle"),
    ({"load_diffusion": None}, r"does not say which file holds the weights of network_def"),
    ({"load_diffusion": "$@network_def.load_state_dict(torch.load('models/none.pt'))"}, r"none.pt: cannot be read"),
    ({"load_diffusion": "$@network_def.load_state_dict(torch.load('../model.pt'))"}, r"which is not in this folder"),
    (
        {"load_diffusion": "$@network_def.load_state_dict(torch.load('models/autoencoder.pt'))"},
        r"autoencoder.pt: lacks tensor .*; is the configuration its own\?",
    ),
    (
        {"load_autoencoder": "$@autoencoder_def.load_state_dict(torch.load('models/model.pt'))"},
        r"model.pt: lacks tensor .*; is the configuration its own\?",
    ),
    ({"network_def::channels": [8]}, r"model.pt: tensor .* has shape .*, which the configuration does not describe"),
    ({"network_def::channels": "$[@width]"}, r"has no entry 'width'"),
    ({"network_def::channels": "$list(os.environ)"}, r"is not resolved, since .* is code, which is never run"),
    ({"network_def::num_head_channels": 3}, r"num_head_channels is 3, which is not supported"),
    ({"network_def::chanels": [4]}, r"chanels is \[4\], which is not supported; see jaxgen.interop.monai_unet"),
    ({"autoencoder_def::dropout": 1}, r"dropout is 1, which is not supported"),
    ({"scheduler": None}, r"defines no scheduler"),
    ({"scheduler::schedule": "odd"}, r"inference.json: scheduler: schedule is 'odd'; supported: 'linear_beta'"),
    ({"num_inference_steps": 2000}, r"2000 steps were asked for; give 1 to 1000"),
    ({"latent_shape": [3, 4, 6]}, r"a code of shape \[3, 4, 6\] does not fit a U-Net of 2 dimensions and 2 channels"),
    ({"scale_factor": "$torch.load('models/model.pt')['scale']"}, r"model.pt: holds no number above 0 named scale"),
]


@pytest.mark.parametrize(("overrides", "message"), BROKEN)
def test_one_clear_line_for_what_is_wrong(written, overrides, message):
    with pytest.raises(UserError, match=message):
        load_bundle(written, overrides=overrides)


def test_a_folder_that_is_no_bundle(tmp_path):
    with pytest.raises(UserError, match=r"inference.json: cannot be read .*; give the folder of a MONAI bundle"):
        load_bundle(tmp_path)


def test_weights_with_code_are_not_opened(written, tmp_path):
    class Runs:
        def __reduce__(self):
            return (exec, ("raise SystemExit('it ran')",))

    shutil.copytree(written, tmp_path / "bundle")
    (tmp_path / "bundle/models/model.pt").write_bytes(pickle.dumps({"conv_in.conv.weight": Runs()}, protocol=2))
    with pytest.raises(UserError, match=r"model.pt: is not opened, since .*could run code"):
        load_bundle(tmp_path / "bundle")
