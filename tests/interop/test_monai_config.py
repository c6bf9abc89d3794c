"""Configurations of MONAI bundles: references, arithmetic, code that is never run, and what they describe."""

import json
from pathlib import Path

import pytest

from jaxgen.errors import UserError
from jaxgen.interop import monai_definitions as definitions
from jaxgen.interop.monai_config import Config, read

KL, UNET = "monai.networks.nets.AutoencoderKL", "monai.networks.nets.diffusion_model_unet.DiffusionModelUNet"


def config(**entries):
    return Config(entries, Path("configs/inference.json"))


# In the manner of the three generation bundles of the model zoo.
BRAIN = {
    "bundle_root": "bundle",
    "model_dir": "$@bundle_root + '/models'",
    "load_old": 1,
    "age": 0.1,
    "brain_vol": 0.4,
    "conditioning": "$torch.tensor([[@age, @brain_vol]]).to(@device).unsqueeze(1)",
    "autoencoder_def": {"_target_": KL, "spatial_dims": 3, "channels": [8, 8]},
    "network_def": "@autoencoder_def",
    "autoencoder_path": "$@model_dir + '/autoencoder.pt'",
    "load_function": "$@autoencoder_def.load_old_state_dict if bool(@load_old) else @autoencoder_def.load_state_dict",
    "load_autoencoder": "$@load_function(torch.load(@autoencoder_path))",
    "diffusion_def": {"_target_": UNET, "channels": [8]},
    "load_diffusion": "$@diffusion_def.load_state_dict(torch.load(@model_dir + '/model.pt'))",
    "noise": "$torch.randn((1, 3, 20, 28, 20)).to(@device)",
    "scheduler": {
        "_target_": "monai.networks.schedulers.DDIMScheduler",
        "_requires_": ["@load_diffusion"],
        "clip_sample": False,
    },
    "set_timesteps": "$@scheduler.set_timesteps(num_inference_steps=50)",
}
MAISI = {
    "bundle_root": ".",
    "output_size": [64, 64, "$int(16 * 2)"],
    "latent_channels": 4,
    "latent_shape": ["@latent_channels", "$@output_size[0]//4", "$@output_size[1]//4", "$@output_size#2//4"],
    "mask_generation_latent_shape": [4, 8, 8, 8],
    "num_inference_steps": 30,
    "mask_generation_num_inference_steps": 1000,
    "path": "$@bundle_root + '/models/unet.pt'",
    "diffusion_unet_def": {"_target_": UNET, "in_channels": "@latent_channels"},
    "mask_generation_diffusion_def": {"_target_": UNET, "in_channels": 1},
    "diffusion_unet": "$@diffusion_unet_def.to(@device)",
    "checkpoint": "$torch.load(@path, weights_only=False)",
    "load_diffusion": "$@diffusion_unet.load_state_dict(@checkpoint['unet_state_dict'])",
    "scale_factor": "$@checkpoint['scale_factor'].to(@device)",
}


def test_references_and_arithmetic_are_followed():
    found = config(
        a={"b": [1, {"c": "text"}]},
        same="@a#b#1::c",
        part="@a::b",
        half="$@a::b::0 / 2 + 3 % 2",
        path="$@same + '.pt'",
        nested=["$len(@a::b)", {"x": "$-round(2.6)"}],
        shape="$[1] + [@a#b#0 * 4, max(2, 3)]",
        mail="a@b.org",
    )
    assert found.value("same") == "text"
    assert found.value("part") == [1, {"c": "text"}]
    assert found.value("half") == 1.5
    assert found.value("path") == "text.pt"
    assert found.value("nested") == [2, {"x": -3}]
    assert found.value("shape") == [1, 4, 3]
    assert found.value("mail") == "a@b.org"


def test_macros_lead_to_other_files_of_the_folder(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"net": "%b.json#parts#0", "size": 8, "all": "%configs/b.json"}))
    (tmp_path / "b.json").write_text(json.dumps({"parts": [{"channels": [4, "@size"]}]}))
    found = read(tmp_path, ["a.json"])
    assert found.value("net") == {"channels": [4, 8]}
    assert found.value("all::parts#0#channels::0") == 4


