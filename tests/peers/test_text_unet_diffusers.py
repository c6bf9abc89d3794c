"""diffusers' UNet2DConditionModel and ControlNetModel compared with ours, same weights, both ways through files."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.interop import diffusers as interop

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.peers

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
SIZE, TOKENS = 8, 5
SMALL = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "cross_attention_dim": 6}
SHARED = {
    "as Stable Diffusion 1": {"down_block_types": (CROSS, PLAIN), "attention_head_dim": 2},
    "as Stable Diffusion 2": {
        "down_block_types": (CROSS, CROSS),
        "attention_head_dim": (1, 4),
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    "three levels, two blocks, depth 2": {
        "block_out_channels": (4, 8, 12),
        "down_block_types": (PLAIN, CROSS, CROSS),
        "transformer_layers_per_block": 2,
        "layers_per_block": 2,
        "attention_head_dim": (4, 2, 3),
        "norm_num_groups": 2,
    },
    "no level attends": {
        "down_block_types": (PLAIN, PLAIN),
        "attention_head_dim": 4,
        "freq_shift": 1,
        "flip_sin_to_cos": False,
        "downsample_padding": 0,
    },
    "classes, scale and shift, three blocks": {
        "down_block_types": (PLAIN, CROSS),
        "attention_head_dim": 2,
        "layers_per_block": 3,
        "resnet_time_scale_shift": "scale_shift",
        "num_class_embeds": 4,
        "in_channels": 3,
    },
    "a vector, depth per level": {
        "down_block_types": (CROSS, CROSS),
        "attention_head_dim": 2,
        "transformer_layers_per_block": (1, 3),
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 7,
        "use_linear_projection": True,
        "norm_eps": 1e-6,
    },
    "a number for a class": {
        "down_block_types": (CROSS, PLAIN),
        "attention_head_dim": 4,
        "class_embed_type": "timestep",
    },
}
UNETS = {
    name: SMALL
    | {
        "up_block_types": tuple(kind.replace("Down", "Up") for kind in reversed(config["down_block_types"])),
        "sample_size": SIZE,
    }
    | config
    for name, config in SHARED.items()
}
UNETS["blocks per level, centred, two channels more"] = SMALL | {
    "down_block_types": (CROSS, PLAIN),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": (1, 2),
    "attention_head_dim": 8,
    "center_input_sample": True,
    "out_channels": 6,
    "class_embed_type": "simple_projection",
    "projection_class_embeddings_input_dim": 3,
}
HINTS = {"conditioning_embedding_out_channels": (3, 4), "conditioning_channels": 2}
CONTROLS = {name: SMALL | HINTS | config for name, config in SHARED.items()}
CONTROLS["as Stable Diffusion 1"] |= {"conditioning_embedding_out_channels": (2, 3, 4, 5), "conditioning_channels": 3}
CONTROLS["no level attends"] |= {
    "controlnet_conditioning_channel_order": "bgr",
    "num_attention_heads": 2,
    "conditioning_embedding_out_channels": (4,),
}
CASES = {f"U-Net, {name}": ("UNet2DConditionModel", config) for name, config in UNETS.items()}
CASES |= {f"ControlNet, {name}": ("ControlNetModel", config) for name, config in CONTROLS.items()}


def theirs(name, seed=0):
    """A diffusers model with every parameter random: norms, biases and what starts at zero as well."""
    kind, config = CASES[name]
    torch.manual_seed(seed)
    model = getattr(diffusers, kind)(**config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return model.eval()


def inputs(name, b=2):
    """Arguments of ours by place and by name."""
    kind, config = CASES[name]
    rng = np.random.default_rng(1)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    places = [normal(b, SIZE, SIZE, config.get("in_channels", 4)), np.array([3, 981])]
    if kind == "ControlNetModel":
        size = SIZE * 2 ** (len(config["conditioning_embedding_out_channels"]) - 1)
        places.append(normal(b, size, size, config["conditioning_channels"]))
    named = {"context": normal(b, TOKENS, config["cross_attention_dim"])}
    if "num_class_embeds" in config:
        named["label"] = np.array([0, 3])
    elif config.get("class_embed_type") == "timestep":
        named["label"] = np.array([20.0, 300.0], np.float32)
    elif "class_embed_type" in config:
        named["vector"] = normal(b, config["projection_class_embeddings_input_dim"])
    return places, named


def to_torch(x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy() if x.ndim == 4 else x.copy())


def leaves(control):
    """The arrays of an answer, an image or a Control, channels last."""
    return [np.asarray(x) for x in jax.tree.leaves(control)]


def run_theirs(model, places, named):
    x, t, *hint = map(to_torch, places)
    classes = named.get("label", named.get("vector"))
    classes = None if classes is None else torch.from_numpy(classes)
    with torch.no_grad():
        out = model(x, t, torch.from_numpy(named["context"]), *hint, class_labels=classes, return_dict=False)
    parts = (*out[0], out[1]) if hint else (out[0],)
    return [np.moveaxis(part.numpy(), 1, -1) for part in parts]


def assert_same(ours, expected, bound=1e-5):
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        assert a.shape == b.shape
        assert np.abs(b).max() > 1e-2
        assert np.linalg.norm(a - b) / np.linalg.norm(b) < bound


@pytest.mark.parametrize("name", CASES)
def test_their_weights_here_and_ours_there(name, tmp_path):
    kind, options = CASES[name]
    model = theirs(name)
    model.save_pretrained(tmp_path / "theirs")
    net, params, _ = interop.load(tmp_path / "theirs")
    assert sum(x.size for x in jax.tree.leaves(params)) == sum(p.numel() for p in model.parameters())
    places, named = inputs(name)
    apply = jax.jit(net.apply)
    assert_same(leaves(apply(params, *places, **named)), run_theirs(model, places, named))

    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda p: jnp.asarray(0.3 * rng.standard_normal(p.shape), jnp.float32), params)
    interop.save(tmp_path / "ours", params, {"_class_name": kind, **json.loads(json.dumps(options))})
    model = getattr(diffusers, kind).from_pretrained(tmp_path / "ours").eval()
    assert_same(run_theirs(model, places, named), leaves(apply(params, *places, **named)))
    again = interop.load(tmp_path / "ours").params
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, params))


def test_a_unet_under_control(tmp_path):
    """The ControlNet's answer, weakened, goes into the U-Net."""
    name = "as Stable Diffusion 1"
    control, model = theirs(f"ControlNet, {name}"), theirs(f"U-Net, {name}", seed=1)
    control.save_pretrained(tmp_path / "control")
    model.save_pretrained(tmp_path / "unet")
    (x, t, hint), named = inputs(f"ControlNet, {name}")
    context = torch.from_numpy(named["context"])
    with torch.no_grad():
        down, middle = control(to_torch(x), to_torch(t), context, to_torch(hint), 0.7, return_dict=False)
        given = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        expected = model(to_torch(x), to_torch(t), context, **given).sample
    (steer, steer_params, _), (net, params, _) = (interop.load(tmp_path / part) for part in ("control", "unet"))

    @jax.jit
    def ours(x, t, hint, context):
        added = jax.tree.map(lambda r: 0.7 * r, steer.apply(steer_params, x, t, hint, context=context))
        return net.apply(params, x, t, context=context, control=added)

    assert_same([np.asarray(ours(x, t, hint, named["context"]))], [np.moveaxis(expected.numpy(), 1, -1)])


