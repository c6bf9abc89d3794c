"""MONAI's U-Nets and ControlNets without PyTorch: files both ways, names of before, sizes, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.interop import monai_unet, torch_files, weight_files

TOKENS = {
    "_target_": "monai.networks.nets.DiffusionModelUNet",
    "spatial_dims": 2,
    "channels": [4, 8],
    "num_res_blocks": 1,
    "norm_num_groups": 2,
    "num_head_channels": 4,
    "attention_levels": [False, True],
    "with_conditioning": True,
    "cross_attention_dim": 3,
}
COMMON = {name: value for name, value in TOKENS.items() if "condition" not in name and "cross" not in name}
CASES = {
    "tokens": TOKENS,
    "one layer for query, key and value": {**COMMON, "use_combined_linear": True, "num_class_embeds": 3},
    "spade": {**COMMON, "_target_": "SPADEDiffusionModelUNet", "label_nc": 2, "spade_intermediate_channels": 4},
    "maisi": {**COMMON, "_target_": "DiffusionModelUNetMaisi", "spatial_dims": 3, "include_spacing_input": True},
    "control": {**COMMON, "_target_": "ControlNet", "conditioning_embedding_num_channels": [2, 4]},
}


def random_params(config):
    leaves, tree = jax.tree.flatten(monai_unet.shapes(config))
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(tree, [jnp.asarray(rng.normal(size=x.shape), jnp.float32) for x in leaves])


@pytest.mark.parametrize("config", CASES.values(), ids=CASES.keys())
def test_what_is_written_is_read(config, tmp_path):
    params = random_params(config)
    for name in ("net.pt", "net.safetensors"):
        monai_unet.save(tmp_path / name, params, config)
        jax.tree.map(np.testing.assert_array_equal, monai_unet.load(tmp_path / name, config).params, params)


def test_names_of_monai_generative_are_read(tmp_path):
    """Its self-attention had an output layer that it did not apply, which is passed over."""
    config = {**COMMON, "_target_": "generative.networks.nets.DiffusionModelUNet"}
    params = random_params(config)
    monai_unet.save(tmp_path / "new.pt", params, config)
    old = {}
    for name, x in weight_files.read(tmp_path / "new.pt").items():
        assert ".out_proj." not in name
        old[name.replace(".attn.", ".").replace(".postconv.", ".conv.")] = x
        if ".attn.to_v." in name:
            old[name.replace(".attn.to_v.", ".proj_attn.")] = np.ones_like(x)
    torch_files.write(tmp_path / "old.pt", old)
    jax.tree.map(np.testing.assert_array_equal, monai_unet.load(tmp_path / "old.pt", config).params, params)


def test_a_label_must_be_given_and_one_of_its_own():
    net = monai_unet.network(CASES["one layer for query, key and value"])
    with pytest.raises(ValueError, match="give a label from 0 to 2"):
        net.apply({}, jnp.zeros((1, 4, 4, 1)), jnp.zeros(1))


def test_the_brain_model_has_as_many_parameters_as_published():
    brain = {
        "_target_": "monai.networks.nets.DiffusionModelUNet",
        "spatial_dims": 3,
        "in_channels": 7,
        "out_channels": 3,
        "channels": [256, 512, 768],
        "num_res_blocks": 2,
        "attention_levels": [False, True, True],
        "num_head_channels": [0, 512, 768],
        "resblock_updown": True,
        "with_conditioning": True,
        "cross_attention_dim": 4,
    }
    assert sum(leaf.size for leaf in jax.tree.leaves(monai_unet.shapes(brain))) == 553_168_899


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_target_": "monai.networks.nets.UNet"}, r"_target_ is 'monai.networks.nets.UNet'; supported: Diffusion"),
        ({"spatial_dims": None}, "lacks spatial_dims; give 2 for images or 3 for volumes"),
        ({"spatial_dims": 1}, "spatial_dims is 1, which is not supported; it must be a whole number from 2 to 3"),
        ({"with_conditioning": False}, "cross_attention_dim goes with with_conditioning true, and only with it"),
        ({"attention_levels": [True]}, "attention_levels has 1 entries, and channels has 2"),
        ({"num_head_channels": [0, 0]}, r"num_head_channels is \[0, 0\], which is not supported"),
        ({"norm_num_groups": 3}, "norm_num_groups is 3, which is not supported; see jaxgen.interop.monai_unet"),
        ({"_target_": "SPADEDiffusionModelUNet"}, "lacks label_nc; give the number of classes of the segmentation"),
    ],
)
def test_what_the_arguments_may_not_be(change, message):
    with pytest.raises(UserError, match=message):
        monai_unet.network({**TOKENS, **change})


def test_weights_of_another_network_are_said(tmp_path):
    monai_unet.save(tmp_path / "net.pt", random_params(TOKENS), TOKENS)
    with pytest.raises(UserError, match=r"net.pt: lacks tensor .*; is the configuration its own\?"):
        monai_unet.load(tmp_path / "net.pt", COMMON)
    with pytest.raises(
        UserError, match=r"net.pt: tensor .* has shape \(4, 1, 3, 3\), which the configuration does not"
    ):
        monai_unet.load(tmp_path / "net.pt", {**TOKENS, "in_channels": 2})
    with pytest.raises(UserError, match=r"ends in '.txt'; name a file that ends in .pt, .pth or .safetensors"):
        monai_unet.save(tmp_path / "net.txt", random_params(TOKENS), TOKENS)
