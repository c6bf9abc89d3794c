"""LoRA files of diffusers, peft and kohya, merged here and fused there: the same weights."""

import copy

import numpy as np
import pytest

from jaxgen.families.lora import merge
from jaxgen.interop import clip_text, tensors
from jaxgen.interop import diffusers as interop
from jaxgen.interop import lora as files

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
utils = pytest.importorskip("diffusers.utils")
safetensors_torch = pytest.importorskip("safetensors.torch")
from tests.peers import tiny_pipeline  # noqa: E402

pytestmark = pytest.mark.peers
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
EVERYTHING = [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "time_emb_proj", "conv"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
WHOLE = "pytorch_lora_weights.safetensors"


@pytest.fixture(autouse=True)
def _peft_of_now(monkeypatch):
    """transformers asks for a peft that is not published yet; what is used of it here is in that of now."""
    monkeypatch.setattr("transformers.integrations.peft.MIN_PEFT_VERSION", "0.17.0")


@pytest.fixture(params=[1, 2], ids=["version 1", "version 2"])
def pipe(request, tmp_path):
    return tiny_pipeline.pipeline(tmp_path, request.param)


@pytest.fixture
def networks(pipe, tmp_path):
    pipe.unet.save_pretrained(tmp_path / "unet")
    pipe.text_encoder.save_pretrained(tmp_path / "text")
    unet, text = interop.load(tmp_path / "unet"), clip_text.load(tmp_path / "text")
    return {
        "unet": files.Adapted(interop.entries(unet.config, unet.params), unet.params),
        "text_encoder": files.Adapted(clip_text.entries(text.config), text.params),
    }


def adapt(model, targets, rank, alpha, seed):
    """Random updates of a model of theirs: their settings, and a state dict with peft's names."""
    model = copy.deepcopy(model)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, init_lora_weights="gaussian")
    model.add_adapter(config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.copy_(0.3 * torch.randn(p.shape))
    settings = model.peft_config["default"].to_dict()
    settings["target_modules"] = list(settings["target_modules"])
    return settings, peft.utils.get_peft_model_state_dict(model)


def fused(pipe, file, scale):
    """Their weights by network, after their own reading and fusing."""
    pipe.load_lora_weights(file.parent, weight_name=file.name)
    pipe.fuse_lora(lora_scale=scale)
    pipe.unload_lora_weights()
    found = {}
    for name in ("unet", "text_encoder"):
        state = getattr(pipe, name).state_dict()
        found[name] = {key.replace("base_layer.", ""): x.numpy() for key, x in state.items()}
    return found


def check(pipe, networks, file, scale=0.7):
    lora = files.load(file, networks)
    theirs = fused(pipe, file, scale)
    changed = 0
    for name, network in networks.items():
        ours = tensors.from_params(network.entries, merge(network.params, lora.get(name, {}), scale))
        before = tensors.from_params(network.entries, network.params)
        for tensor, x in ours.items():
            want = theirs[name].get(tensor, theirs[name].get(tensor.removeprefix("text_model.")))
            np.testing.assert_allclose(x, want, atol=2e-6, err_msg=tensor)
            changed += np.abs(x - before[tensor]).max() > 1e-3
    return changed


@pytest.mark.parametrize("targets", [ATTENTION, EVERYTHING], ids=["attention", "every layer"])
def test_a_file_that_diffusers_writes(pipe, networks, targets, tmp_path):
    _, unet = adapt(pipe.unet, targets, 3, 3, seed=1)
    _, text = adapt(pipe.text_encoder, TEXT, 2, 2, seed=2)
    if targets == ATTENTION:  # of other layers it has no names of its own, and a file with both is not read whole there
        unet, text = (utils.convert_state_dict_to_diffusers(state) for state in (unet, text))
    pipe.save_lora_weights(tmp_path, unet_lora_layers=unet, text_encoder_lora_layers=text)
    assert check(pipe, networks, tmp_path / WHOLE) >= len(targets) + 12


def test_peft_s_names_and_a_scale_in_the_header(pipe, networks, tmp_path):
    header, state = adapt(pipe.unet, ["to_k", "to_v"], 2, 6, seed=3)
    pipe.save_lora_weights(tmp_path, unet_lora_layers=state, unet_lora_adapter_metadata=header)
    assert check(pipe, networks, tmp_path / WHOLE) >= 4


def test_a_file_of_kohya_s_scripts(pipe, networks, tmp_path):
    found = {}
    for name, prefix, model, targets in (
        ("unet", "lora_unet_", pipe.unet, [*ATTENTION, "proj_in", "ff.net.0.proj"]),
        ("text", "lora_te_text_model_", pipe.text_encoder, TEXT),
    ):
        for key, x in adapt(model, targets, 2, 2, seed=4)[1].items():
            layer, _, half = key.removesuffix(".weight").rpartition(".lora_")
            stem = prefix + layer.removeprefix("text_model.").replace(".", "_")
            found[f"{stem}.lora_{'down' if half == 'A' else 'up'}.weight"] = x.contiguous()
            found[f"{stem}.alpha"] = torch.tensor(1.0 if name == "unet" else 4.0)
    safetensors_torch.save_file(found, tmp_path / "kohya.safetensors")
    assert check(pipe, networks, tmp_path / "kohya.safetensors") >= 12


@pytest.mark.parametrize("form", ["diffusers", "peft", "kohya"])
def test_ours_is_read_there(pipe, networks, form, tmp_path):
    """Updates as they are trained here: one matrix for query, key and value."""
    import jax

    from jaxgen.families.lora import init_lora

    lora = {}
    for i, (name, network) in enumerate(networks.items()):
        lora[name] = init_lora(jax.random.key(i), network.params, 2, r"(Attention_\d|blocks).*/kernel")
        lora[name] = jax.tree.map(lambda x: 0.3 * np.random.default_rng(x.size).standard_normal(x.shape), lora[name])
    files.save(tmp_path / "ours.safetensors", lora, networks, form)
    assert check(pipe, networks, tmp_path / "ours.safetensors") >= 12