def test_a_controlnet_begins_as_a_copy_of_the_unet():
    """The copy by name has the values that diffusers' from_unet copies."""
    from jaxgen.interop import tensors
    from jaxgen.interop.diffusers import _KINDS
    from jaxgen.nets import controlnet_from_unet

    name = "as Stable Diffusion 2"
    model = theirs(f"U-Net, {name}")
    copy = diffusers.ControlNetModel.from_unet(model, conditioning_embedding_out_channels=(3, 4))
    trees = {}
    for kind, module in (("UNet2DConditionModel", model), ("ControlNetModel", copy)):
        config = json.loads(json.dumps({k: v for k, v in module.config.items() if not k.startswith("_")}))
        net, made = _KINDS[kind].network(config, "config")
        places, named = _KINDS[kind].inputs(config)
        shapes = jax.eval_shape(net.init, jax.random.key(0), *places, **named)
        state = {key: value.numpy() for key, value in module.state_dict().items()}
        trees[kind] = tensors.to_params(list(_KINDS[kind].names(made, shapes)), state, shapes, "state")
    ours = controlnet_from_unet(trees["UNet2DConditionModel"], jax.tree.map(jnp.zeros_like, trees["ControlNetModel"]))
    shared = [key for key in ours if key not in ("hint", "middle") and not key.startswith("skip_")]
    assert len(shared) > 8
    for key in shared:
        jax.tree.map(np.testing.assert_array_equal, ours[key], trees["ControlNetModel"][key])
