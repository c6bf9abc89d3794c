"""LoRA files without PyTorch: every form of names is read as the same update, and written again."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxgen.errors import UserError
from jaxgen.families.lora import merge
from jaxgen.interop import lora as interop
from jaxgen.interop import tensors
from jaxgen.interop.lora import Adapted

RNG = np.random.default_rng(0)


def drawn(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def layer(i):
    """One of two equal layers of a text encoder."""
    name = f"text_model.encoder.layers.{i}"
    inputs = tensors.attention_inputs(("blocks", "in"), f"{name}.self_attn", 2, ("q_proj", "k_proj", "v_proj"))
    return [*inputs, *tensors.dense(("blocks", "fc"), f"{name}.mlp.fc1")]


UNET = [
    *tensors.convolution(("Conv_0",), "down_blocks.0.resnets.0.conv1"),
    *tensors.attention_inputs(("attend",), "mid_block.attentions.0.attn1", 2),
    *tensors.dense(("out",), "mid_block.attentions.0.attn1.to_out.0"),
]
UNET_PARAMS = {
    "Conv_0": {"kernel": drawn(3, 3, 4, 5), "bias": drawn(5)},
    "attend": {"kernel": drawn(6, 24), "bias": drawn(24)},
    "out": {"kernel": drawn(8, 6), "bias": drawn(6)},
}
TEXT = list(tensors.stacked([layer(0), layer(1)]))
TEXT_PARAMS = {
    "blocks": {
        "in": {"kernel": drawn(2, 4, 12), "bias": drawn(2, 12)},
        "fc": {"kernel": drawn(2, 4, 7), "bias": drawn(2, 7)},
    }
}
NETWORKS = {"unet": Adapted(UNET, UNET_PARAMS), "text_encoder": Adapted(TEXT, TEXT_PARAMS)}
PARAMS = {"unet": UNET_PARAMS, "text_encoder": TEXT_PARAMS}
# (network, layer) -> (down, up, alpha); ranks differ, and not every layer is updated
UPDATES = {
    ("unet", "down_blocks.0.resnets.0.conv1"): (drawn(2, 4, 3, 3), drawn(5, 2, 1, 1), 4.0),
    ("unet", "mid_block.attentions.0.attn1.to_q"): (drawn(3, 6), drawn(8, 3), 3.0),
    ("unet", "mid_block.attentions.0.attn1.to_v"): (drawn(1, 6), drawn(8, 1), 2.0),
    ("unet", "mid_block.attentions.0.attn1.to_out.0"): (drawn(2, 8), drawn(6, 2), 1.0),
    ("text_encoder", "text_model.encoder.layers.1.self_attn.k_proj"): (drawn(2, 4), drawn(4, 2), 2.0),
    ("text_encoder", "text_model.encoder.layers.0.mlp.fc1"): (drawn(1, 4), drawn(7, 1), 0.5),
    ("text_encoder", "text_model.encoder.layers.1.mlp.fc1"): (drawn(2, 4), drawn(7, 2), 2.0),
}


def kohya(network, module):
    return {"unet": "lora_unet_", "text_encoder": "lora_te_"}[network] + module.replace(".", "_")


def before(network, module):
    """diffusers' first names."""
    module = module.replace(".to_out.0", ".processor.to_out").replace(".to_q", ".processor.to_q")
    module = module.replace(".to_v", ".processor.to_v").replace(".k_proj", ".to_k")
    return f"{network}.{module}_lora.{{}}.weight"


NAMES = {
    "diffusers": lambda network, module: f"{network}.{module}.lora.{{}}.weight",
    "linear layer": lambda network, module: f"{network}.{module}.lora_linear_layer.{{}}.weight",
    "before": before,
    "peft": lambda network, module: f"{network}.{module}.lora_{{}}.weight",
    "kohya": lambda network, module: f"{kohya(network, module)}.lora_{{}}.weight",
}


def write(path, form, updates=UPDATES):
    found = {}
    for (network, module), (down, up, alpha) in updates.items():
        name = NAMES[form](network, module)
        letters = ("A", "B") if form == "peft" else ("down", "up")
        found |= {name.format(letters[0]): down, name.format(letters[1]): up}
        if form == "kohya":
            found[f"{kohya(network, module)}.alpha"] = np.array(alpha, np.float32)
    save_file(found, path)


def expected(scaled):
    """Their tensors with the updates in them."""
    whole = {}
    for network, params in PARAMS.items():
        theirs = tensors.from_params(NETWORKS[network].entries, params)
        for (name, module), (down, up, alpha) in UPDATES.items():
            if name == network:
                rank = down.shape[0]
                change = (up.reshape(-1, rank) @ down.reshape(rank, -1)).reshape(theirs[f"{module}.weight"].shape)
                theirs[f"{module}.weight"] = theirs[f"{module}.weight"] + (alpha / rank if scaled else 1) * change
        whole[network] = theirs
    return whole


