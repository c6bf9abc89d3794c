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
from jaxgen.interop import dit2d, tensors, unet2d

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
    change(folder, _class_name="VQModel")
    with pytest.raises(UserError, match=r"config\.json: _class_name is 'VQModel'"):
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


SHARDS = "diffusion_pytorch_model.safetensors.index.json"


def shards(folder, *names):
    """The folder's weights as shards of those names, of which the first holds everything."""
    theirs = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    weight_map = {name: names[i % len(names)] for i, name in enumerate(theirs)}
    (folder / SHARDS).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return theirs


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../a.safetensors",
            "b/a.safetensors",
            "/a.safetensors",
            "..",
            ".",
            "",
            "b\\a.safetensors",
            "a\0.safetensors",
        ),
        *("c:a.safetensors", "a\n.safetensors", "a" * 300 + ".safetensors", "a\u202e.safetensors"),
    ],
)
def test_shards_are_plain_names(tmp_path, name):
    (tmp_path / "model" / "b").mkdir(parents=True)
    folder = tmp_path / "model"
    interop.save(folder, random_params("UNet2DModel"), UNET)
    theirs = shards(folder, "whole.safetensors", name)
    for place in (folder, tmp_path, folder / "b"):
        save_file(theirs, place / "a.safetensors")
    save_file(theirs, folder / "whole.safetensors")
    with pytest.raises(UserError, match="which is no plain name of a file in this folder"):
        interop.load(folder)
    (folder / SHARDS).write_text((folder / SHARDS).read_text().replace(json.dumps(name), '"whole.safetensors"'))
    assert equal(interop.load(folder).params, random_params("UNet2DModel"))


def test_weights_are_no_links_out_of_their_folder(tmp_path):
    folder = tmp_path / "model"
    interop.save(folder, random_params("UNet2DModel"), UNET)
    (folder / WEIGHTS).rename(tmp_path / "elsewhere.safetensors")
    (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors: is a link out of its folder"):
        interop.load(folder)
    (folder / WEIGHTS).unlink()
    (folder / "a.safetensors").symlink_to("../elsewhere.safetensors")
    (folder / SHARDS).write_text(json.dumps({"weight_map": {"x": "a.safetensors"}}))
    with pytest.raises(UserError, match=r"a\.safetensors: is a link out of its folder"):
        interop.load(folder)
    (folder / "a.safetensors").unlink()
    (tmp_path / "elsewhere.safetensors").rename(folder / "b.safetensors")
    (folder / "a.safetensors").symlink_to("b.safetensors")  # another name in the folder
    assert equal(interop.load(folder).params, random_params("UNet2DModel"))
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"config\.json: is no regular file"):
        interop.load(folder)


def test_a_snapshot_of_the_hub_s_cache_links_to_its_blobs(tmp_path):
    unet = tmp_path / "models--a--b" / "snapshots" / "0123" / "unet"
    interop.save(unet, random_params("UNet2DModel"), UNET)
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    for i, file in enumerate(sorted(unet.iterdir())):
        file.rename(blobs / f"{i}")
        file.symlink_to(f"../../../blobs/{i}")
    assert equal(interop.load(unet.parent).params, random_params("UNet2DModel"))


INDICES = [
    "{", "[]", "null", "3", '"a"', "{}", '{"weight_map": []}', '{"weight_map": null}', '{"weight_map": "a"}',
    '{"weight_map": {"a": [' + "[" * 100_000, "[" * 100_000, '{"a":' * 100_000, '{"weight_map": ' + "9" * 5000 + "}",
    '{"weight_map": {"a": null}}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": ["a.safetensors"]}}',
    '{"weight_map": {"a": "config.json"}}',
]  # fmt: skip


@pytest.mark.parametrize("text", INDICES, ids=[text[:40] for text in INDICES])
def test_an_index_of_any_shape(tmp_path, text):
    interop.save(tmp_path, random_params("UNet2DModel"), UNET)
    (tmp_path / WEIGHTS).unlink()
    (tmp_path / SHARDS).write_text(text)
    with pytest.raises(UserError) as error:
        interop.load(tmp_path)
    assert str(error.value).startswith(str(tmp_path))
    assert len(str(error.value)) < 400


DAMAGED = [
    b"", b"{", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 100_000, b"null", b"3", b"NaN", b'"UNet"',
    b"[[]]", b'{"_class_name": ["UNet2DModel"]}', b'{"_class_name": {}}', b'{"_class_name": null}', b"\0" * 100,
    b'{"num_layers": ' + b"9" * 5000 + b"}", b"[" + b" " * 2**24 + b"]",
    b'{"_class_name": ' + b"[" * 500 + b"]" * 500 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED, ids=[repr(content[:30]) for content in DAMAGED])
def test_a_configuration_of_any_shape(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError) as error:
        interop.load(tmp_path)
    assert str(error.value).startswith(str(tmp_path / "config.json"))
    assert len(str(error.value)) < 400


