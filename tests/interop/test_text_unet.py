"""Folders of Stable Diffusion's U-Net and of ControlNets without diffusers: sizes, what is read, what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxgen.errors import UserError
from jaxgen.interop import controlnet2d, unet2d_condition
from jaxgen.interop import diffusers as interop
from jaxgen.nets import ops

UNET = {
    "_class_name": "UNet2DConditionModel",
    "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
    "cross_attention_dim": 6,
}
CONTROL = {key: value for key, value in UNET.items() if key != "up_block_types"} | {
    "_class_name": "ControlNetModel",
    "conditioning_embedding_out_channels": [3, 4],
}
MODULES = {"UNet2DConditionModel": unet2d_condition, "ControlNetModel": controlnet2d}
PUBLISHED = {
    "Stable Diffusion 1": ({"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}, 859_520_964),
    "Stable Diffusion 2": (
        {
            "_class_name": "UNet2DConditionModel",
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
            "dual_cross_attention": False,
            "only_cross_attention": False,
        },
        865_910_724,
    ),
    "ControlNet": ({"_class_name": "ControlNetModel", "cross_attention_dim": 768}, 361_279_120),
}


def shapes_of(config):
    places, named = MODULES[config["_class_name"]].inputs(config)
    return jax.eval_shape(interop.network(config).init, jax.random.key(0), *places, **named)


def random_params(config):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: 0.1 * rng.standard_normal(s.shape).astype(np.float32), shapes_of(config))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_their_parameters(name):
    config, count = PUBLISHED[name]
    assert sum(p.size for p in jax.tree.leaves(shapes_of(config))) == count


@pytest.mark.parametrize("config", [UNET, CONTROL], ids=["unet", "controlnet"])
def test_what_is_written_is_read(config, tmp_path):
    config = config | {"use_linear_projection": config is CONTROL}
    params = random_params(config)
    interop.save(tmp_path, params, config)
    _, again, _ = interop.load(tmp_path)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, params))
    theirs = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    name = "down_blocks.0.attentions.0"
    kernel = np.asarray(params["SpatialTransformer_0"]["Dense_0"]["kernel"]).T
    want = kernel if config["use_linear_projection"] else kernel[..., None, None]
    np.testing.assert_array_equal(theirs[f"{name}.proj_in.weight"], want)
    fused = params["SpatialTransformer_0"]["_Block_0"]["MultiHeadAttention_1"]["Dense_1"]["kernel"]  # 2 heads of 4
    np.testing.assert_array_equal(theirs[f"{name}.transformer_blocks.0.attn2.to_v.weight"][4:], fused[:, 12:].T)
    assert sum(x.size for x in theirs.values()) == sum(x.size for x in jax.tree.leaves(params))


def test_weights_of_another_projection_are_refused(tmp_path):
    interop.save(tmp_path, random_params(UNET), UNET)
    (tmp_path / "config.json").write_text(json.dumps(UNET | {"use_linear_projection": True}))
    with pytest.raises(UserError, match=r"proj_in\.weight has shape \(8, 8, 1, 1\), which the configuration does not"):
        interop.load(tmp_path)


BAD_ENTRIES = {
    "only_cross_attention": True,
    "mid_block_type": "UNetMidBlock2D",
    "down_block_types": ["SimpleCrossAttnDownBlock2D", "DownBlock2D"],
    "cross_attention_dim": [6, 8],
    "attention_head_dim": [2, 3],
    "transformer_layers_per_block": [1, 1, 1],
    "encoder_hid_dim": 4,
    "addition_embed_type": "text_time",
    "class_embed_type": "images",
    "projection_class_embeddings_input_dim": None,  # with class_embed_type "projection"
    "norm_num_groups": 3,
    "act_fn": "gelu",
}
OF_THE_UNET = {
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "dual_cross_attention": True,
    "time_cond_proj_dim": 256,
    "num_attention_heads": 2,
    "attention_type": "gated",
    "conv_in_kernel": 1,
    "class_embeddings_concat": True,
    "layers_per_block": [1, 1, 1],
    "time_embedding_dim": 7,
}
OF_THE_CONTROLNET = {
    "controlnet_conditioning_channel_order": "gbr",
    "global_pool_conditions": True,
    "conditioning_embedding_out_channels": [],
    "num_attention_heads": [2, 5],
    "layers_per_block": [1, 2],
    "class_embed_type": "simple_projection",
}
BAD = [(UNET, name, value) for name, value in (BAD_ENTRIES | OF_THE_UNET).items()]
BAD += [(CONTROL, name, value) for name, value in (BAD_ENTRIES | OF_THE_CONTROLNET).items()]


@pytest.mark.parametrize(("config", "name", "value"), BAD, ids=[f"{c['_class_name']}-{n}" for c, n, _ in BAD])
def test_an_entry_that_is_not_supported_is_named_with_its_value(config, name, value):
    more = {"class_embed_type": "projection"} if name == "projection_class_embeddings_input_dim" else {}
    more = {"projection_class_embeddings_input_dim": 3} if value == "simple_projection" else more
    with pytest.raises(UserError, match=f"^config: {name} is") as error:
        interop.network(config | more | {name: value})
    assert repr(value) in str(error.value)


WRONG = [
    "3",
    "",
    None,
    [],
    [None],
    ["a", 3],
    {},
    -1,
    0,
    10**30,
    1.5,
    float("nan"),
    True,
    [0, 0],
    [8] * 1000,
    [True] * 2,
]


@pytest.mark.parametrize("config", [UNET, CONTROL], ids=["unet", "controlnet"])
def test_entries_of_any_type_work_or_are_named(config):
    defaults, refused = MODULES[config["_class_name"]]._DEFAULTS, 0
    for name in defaults:
        for value in WRONG:
            try:
                interop.network(config | {name: value})
            except UserError as error:
                said = str(error)
                assert said.startswith("config: "), (name, value)
                assert name in said or "block" in said or "head" in said, (name, value, said)
                assert len(said) < 400
                refused += 1
    assert refused > 8 * len(defaults)


def asked(config, **given):
    places, named = MODULES[config["_class_name"]].inputs(config)
    return jax.eval_shape(interop.network(config).apply, shapes_of(config), *places, **{**named, **given})


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_inputs_that_do_not_fit_are_refused():
    for context in (None, shape(1, 2, 7), shape(1, 6)):
        with pytest.raises(ValueError, match=r"takes a context \[b, tokens, 6\], got"):
            asked(UNET, context=context)
    assert asked(UNET, context=shape(1, 77, 6)).shape == (1, 2, 2, 4)
    with pytest.raises(ValueError, match="give a label from 0 to 2"):
        asked(UNET | {"num_class_embeds": 3}, label=None)
    with pytest.raises(ValueError, match=r"give a label: .* a number for each image"):
        asked(UNET | {"class_embed_type": "timestep"}, label=None)
    with pytest.raises(ValueError, match="give a vector"):
        asked(CONTROL | {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 3}, vector=None)
    assert len(asked(CONTROL).skips) == 4


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_stable_diffusion_lowers_for_accelerators(platform):
    config, _ = PUBLISHED["Stable Diffusion 1"]
    half = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, jnp.bfloat16), shapes_of(config))
    x, t, context = shape(1, 64, 64, 4), shape(1), shape(1, 77, 768)
    with ops.form("accelerator"):
        apply = jax.jit(lambda p, x, t, c: interop.network(config).apply(p, x, t, context=c))
        text = apply.trace(half, x, t, context).lower(lowering_platforms=(platform,)).as_text()
    assert "stablehlo.convolution" in text
