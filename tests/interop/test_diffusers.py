"""Folders of diffusers' models without diffusers: what is written is read, and what cannot be is said."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxgen.errors import UserError
from jaxgen.interop import diffusers as interop
from jaxgen.interop import tensors

UNET = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.35.0",
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "num_class_embeds": 3,
}
DIT = {
    "_class_name": "DiTTransformer2DModel",
    "num_attention_heads": 2,
    "attention_head_dim": 4,
    "num_layers": 2,
    "sample_size": 4,
    "in_channels": 2,
    "num_embeds_ada_norm": 3,
}
WEIGHTS = "diffusion_pytorch_model.safetensors"
X = {"UNet2DModel": (2, 8, 8, 1), "DiTTransformer2DModel": (2, 4, 4, 2)}


@pytest.fixture(autouse=True)
def _cheap_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@functools.cache
def random_params(name):
    config = UNET if name == "UNet2DModel" else DIT
    shapes = jax.eval_shape(interop.network(config).init, jax.random.key(0), jnp.zeros(X[name]), jnp.zeros(2))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: jnp.asarray(0.1 * rng.standard_normal(s.shape), jnp.float32), shapes)


@pytest.fixture(params=[UNET, DIT], ids=["unet", "dit"])
def folder(request, tmp_path):
    interop.save(tmp_path, random_params(request.param["_class_name"]), request.param)
    return tmp_path


def change(folder, **entries):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | entries))


def equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(
        jax.tree.map(lambda x, y: bool((x == y).all()), a, b)
    )


def test_what_is_written_is_read(folder):
    net, params, config = interop.load(folder)
    name = config["_class_name"]
    assert equal(params, random_params(name))
    x, t, label = jnp.ones(X[name]), jnp.array([3, 900]), jnp.array([0, 2])
    out = jax.jit(net.apply)(params, x, t, label=label)
    want = jax.jit(interop.network(config).apply)(params, x, t, label=label)
    np.testing.assert_array_equal(out, want)
    assert np.abs(out[0] - out[1]).max() > 1e-3


def test_names_and_layouts(tmp_path):
    """Kernels are turned round, and each head's query, key and value stand apart."""
    params = random_params("UNet2DModel")
    interop.save(tmp_path, params, UNET)
    theirs = load_file(tmp_path / WEIGHTS)
    kernel = params["ResidualBlock_0"]["Conv_0"]["kernel"]
    np.testing.assert_array_equal(theirs["down_blocks.0.resnets.0.conv1.weight"], kernel.transpose(3, 2, 0, 1))
    fused = np.asarray(params["SelfAttention_0"]["Dense_0"]["kernel"])  # 16 channels, 2 heads of width 8
    name = "down_blocks.1.attentions.0"
    np.testing.assert_array_equal(theirs[f"{name}.to_k.weight"][8:], fused[:, 24 + 8 : 24 + 16].T)
    np.testing.assert_array_equal(theirs["class_embedding.weight"], params["LabelEmbedding_0"]["table"])
    assert sum(x.size for x in theirs.values()) == sum(x.size for x in jax.tree.leaves(params))


def test_blocks_with_embeddings_of_their_own(tmp_path):
    params = random_params("DiTTransformer2DModel")
    interop.save(tmp_path, params, DIT)
    theirs = load_file(tmp_path / WEIGHTS)
    one = "transformer_blocks.{}.norm1.emb.timestep_embedder.linear_1.bias"
    np.testing.assert_array_equal(theirs[one.format(0)], theirs[one.format(1)])
    theirs[one.format(1)] = theirs[one.format(1)] + 1  # trained apart
    theirs["pos_embed.pos_embed"] = np.zeros((1, 4, 8), np.float32)  # older files hold the fixed positions
    save_file(theirs, tmp_path / WEIGHTS)
    net, apart, config = interop.load(tmp_path)
    np.testing.assert_allclose(apart["embedding"]["Dense_1"]["bias"], np.stack([theirs[one.format(i)] for i in (0, 1)]))
    x, t = jnp.ones(X["DiTTransformer2DModel"]), jnp.array([3, 900])
    outs = jax.jit(net.apply)(apart, x, t), jax.jit(interop.network(DIT).apply)(params, x, t)
    assert np.abs(outs[0] - outs[1]).max() > 1e-4
    interop.save(tmp_path / "again", apart, config)
    assert equal(interop.load(tmp_path / "again").params, apart)


def test_a_pipeline_s_folder_holds_its_network(tmp_path):
    for part, config in (("unet", UNET), ("transformer", DIT)):
        interop.save(tmp_path / part / part, random_params(config["_class_name"]), config)
        assert interop.load(tmp_path / part).config == config


