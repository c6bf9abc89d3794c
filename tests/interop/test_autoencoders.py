"""Autoencoders of diffusers and MONAI without either: what is written is read, and what cannot be is said."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxgen.errors import UserError
from jaxgen.interop import autoencoder_kl, diffusers, monai_autoencoder, torch_files, weight_files

DIFFUSERS = {
    "_class_name": "AutoencoderKL",
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 12],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 4,
    "latent_channels": 2,
    "scaling_factor": 0.2,
}
KL = {
    "_target_": "monai.networks.nets.AutoencoderKL",
    "spatial_dims": 3,
    "channels": [4, 8],
    "num_res_blocks": [1, 2],
    "attention_levels": [False, True],
    "norm_num_groups": 2,
    "with_encoder_nonlocal_attn": False,
}
MAISI = {
    "_target_": "monai.apps.generation.maisi.networks.autoencoderkl_maisi.AutoencoderKlMaisi",
    "spatial_dims": 3,
    "num_channels": [4, 8],
    "num_res_blocks": [1, 1],
    "attention_levels": [False, True],
    "norm_num_groups": 2,
    "num_splits": 2,
    "norm_float16": True,
}
VQ = {
    "_target_": "VQVAE",
    "spatial_dims": 2,
    "channels": [4, 6],
    "num_res_layers": 1,
    "num_res_channels": 5,
    "downsample_parameters": [2, 4, 1, 1],
    "upsample_parameters": [[2, 4, 1, 1, 0], [2, 4, 1, 1, 0]],
    "num_embeddings": 8,
    "embedding_dim": 3,
}
CONFIGS = {"kl": KL, "maisi": MAISI, "vqvae": VQ}


def filled(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(0.1 * rng.standard_normal(s.shape), jnp.float32), shapes)


@functools.cache
def params_of(name):
    params = filled(monai_autoencoder.shapes(CONFIGS[name]))
    if name == "maisi":  # which has no projection behind its attention
        for side in ("encoder", "decoder"):
            dense = params[side]["attention_0"]["Dense_1"]
            dense["kernel"], dense["bias"] = jnp.eye(8), jnp.zeros(8)
    return params


def equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(lambda x, y: bool((x == y).all()), a, b)
    )


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("name", CONFIGS)
def test_monai_s_weights_are_written_and_read(name, suffix, tmp_path):
    path = tmp_path / f"net{suffix}"
    monai_autoencoder.save(path, params_of(name), CONFIGS[name])
    assert equal(monai_autoencoder.load(path, CONFIGS[name]).params, params_of(name))


def test_names_of_before_are_read(tmp_path):
    """monai-generative had no `attn`, called its last attention layer `proj_attn`, and `postconv` just `conv`."""
    path = tmp_path / "net.safetensors"
    monai_autoencoder.save(path, params_of("kl"), KL)
    tensors = load_file(path)
    assert "decoder.blocks.8.postconv.conv.weight" in tensors
    for new, old in ((".attn.out_proj.", ".proj_attn."), (".attn.", "."), (".postconv.", ".conv.")):
        tensors = {name.replace(new, old): x for name, x in tensors.items()}
    save_file(tensors, path)
    config = {"num_channels" if name == "channels" else name: x for name, x in KL.items()}
    assert equal(monai_autoencoder.load(path, config).params, params_of("kl"))


def test_names_and_layouts_of_monai(tmp_path):
    path = tmp_path / "net.pt"
    monai_autoencoder.save(path, params_of("kl"), KL)
    theirs, params = weight_files.read(path), params_of("kl")
    kernel = params["encoder"]["projection_0"]["kernel"]  # [1, 1, 1, in, mean and log-variance]
    np.testing.assert_array_equal(theirs["quant_conv_log_sigma.conv.weight"][..., 0, 0, 0], kernel[0, 0, 0, :, 3:].T)
    fused = params["encoder"]["attention_0"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(theirs["encoder.blocks.4.attn.to_k.weight"], fused[:, 8:16].T)
    monai_autoencoder.save(path, params_of("vqvae"), VQ)
    theirs, params = weight_files.read(path), params_of("vqvae")
    kernel = params["decoder"]["TransposedConv_0"]["kernel"]  # [4, 4, in, out]
    np.testing.assert_array_equal(theirs["decoder.blocks.2.conv.weight"], kernel.transpose(2, 3, 0, 1))
    np.testing.assert_array_equal(theirs["quantizer.quantizer.ema_w"], params["codebook"]["entries"])
    assert theirs["quantizer.quantizer.ema_cluster_size"].tolist() == [1] * 8


def refused(config, path=None):
    with pytest.raises(UserError) as caught:
        monai_autoencoder.network(config) if path is None else monai_autoencoder.load(path, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_monai_s_arguments_may_not_be():
    assert "_target_ is 'UNet'; supported" in refused({"_target_": "monai.UNet"})
    assert "lacks spatial_dims" in refused({"_target_": "AutoencoderKL"})
    assert "num_res_blocks has 3 entries, and channels has 2" in refused(KL | {"num_res_blocks": [1, 1, 1]})
    assert "norm_num_groups is 3" in refused(KL | {"norm_num_groups": 3})
    assert "see jaxgen.interop.monai_autoencoder" in refused(KL | {"norm_num_groups": 3})
    assert "depth is 3, which is not supported" in refused(KL | {"depth": 3})
    assert "act is 'PRELU'; supported: 'RELU'" in refused(VQ | {"act": "PRELU"})
    assert "downsample_parameters" in refused(VQ | {"downsample_parameters": [2, 4, 2, 1]})
    assert "upsample_parameters has 1 entries" in refused(VQ | {"upsample_parameters": [[2, 4, 1, 1, 0]]})
    assert "must be a list of at most 12" in refused(VQ | {"upsample_parameters": "2"})


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "net.pt"
    monai_autoencoder.save(path, params_of("kl"), KL)
    assert "net.pt: lacks tensor" in refused(KL | {"with_encoder_nonlocal_attn": True}, path)
    tensors = weight_files.read(path)
    torch_files.write(tmp_path / "more.pt", tensors | {"encoder.blocks.99.conv.weight": np.ones(1)})
    assert "more.pt: has an unexpected tensor encoder.blocks.99" in refused(KL, tmp_path / "more.pt")
    assert "has shape (3, 8, 3, 3, 3), which the configuration does not" in refused(KL | {"latent_channels": 4}, path)
    assert "cannot be read" in refused(KL, tmp_path / "none.pt")
    with pytest.raises(UserError, match=r"ends in '\.npz'; name a file that ends in"):
        monai_autoencoder.save(tmp_path / "net.npz", params_of("kl"), KL)
    trained = jax.tree.map(lambda x: x + 1, params_of("maisi"))
    with pytest.raises(UserError, match="save with include_fc true"):
        monai_autoencoder.save(path, trained, MAISI)


@functools.cache
def diffusers_params():
    net = diffusers.network(DIFFUSERS)
    return filled(jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 4, 4, 1))))


def test_diffusers_folder_is_written_and_read(tmp_path):
    diffusers.save(tmp_path, diffusers_params(), DIFFUSERS)
    net, params, config = diffusers.load(tmp_path)
    assert equal(params, diffusers_params())
    theirs = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    assert sum(x.size for x in theirs.values()) == sum(x.size for x in jax.tree.leaves(params))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 4, 4, 1)), jnp.float32)

    def in_two_parts(params, x):
        encoder, decoder = autoencoder_kl.nets(config)
        return decoder.apply(params["decoder"], encoder.apply(params["encoder"], x)[..., :2])

    whole, parts = (str(jax.make_jaxpr(f)(params, x)) for f in (net.apply, in_two_parts))
    assert whole.count("canonical_convolution") == parts.count("canonical_convolution") > 10
    assert jax.eval_shape(net.apply, params, x).shape == x.shape


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"up_block_types": ["UpDecoderBlock2D"] * 3}, "up_block_types"),
        ({"down_block_types": ["AttnDownEncoderBlock2D", "DownEncoderBlock2D"]}, "up_block_types"),
        ({"act_fn": "relu"}, "act_fn is 'relu'; supported: 'silu'"),
        ({"norm_num_groups": 5}, "norm_num_groups is 5"),
        ({"layers_per_block": "2"}, "layers_per_block"),
    ],
)
def test_what_a_diffusers_configuration_may_not_be(entries, complaint, tmp_path):
    diffusers.save(tmp_path, diffusers_params(), DIFFUSERS)
    (tmp_path / "config.json").write_text(json.dumps(DIFFUSERS | entries))
    with pytest.raises(UserError, match=complaint) as caught:
        diffusers.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