@pytest.mark.parametrize(
    "expression",
    [
        "$__import__('os').system('touch ran')",
        "$torch.randn(3)",
        "$open('ran', 'w')",
        "$(lambda: 1)()",
        "$[x for x in range(10)]",
        "$'a' * 1000000000",
        "$10 ** 10 ** 10",
        "$99999999999 * 99999999999 * 9",
        "$().__class__",
        "$" + "(" * 500,
        "$" + "1+" * 3000 + "1",
        "$int",
        "$1; 2",
        "$1 / 0",
        "$[1][5]",
    ],
)
def test_code_is_never_run(expression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"inference.json: entry is not resolved, since .* is code, which is never run"):
        config(entry=expression, other=1).value("entry")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"x": "@y"}, "has no entry 'y'; add it"),
        ({"x": "@y", "y": ["@x"]}, "x refers to itself; write its value"),
        ({"x": "$@x + 1"}, "x refers to itself"),
        ({"x": "%x"}, "the macro '%x' leads to itself"),
        ({"x": "%missing.json::y"}, "missing.json: cannot be read"),
        ({"x": "%../secret.json"}, "names '../secret.json', which is no plain name"),
    ],
)
def test_references_that_lead_nowhere_are_said(entries, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        config(**entries).value("x")


def test_files_that_are_no_configuration_are_said(tmp_path):
    with pytest.raises(UserError, match=r"inference.json: cannot be read .*; give the folder of a MONAI bundle"):
        read(tmp_path, ["inference.json"])
    (tmp_path / "inference.json").write_text("{")
    with pytest.raises(UserError, match=r"inference.json: is no JSON"):
        read(tmp_path, ["inference.json"])
    (tmp_path / "inference.json").write_text("[1]")
    with pytest.raises(UserError, match="holds no JSON object"):
        read(tmp_path, ["inference.json"])


def test_later_files_and_overrides_replace_entries(tmp_path):
    (tmp_path / "a.json").write_text('{"lr": 1, "net": {"size": 2}, "only": "a"}')
    (tmp_path / "b.json").write_text('{"lr": 3}')
    found = read(tmp_path, ["a.json", "b.json"], {"net::size": 5})
    assert (found.value("lr"), found.value("net"), found.value("only")) == (3, {"size": 5}, "a")
    with pytest.raises(UserError, match="no place for the override 'lr::x'"):
        read(tmp_path, ["a.json"], {"lr::x": 1})


def test_metadata_is_an_entry(tmp_path):
    (tmp_path / "metadata.json").write_text('{"version": "1.0.0", "size": 4}')
    (tmp_path / "a.json").write_text('{"x": "$@_meta_::size * 2", "_target_": "y"}')
    assert read(tmp_path, ["a.json"]).value("x") == 8


def test_a_brain_bundle_is_understood():
    brain = config(**BRAIN)
    (autoencoder,) = definitions.definitions(brain, definitions.AUTOENCODERS)
    (unet,) = definitions.definitions(brain, definitions.UNETS)
    assert (autoencoder.kind, autoencoder.options) == ("AutoencoderKL", {"spatial_dims": 3, "channels": [8, 8]})
    assert autoencoder.source == definitions.Source("bundle/models/autoencoder.pt", None)
    assert unet.source == definitions.Source("bundle/models/model.pt", None)
    assert definitions.definitions(brain, definitions.SCHEDULERS)[0].options == {"clip_sample": False}
    assert definitions.latent_shape(brain) == (3, 20, 28, 20)
    assert definitions.steps(brain) == 50
    assert definitions.covariates(brain) == {"age": 0.1, "brain_vol": 0.4}
    assert definitions.scale_factor(brain) == 1.0


def test_a_bundle_of_several_models_is_understood():
    maisi = config(**MAISI)
    unet, masks = definitions.definitions(maisi, definitions.UNETS)
    assert (unet.options, masks.options) == ({"in_channels": 4}, {"in_channels": 1})
    assert unet.source == definitions.Source("./models/unet.pt", "unet_state_dict")
    assert masks.source is None
    assert definitions.definitions(maisi, definitions.UNETS, "mask_generation_") == [masks]
    assert definitions.latent_shape(maisi) == (4, 16, 16, 8)
    assert definitions.latent_shape(maisi, "mask_generation_") == (4, 8, 8, 8)
    assert (definitions.steps(maisi), definitions.steps(maisi, "mask_generation_")) == (30, 1000)
    assert definitions.scale_factor(maisi) == definitions.Source("./models/unet.pt", "scale_factor")
    assert definitions.covariates(maisi) == {}


def test_a_scale_factor_must_be_a_number_or_in_a_file():
    assert definitions.scale_factor(config(inferer={"scale_factor": 0.3})) == 0.3
    with pytest.raises(UserError, match=r"scale_factor is not resolved, since .*compute"):
        definitions.scale_factor(config(scale_factor="$scripts.compute(@autoencoder)"))
    with pytest.raises(UserError, match=r"scale_factor is -1; it must be a number above 0"):
        definitions.scale_factor(config(scale_factor=-1))


def test_files_of_a_configuration_lie_in_its_folder():
    folder = Path("brain")
    assert definitions.inside_folder(folder, "/work/bundle/models/a.pt", "/work/bundle") == folder / "models/a.pt"
    for path in ("/etc/passwd", "models/../../a.pt"):
        with pytest.raises(UserError, match="is not in this folder; put the file there"):
            definitions.inside_folder(folder, path, ".")