def check(lora, scaled):
    for network, want in expected(scaled).items():
        got = tensors.from_params(NETWORKS[network].entries, merge(PARAMS[network], lora[network]))
        assert got.keys() == want.keys()
        for name, x in want.items():
            np.testing.assert_allclose(got[name], x, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("form", NAMES)
def test_every_form_is_the_same_update(form, tmp_path):
    write(tmp_path / "lora.safetensors", form)
    check(interop.load(tmp_path / "lora.safetensors", NETWORKS), scaled=form == "kohya")


@pytest.mark.parametrize("form", ["diffusers", "peft", "kohya"])
def test_what_is_written_is_read_with_the_ranks_it_had(form, tmp_path):
    write(tmp_path / "lora.safetensors", "kohya")
    lora = interop.load(tmp_path / "lora.safetensors", NETWORKS)
    interop.save(tmp_path, lora, NETWORKS, form)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    theirs = load_file(file)
    assert all(x.ndim == 0 for name, x in theirs.items() if name.endswith(".alpha"))
    name = NAMES["linear layer" if form == "diffusers" else form]("text_encoder", "text_model.encoder.layers.1.mlp.fc1")
    assert theirs[name.format("A" if form == "peft" else "down")].shape == (2, 4)
    shapes = {x.shape for name, x in theirs.items() if "to_q" in name and x.ndim}
    assert shapes == {(3, 6), (8, 3)}
    assert not any("to_k" in name for name in theirs)
    check(interop.load(tmp_path, NETWORKS), scaled=True)


def test_ours_with_one_matrix_for_query_key_and_value(tmp_path):
    """As they are trained here: the rank there is the rank here, and the way back is exact."""
    update = {"a": drawn(6, 2), "b": drawn(2, 24)}
    stacked = {"a": drawn(2, 4, 3), "b": drawn(2, 3, 12)}
    lora = {"unet": {"attend": {"kernel": update}}, "text_encoder": {"blocks": {"in": {"kernel": stacked}}}}
    interop.save(tmp_path / "lora.safetensors", lora, NETWORKS)
    theirs = load_file(tmp_path / "lora.safetensors")
    assert len(theirs) == 2 * 3 + 2 * 6
    again = interop.load(tmp_path / "lora.safetensors", NETWORKS)
    for got, want in ((again["unet"]["attend"], update), (again["text_encoder"]["blocks"]["in"], stacked)):
        np.testing.assert_array_equal(got["kernel"]["a"], want["a"])
        np.testing.assert_array_equal(got["kernel"]["b"], want["b"])


def test_one_that_is_not_trained_yet_is_written_whole(tmp_path):
    lora = {"unet": {"attend": {"kernel": {"a": drawn(6, 2), "b": jnp.zeros((2, 24))}}}}
    interop.save(tmp_path / "lora.safetensors", lora, NETWORKS, "peft")
    np.testing.assert_array_equal(
        interop.load(tmp_path / "lora.safetensors", NETWORKS)["unet"]["attend"]["kernel"]["a"],
        lora["unet"]["attend"]["kernel"]["a"],
    )


def test_the_scale_that_diffusers_writes_into_the_header(tmp_path):
    updates = {key: value for key, value in UPDATES.items() if key[1].endswith(("to_q", "to_out.0"))}
    write(tmp_path / "plain.safetensors", "diffusers", updates)
    header = {"unet.r": 3, "unet.lora_alpha": 6, "unet.alpha_pattern": {"attn1.to_out.0": 1}, "unet.use_rslora": False}
    found = load_file(tmp_path / "plain.safetensors")
    save_file(found, tmp_path / "scaled.safetensors", metadata={"lora_adapter_metadata": json.dumps(header)})
    plain, scaled = (interop.load(tmp_path / f"{n}.safetensors", NETWORKS)["unet"] for n in ("plain", "scaled"))
    for path, factor in (("attend", 2), ("out", 0.5)):
        np.testing.assert_allclose(scaled[path]["kernel"]["b"], factor * plain[path]["kernel"]["b"], rtol=1e-6)


Q = "unet.mid_block.attentions.0.attn1.to_q.lora"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({f"{Q}.down.weight": (3, 6)}, "is not one matrix by another; copy it again"),
        ({f"{Q}.down.weight": (3, 6), f"{Q}.up.weight": (8, 2)}, "is not one matrix by another; copy it again"),
        ({f"{Q}.down.weight": (3, 5), f"{Q}.up.weight": (8, 3)}, "does not fit; is it for another model?"),
        ({f"{Q}.down.weight": (3, 6), f"{Q}.up.weight": (10, 3)}, "does not fit; is it for another model?"),
        ({"unet.up_blocks.9.to_q.lora.down.weight": (3, 6)}, "has an update of 'up_blocks.9.to_q', which this unet"),
        ({"lora_unet_input_blocks_1.lora_down.weight": (3, 6)}, "has an update of 'input_blocks_1', which this unet"),
        ({"lora_te2_x.lora_down.weight": (3, 6)}, "is for a text_encoder_2, which is not updated here"),
        ({"transformer.x.lora_A.weight": (3, 6)}, "is for a transformer, which is not updated here"),
        ({"lora_unet_conv_in.hada_w1_a": (3, 6)}, "is no part of a LoRA (hada_): such updates are not read"),
        ({"unet.conv_in.weight": (3, 6)}, "is no part of a LoRA; is it a file of LoRA weights?"),
        ({}, "holds no update for unet or text_encoder; is it a LoRA file?"),
    ],
)
def test_a_file_that_does_not_belong_is_said(found, said, tmp_path):
    save_file({name: np.ones(shape, np.float32) for name, shape in found.items()}, tmp_path / "lora.safetensors")
    with pytest.raises(UserError) as raised:
        interop.load(tmp_path / "lora.safetensors", NETWORKS)
    assert said in str(raised.value)


def test_what_cannot_be_written_is_said(tmp_path):
    update = {"kernel": {"a": drawn(6, 2), "b": drawn(2, 24)}}
    with pytest.raises(ValueError, match="form must be one of diffusers, peft, kohya, got 'ours'"):
        interop.save(tmp_path, {"unet": {"attend": update}}, NETWORKS, "ours")
    with pytest.raises(ValueError, match="unet has no tensor for nowhere/kernel"):
        interop.save(tmp_path, {"unet": {"nowhere": update}}, NETWORKS)
    with pytest.raises(UserError, match=r"pytorch_lora_weights.safetensors: cannot be read"):
        interop.load(tmp_path, NETWORKS)