def test_half_precision_and_shards(tmp_path):
    import ml_dtypes

    tree = {"a": np.arange(4, dtype=np.float16), "b": np.arange(3).astype(ml_dtypes.bfloat16)}
    tensors.write(tmp_path, "one", {"a": tree["a"]})
    tensors.write(tmp_path, "two", {"b": tree["b"]})
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "whole.safetensors.index.json").write_text(json.dumps(index))
    read = tensors.read(tmp_path, "whole")[1]
    assert {name: x.dtype for name, x in read.items()} == {"a": np.float32, "b": np.float32}
    np.testing.assert_array_equal(read["b"], [0, 1, 2])
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(UserError, match=r"two\.safetensors: cannot be read"):
        tensors.read(tmp_path, "whole")
    (tmp_path / "whole.safetensors.index.json").write_text("[]")
    with pytest.raises(UserError, match="not an index of shards"):
        tensors.read(tmp_path, "whole")


BAD_ENTRIES = {
    "act_fn": (UNET, "relu"),
    "mid_block_type": (UNET, None),
    "mid_block_scale_factor": (UNET, 1.41),
    "time_embedding_type": (UNET, "learned"),
    "time_embedding_dim": (UNET, 7),
    "class_embed_type": (UNET, "timestep"),
    "down_block_types": (UNET, ["SkipDownBlock2D", "AttnDownBlock2D"]),
    "up_block_types": (UNET, ["UpBlock2D", "AttnUpBlock2D"]),
    "norm_num_groups": (UNET, 5),
    "attention_head_dim": (UNET, 6),
    "resnet_time_scale_shift": (UNET, "spatial"),
    "downsample_padding": (UNET, 2),
    "encoder_hid_dim": (UNET, 8),
    "norm_type": (DIT, "ada_norm_single"),
    "activation_fn": (DIT, "geglu"),
    "num_embeds_ada_norm": (DIT, None),
    "attention_bias": (DIT, False),
    "dropout": (DIT, 0.1),
}


@pytest.mark.parametrize("name", BAD_ENTRIES)
def test_an_entry_that_is_not_supported_is_named_with_its_file_and_value(name, tmp_path):
    config, value = BAD_ENTRIES[name]
    (tmp_path / "config.json").write_text(json.dumps(config | {name: value}))
    with pytest.raises(UserError) as error:
        interop.load(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'config.json'}: {name} is {value!r}")
    with pytest.raises(UserError, match=f"^config: {name} is"):
        interop.network(config | {name: value})


def test_files_that_cannot_be_read_are_named(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:100])
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read .* copy it again"):
        interop.load(folder)
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=r"model\.bin: pickled weights can run code .* safe_serialization=True"):
        interop.load(folder)
    (folder / "diffusion_pytorch_model.bin").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: no such file"):
        interop.load(folder)
    change(folder, _class_name="AutoencoderKL")
    with pytest.raises(UserError, match=r"config\.json: _class_name is 'AutoencoderKL'"):
        interop.load(folder)
    for text, message in (("{", "not JSON"), ("[1]", "one JSON object")):
        (folder / "config.json").write_text(text)
        with pytest.raises(UserError, match=rf"config\.json: .*{message}"):
            interop.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        interop.load(folder)


def test_weights_of_another_configuration_are_refused(folder):
    theirs = load_file(folder / WEIGHTS)
    name = min(theirs)
    save_file({key: x for key, x in theirs.items() if key != name}, folder / WEIGHTS)
    with pytest.raises(UserError, match=rf"lacks tensor {name} \(1 in all\)"):
        interop.load(folder)
    save_file(theirs | {"zzz": np.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(UserError, match="has an unexpected tensor zzz"):
        interop.load(folder)
    save_file(theirs | {name: theirs[name][..., None]}, folder / WEIGHTS)
    with pytest.raises(UserError, match=rf"tensor {name} has shape"):
        interop.load(folder)


def test_a_dit_takes_images_of_its_size_alone():
    net = interop.network(DIT)
    with pytest.raises(ValueError, match=r"images of \(4, 4\), got \(8, 8\)"):
        net.apply({}, jnp.zeros((1, 8, 8, 2)), jnp.zeros(1))


def test_time_of_a_path():
    """Entry i of a table of T stands at t = (i + 1) / T."""
    net = interop.network(DIT)
    asked = interop.at_path_time(net, 50)
    params, x = random_params("DiTTransformer2DModel"), jnp.ones(X["DiTTransformer2DModel"])
    want = jax.jit(net.apply)(params, x, jnp.array([9.0, 49.0]))
    np.testing.assert_allclose(jax.jit(asked.apply)(params, x, jnp.array([0.2, 1.0])), want, rtol=1e-3, atol=1e-4)
    assert jax.tree.structure(jax.eval_shape(asked.init, jax.random.key(0), x, 0.5)) == jax.tree.structure(params)
