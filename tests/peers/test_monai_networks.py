"""MONAI's U-Nets and ControlNets compared with ours on the same weights: outputs, names both ways, parameter counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.interop import monai_autoencoder, monai_unet
from jaxgen.interop.monai_unet import load, network, save, shapes, standard
from jaxgen.interop.monai_unet_form import form_of

torch = pytest.importorskip("torch")
pytest.importorskip("monai")
pytestmark = pytest.mark.peers

SMALL = {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "norm_num_groups": 4, "num_head_channels": 4}
TOKENS = {"with_conditioning": True, "cross_attention_dim": 5}
TWO, THREE = {"channels": [8, 16], "num_res_blocks": 1}, {"channels": [8, 8, 12], "num_res_blocks": [1, 2, 1]}
VOLUMES = {"spatial_dims": 3, "in_channels": 2}

UNETS = {
    "2-D": {**TWO, "attention_levels": [False, False]},
    "2-D, attention, residual resampling": {**TWO, "attention_levels": [False, True], "resblock_updown": True},
    "2-D, three levels of unequal depth, classes": {
        **THREE,
        "attention_levels": [False, True, True],
        "num_class_embeds": 3,
    },
    "2-D, tokens, two transformer blocks": {
        **TWO,
        **TOKENS,
        "attention_levels": [False, True],
        "transformer_num_layers": 2,
    },
    "2-D, attention without its output layer": {**TWO, "attention_levels": [True, False], "include_fc": False},
    "2-D, query, key and value in one layer": {**TWO, "attention_levels": [False, True], "use_combined_linear": True},
    "2-D, both, in transformers": {
        **TWO,
        **TOKENS,
        "attention_levels": [False, True],
        "include_fc": False,
        "use_combined_linear": True,
    },
    "3-D": {**TWO, **VOLUMES, "attention_levels": [False, False]},
    "3-D, attention, three levels": {**THREE, **VOLUMES, "attention_levels": [False, False, True]},
    "3-D, tokens, residual resampling, as the brain model": {
        **TWO,
        **VOLUMES,
        **TOKENS,
        "attention_levels": [False, True],
        "resblock_updown": True,
        "num_head_channels": [0, 16],
        "upcast_attention": True,
    },
    "2-D, tokens in the middle alone": {**TWO, **TOKENS, "attention_levels": [False, False]},
}
HINT = {"conditioning_embedding_in_channels": 2, "conditioning_embedding_num_channels": [4, 6]}
CONTROLNETS = {
    "2-D": {**TWO, **HINT, "attention_levels": [False, True]},
    "2-D, tokens, classes, residual resampling": {
        **TWO,
        **TOKENS,
        **HINT,
        "attention_levels": [False, True],
        "resblock_updown": True,
        "num_class_embeds": 3,
    },
    "3-D, three levels": {
        **THREE,
        **VOLUMES,
        "attention_levels": [False, False, True],
        "conditioning_embedding_in_channels": 1,
        "conditioning_embedding_num_channels": [4],
    },
}


def with_random_weights(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise / np.sqrt(parameter[0].numel()))
            else:
                parameter.copy_(0.1 * noise + float(name.endswith("weight")))
    return module.eval()


def module_of(config):
    from monai.apps.generation.maisi.networks import controlnet_maisi, diffusion_model_unet_maisi
    from monai.networks import nets

    places = (nets, diffusion_model_unet_maisi, controlnet_maisi)
    target = next(getattr(place, config["_target_"]) for place in places if hasattr(place, config["_target_"]))
    return target(**{name: value for name, value in config.items() if name != "_target_"})


def draws_of(config, size=8, seed=1):
    """Inputs of a network, channels last: image, numbers of time, and what the configuration asks for."""
    rng, dims = np.random.default_rng(seed), config["spatial_dims"]

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    given = {"x": normal(2, *(size,) * dims, config["in_channels"]), "t": np.array([999.0, 3.0], np.float32)}
    if config.get("with_conditioning"):
        given["context"] = normal(2, 3, config["cross_attention_dim"])
    if config.get("num_class_embeds"):
        given["label"] = np.array([2, 0])
    if "Control" in config["_target_"]:
        factor = 2 ** (len(config["conditioning_embedding_num_channels"]) - 1)
        given["hint"] = normal(2, *(factor * size,) * dims, config["conditioning_embedding_in_channels"])
    return given


THEIR_NAMES = {"t": "timesteps", "label": "class_labels", "hint": "controlnet_cond", "segmentation": "seg"}


def to_torch(x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy() if x.ndim > 3 else x)


def from_torch(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def answer_of(module, given, **more):
    with torch.no_grad():
        return module(**{THEIR_NAMES.get(name, name): to_torch(x) for name, x in given.items()}, **more)


def assert_close(ours, theirs, bound=1e-4):
    theirs = from_torch(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(theirs).max() > 0.01
    assert np.abs(np.asarray(ours) - theirs).max() <= bound * max(1.0, np.abs(theirs).max())


def loaded(config, module, path):
    """Ours with their weights, by a file that they wrote; and the way back."""
    torch.save(module.state_dict(), path)
    net, params, _ = load(path, config)
    save(path.with_suffix(".pth"), params, config)
    back, theirs = torch.load(path.with_suffix(".pth")), module.state_dict()
    assert back.keys() == theirs.keys()
    for name, x in back.items():
        assert torch.equal(x, theirs[name])
    return net, params


@pytest.mark.parametrize("options", UNETS.values(), ids=UNETS.keys())
def test_unet(options, tmp_path):
    config = {"_target_": "DiffusionModelUNet", **SMALL, **options}
    module = with_random_weights(module_of(config))
    net, params = loaded(config, module, tmp_path / "net.pt")
    given = draws_of(config)
    assert_close(jax.jit(net.apply)(params, **given), answer_of(module, given))


@pytest.mark.parametrize("options", CONTROLNETS.values(), ids=CONTROLNETS.keys())
def test_controlnet(options, tmp_path):
    config = {"_target_": "ControlNet", **SMALL, **options}
    del config["out_channels"]
    module = with_random_weights(module_of(config))
    net, params = loaded(config, module, tmp_path / "net.pt")
    given = draws_of(config)
    ours, (skips, middle) = jax.jit(net.apply)(params, **given), answer_of(module, given)
    assert len(ours.skips) == len(skips)
    for one, other in zip((*ours.skips, ours.middle), (*skips, middle), strict=True):
        assert_close(one, other)


def test_a_controlled_unet(tmp_path):
    options = {**SMALL, **TWO, "attention_levels": [False, True]}
    unet_config = {"_target_": "DiffusionModelUNet", **options}
    control_config = {"_target_": "ControlNet", **options, **HINT}
    del control_config["out_channels"]
    unet, control = with_random_weights(module_of(unet_config)), with_random_weights(module_of(control_config), 3)
    net, params = loaded(unet_config, unet, tmp_path / "unet.pt")
    control_net, control_params = loaded(control_config, control, tmp_path / "control.pt")
    given = draws_of(control_config)
    skips, middle = answer_of(control, given)
    hint = given.pop("hint")
    theirs = answer_of(unet, given, down_block_additional_residuals=skips, mid_block_additional_residual=middle)
    plain = answer_of(unet, given)
    assert (theirs - plain).abs().max() > 0.1

    @jax.jit
    def ours(params, control_params):
        return net.apply(params, **given, control=control_net.apply(control_params, **given, hint=hint))

    assert_close(ours(params, control_params), theirs)


MAISI = {
    **SMALL,
    **VOLUMES,
    "num_channels": [8, 16],
    "num_res_blocks": 1,
    "attention_levels": [False, True],
    "num_head_channels": [0, 4],
    "resblock_updown": True,
}


@pytest.mark.parametrize("region", [True, False])
def test_maisi_unet(region, tmp_path):
    config = {
        "_target_": "DiffusionModelUNetMaisi",
        **MAISI,
        "include_spacing_input": True,
        "include_top_region_index_input": region,
        "include_bottom_region_index_input": region,
        "include_fc": not region,
        "num_class_embeds": None if region else 4,
    }
    module = with_random_weights(module_of(config))
    net, params = loaded(config, module, tmp_path / "net.pt")
    given, rng = draws_of(config), np.random.default_rng(5)
    parts = {"spacing_tensor": rng.normal(size=(2, 3)).astype(np.float32)}
    if region:
        regions = {
            f"{end}_region_index_tensor": np.eye(4, dtype=np.float32)[[i, 3]] for i, end in enumerate(("top", "bottom"))
        }
        parts = regions | parts
    theirs = answer_of(module, given | parts)
    vector = np.concatenate(list(parts.values()), axis=-1)
    assert_close(jax.jit(net.apply)(params, **given, vector=vector), theirs)
    with pytest.raises(ValueError, match="does not have parts of widths"):
        net.apply(params, **given, vector=vector[:, 1:])


def test_maisi_controlnet(tmp_path):
    config = {"_target_": "ControlNetMaisi", **MAISI, **HINT, "num_class_embeds": 4, "use_checkpointing": False}
    del config["out_channels"]
    module = with_random_weights(module_of(config))
    net, params = loaded(config, module, tmp_path / "net.pt")
    given = draws_of(config)
    ours, (skips, middle) = jax.jit(net.apply)(params, **given), answer_of(module, given)
    for one, other in zip((*ours.skips, ours.middle), (*skips, middle), strict=True):
        assert_close(one, other)


SPADES = {
    "2-D, attention": {**TWO, "attention_levels": [False, True], "spade_intermediate_channels": 8},
    "2-D, tokens, residual resampling": {**TWO, **TOKENS, "attention_levels": [False, True], "resblock_updown": True},
    "3-D, three levels": {**THREE, **VOLUMES, "attention_levels": [False, False, True]},
}


@pytest.mark.parametrize("options", SPADES.values(), ids=SPADES.keys())
@pytest.mark.parametrize("finer", [1, 2])
def test_spade_unet(options, finer, tmp_path):
    config = {"_target_": "SPADEDiffusionModelUNet", **SMALL, **options, "label_nc": 3}
    module = with_random_weights(module_of(config))
    net, params = loaded(config, module, tmp_path / "net.pt")
    given, rng = draws_of(config), np.random.default_rng(5)
    size = (8 * finer,) * config["spatial_dims"]
    given["segmentation"] = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (2, *size))]
    assert_close(jax.jit(net.apply)(params, **given), answer_of(module, given))


SPADE_KLS = {
    "2-D": {"channels": [8, 12], "attention_levels": [False, False], "spade_intermediate_channels": 6},
    "2-D, attention": {"channels": [4, 8], "attention_levels": [False, True], "with_encoder_nonlocal_attn": False},
    "3-D": {
        "spatial_dims": 3,
        "channels": [4, 4],
        "attention_levels": [False, False],
        "with_encoder_nonlocal_attn": False,
        "with_decoder_nonlocal_attn": False,
    },
}


@pytest.mark.parametrize("options", SPADE_KLS.values(), ids=SPADE_KLS.keys())
def test_spade_autoencoder(options, tmp_path):
    config = {"_target_": "SPADEAutoencoderKL", "spatial_dims": 2, "num_res_blocks": 1, "norm_num_groups": 4}
    config |= {"label_nc": 3, **options}
    module = with_random_weights(module_of(config))
    torch.save(module.state_dict(), tmp_path / "net.pt")
    loaded = monai_autoencoder.load(tmp_path / "net.pt", config)
    monai_autoencoder.save(tmp_path / "back.pt", loaded.params, config)
    back, theirs = torch.load(tmp_path / "back.pt"), module.state_dict()
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in back)
    rng, dims = np.random.default_rng(0), config["spatial_dims"]
    x = rng.standard_normal((2, *(8,) * dims, 1)).astype(np.float32)
    z = rng.standard_normal((2, *(4,) * dims, 3)).astype(np.float32)
    segmentation = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (2, *(8,) * dims))]
    with torch.no_grad():
        mean, _ = module.encode(to_torch(x))
        image = module.decode(to_torch(z), to_torch(segmentation))
    moments = jax.jit(loaded.encoder.apply)(loaded.params["encoder"], x)
    assert_close(moments[..., :3], mean)
    assert_close(jax.jit(loaded.decoder.apply)(loaded.params["decoder"], z, segmentation), image)


def test_the_autoencoder_of_monai_generative_does_not_apply_its_output_layer(tmp_path):
    config = {"_target_": "AutoencoderKL", "spatial_dims": 2, "channels": [4, 8], "num_res_blocks": 1}
    config |= {"norm_num_groups": 4, "attention_levels": [False, True], "include_fc": False}
    module = with_random_weights(module_of(config))
    old = {}
    for name, x in module.state_dict().items():
        old[name.replace(".attn.", ".").replace(".postconv.", ".conv.")] = x
        if ".attn.to_q" in name:
            old[name.replace(".attn.to_q", ".proj_attn")] = torch.randn_like(x)
    torch.save(old, tmp_path / "old.pt")
    torch.save(module.state_dict(), tmp_path / "new.pt")
    generative = {"num_channels" if name == "channels" else name: value for name, value in config.items()}
    del generative["include_fc"]
    generative["_target_"] = "generative.networks.nets.AutoencoderKL"
    expected = monai_autoencoder.load(tmp_path / "new.pt", config).params
    for one in (config, generative):
        found = monai_autoencoder.load(tmp_path / "old.pt", one).params
        jax.tree.map(np.testing.assert_array_equal, found, expected)


OLD = [
    (".attn.to_", ".to_"),
    (".attn.out_proj.", ".proj_attn."),
    (".out_proj.", ".to_out.0."),
    (".postconv.", ".conv."),
]


@pytest.mark.parametrize("tokens", [False, True])
def test_names_of_monai_generative(tokens, tmp_path):
    """The old names are read as MONAI's own reader does, and the output layer that was never applied is left out."""
    config = {"_target_": "DiffusionModelUNet", **SMALL, **TWO, "attention_levels": [False, True]}
    config |= TOKENS if tokens else {"include_fc": False}
    module = with_random_weights(module_of(config))
    new = module.state_dict()
    old = {}
    for name, x in new.items():
        for one, other in OLD:
            name = name.replace(one, other)
        old[name] = x
        if not tokens and name.endswith(".to_v.weight"):
            old[name.replace("to_v", "proj_attn")] = torch.randn_like(x)
    assert old.keys() != new.keys()
    torch.save(old, tmp_path / "old.pt")
    torch.save(new, tmp_path / "new.pt")
    before = load(tmp_path / "new.pt", config).params
    own = dict(config)
    own.pop("include_fc", None)
    renamed = {"num_channels" if name == "channels" else name: value for name, value in own.items()}
    generative = renamed | {"_target_": "generative.networks.nets.DiffusionModelUNet"}
    for one in (config, generative):
        jax.tree.map(np.testing.assert_array_equal, load(tmp_path / "old.pt", one).params, before)
    fresh = module_of(config)
    fresh.load_old_state_dict(dict(old))
    for name, x in fresh.state_dict().items():
        assert torch.equal(x, new[name])