def told(call, *arguments):
    """What it is refused with, if it is."""
    try:
        call(*arguments)
    except UserError as error:
        return str(error)
    return None


WRONG = ["3", "", None, [], [None], ["a", 3], {}, {"a": 1}, -1, 0, 10**30, 1.5, 1e308, float("nan"), float("inf"), True]
WRONG += [[[8, 16]], [10**30] * 2, [float("nan")] * 2, [0, 0], [-8, 16], [8] * 1000, ["DownBlock2D"] * 2, [True, True]]


@pytest.mark.parametrize("config", [UNET, DIT], ids=["unet", "dit"])
def test_entries_of_any_type_work_or_are_named(config, tmp_path):
    """What is accepted must make a network; what is not is one line with the entry and its value."""
    defaults = unet2d._DEFAULTS if config is UNET else dit2d._DEFAULTS
    refused = 0
    for name in defaults:
        for value in WRONG:
            entries = config | {name: value}
            said = told(interop.network, entries)
            if said is not None:
                assert said.startswith("config: "), (name, value)
                assert name in said or "block" in said or "head" in said, (name, value, said)
                assert len(said) < 400
                refused += 1
    assert refused > 10 * len(defaults)


@pytest.mark.parametrize(
    ("name", "value"),
    [("in_channels", "3"), ("block_out_channels", [8, None]), ("norm_eps", float("nan")), ("num_class_embeds", 10**30)],
)
def test_a_wrong_type_in_a_file_is_one_line(tmp_path, name, value):
    (tmp_path / "config.json").write_text(json.dumps(UNET | {name: value}))
    with pytest.raises(UserError, match=rf"config\.json: {name} is .*; it must be "):
        interop.load(tmp_path)


def asked(config, **label):
    net, name = interop.network(config), config["_class_name"]
    return net.apply(random_params(name), jnp.ones(X[name]), jnp.array([3, 900]), **label)


@pytest.mark.thorough
def test_a_network_of_classes_wants_a_label():
    """Its last row is a class like the others, unless the configuration says that it is the null label."""
    for label in ({}, {"label": None}):
        with pytest.raises(ValueError, match=r"give a label from 0 to 2: .*_null_label"):
            asked(UNET, **label)
    with pytest.raises(ValueError, match="give a label"):
        interop.at_path_time(interop.network(UNET)).apply(
            random_params("UNet2DModel"), jnp.ones(X["UNet2DModel"]), jnp.array([0.5, 0.5])
        )
    with pytest.raises(ValueError, match="give a label"):
        jax.jit(interop.network(UNET).apply)(random_params("UNet2DModel"), jnp.ones(X["UNet2DModel"]), jnp.ones(2))
    guided = UNET | {"_null_label": True}
    np.testing.assert_array_equal(asked(guided), asked(guided, label=jnp.array([2, 2])))
    np.testing.assert_array_equal(asked(guided, label=2), asked(UNET, label=2))
    np.testing.assert_array_equal(asked(DIT), asked(DIT, label=jnp.array([3, 3])))
    with pytest.raises(UserError, match="_null_label is 'yes'"):
        interop.network(UNET | {"_null_label": "yes"})


def test_the_null_label_is_written_and_read(tmp_path):
    interop.save(tmp_path, random_params("UNet2DModel"), UNET | {"_null_label": True})
    net, params, config = interop.load(tmp_path)
    assert config["_null_label"] is True
    assert np.isfinite(net.apply(params, jnp.ones(X["UNet2DModel"]), jnp.array([3, 900]))).all()


@pytest.mark.parametrize(
    ("config", "label", "said"),
    [
        (UNET, [0, 3], "label 3 is none of this network's, 0 to 2"),
        (UNET, -1, "label -1 is none"),
        (UNET, [0.0, 1.0], "whole numbers from 0 to 2"),
        (DIT, np.array([4, 0]), "label 4 is none of this network's, 0 to 3"),
        (DIT, jnp.array([0, -7]), "label -7 is none"),
    ],
)
def test_labels_out_of_range(config, label, said):
    with pytest.raises(ValueError, match=said):
        asked(config, label=label)


def test_weights_larger_than_the_limit(folder):
    with pytest.raises(
        UserError, match=r"model\.safetensors: needs 1 MiB and the limit is 0; .*--max-file-mib 1 or set"
    ):
        interop.load(folder, max_bytes=1000)
    shards(folder, "a.safetensors", "b.safetensors")
    for name in ("a", "b"):
        save_file({name: np.zeros(2**18, np.float32)}, folder / f"{name}.safetensors")
    with pytest.raises(UserError, match=r"index\.json: needs 3 MiB and the limit is 1; .*--max-file-mib 3 or set"):
        interop.load(folder, max_bytes=2**20 + 2**19)