def test_an_output_layer_of_before_is_applied_where_the_form_has_one():
    config = {"_target_": "DiffusionModelUNet", **SMALL, **TWO, "attention_levels": [False, True]}
    assert list(standard({"middle_block.attention.proj_attn.bias": np.zeros(1)}, form_of(config, ""))) == [
        "middle_block.attention.attn.out_proj.bias"
    ]


BRAIN = {
    "_target_": "DiffusionModelUNet",
    "spatial_dims": 3,
    "in_channels": 7,
    "out_channels": 3,
    "channels": [256, 512, 768],
    "num_res_blocks": 2,
    "attention_levels": [False, True, True],
    "norm_eps": 1e-6,
    "resblock_updown": True,
    "num_head_channels": [0, 512, 768],
    "with_conditioning": True,
    "cross_attention_dim": 4,
    "upcast_attention": True,
}
CONTROL = {
    "_target_": "ControlNetMaisi",
    "spatial_dims": 3,
    "in_channels": 4,
    "num_channels": [64, 128, 256, 512],
    "attention_levels": [False, False, True, True],
    "num_head_channels": [0, 0, 32, 32],
    "conditioning_embedding_in_channels": 8,
    "conditioning_embedding_num_channels": [8, 32, 64],
    "num_class_embeds": 128,
    "resblock_updown": True,
    "include_fc": True,
}
MAISI_FULL = {
    **{name: value for name, value in CONTROL.items() if "embedding" not in name},
    "_target_": "DiffusionModelUNetMaisi",
    "out_channels": 4,
    "include_spacing_input": True,
}


@pytest.mark.parametrize("config", [BRAIN, CONTROL, MAISI_FULL], ids=["brain", "maisi control", "maisi"])
def test_published_sizes(config):
    with torch.device("meta"):
        theirs = sum(parameter.numel() for parameter in module_of(config).parameters())
    ours = sum(leaf.size for leaf in jax.tree.leaves(shapes(config)))
    assert ours == theirs
    if config is BRAIN:
        assert ours == 553_168_899


def test_ours_without_a_file_is_the_same_network():
    config = {"_target_": "DiffusionModelUNet", **SMALL, **TWO, "attention_levels": [False, True]}
    x, t = jnp.zeros((1, 8, 8, 3)), jnp.zeros(1)
    made = jax.eval_shape(lambda key: network(config).init(key, x, t), jax.random.key(0))
    assert jax.tree.map(lambda leaf: leaf.shape, made) == jax.tree.map(
        lambda leaf: leaf.shape, monai_unet.shapes(config)
    )
