"""``jaxgen convert``: every way round, and one clear line where there is no way."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxgen.app.cli import main
from jaxgen.interop import clip_text, diffusers, forms, monai_autoencoder, monai_unet, torch_files, tree_files

UNET = {
    "_class_name": "UNet2DModel",
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
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
KL = {
    "_class_name": "AutoencoderKL",
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8],
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "latent_channels": 2,
    "norm_num_groups": 4,
}
TEXT = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "vocab_size": 9,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 4,
}
MONAI_UNET = {
    "_target_": "monai.networks.nets.DiffusionModelUNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 1,
    "channels": [4, 8],
    "num_res_blocks": 1,
    "attention_levels": [False, True],
    "norm_num_groups": 2,
    "num_head_channels": 4,
}
MONAI_VQVAE = {
    "_target_": "VQVAE",
    "spatial_dims": 2,
    "channels": [4],
    "num_res_layers": 1,
    "num_res_channels": 4,
    "downsample_parameters": [2, 4, 1, 1],
    "upsample_parameters": [2, 4, 1, 1, 0],
    "num_embeddings": 8,
    "embedding_dim": 2,
}
FOLDERS = {"unet": UNET, "dit": DIT, "autoencoder": KL, "text encoder": TEXT}


@pytest.fixture
def command(capsys):
    """Run ``jaxgen convert``; gives its exit code, standard output and standard error."""

    def run(*argv):
        code = main(["convert", *map(str, argv)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def random_params(config):
    return _random_params(json.dumps(config))


@functools.cache
def _random_params(text):
    config = json.loads(text)
    rng = np.random.default_rng(0)
    shapes = forms.form_of(config, "config").shapes(config, None)
    return jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape), jnp.float32), shapes)


def write(folder, config):
    """A model's folder, and its tensors by name."""
    (clip_text if config is TEXT else diffusers).save(folder, random_params(config), config)
    return load_file(next(folder.glob("*.safetensors")))


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("unet", ".safetensors"), ("dit", ".npz"), ("autoencoder", ".safetensors"), ("text encoder", ".npz")],
)
def test_a_folder_to_our_file_and_back(kind, suffix, command, tmp_path):
    config, ours = FOLDERS[kind], tmp_path / f"net{suffix}"
    theirs = write(tmp_path / "theirs", config)
    code, out, err = command(tmp_path / "theirs", ours)
    assert code == 0, err
    tree = tree_files.read(ours)
    count = sum(leaf.size for leaf in jax.tree.leaves(tree.params))
    assert f"{count:,} parameters" in out
    assert str(ours) in out
    assert command(ours, tmp_path / "back")[0] == 0
    same(load_file(next((tmp_path / "back").glob("*.safetensors"))), theirs)
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == json.loads(
        (tmp_path / "theirs" / "config.json").read_text()
    )


@pytest.mark.parametrize("config", [MONAI_UNET, MONAI_VQVAE], ids=["unet", "vqvae"])
def test_weights_of_monai_to_our_file_and_back(config, command, tmp_path):
    library = monai_unet if config is MONAI_UNET else monai_autoencoder
    params = random_params(config)
    library.save(tmp_path / "net.pt", params, config)
    (tmp_path / "arguments.json").write_text(json.dumps(config))
    code, _, err = command(tmp_path / "net.pt", tmp_path / "net.npz", "--config", tmp_path / "arguments.json")
    assert code == 0, err
    same(flat(tree_files.read(tmp_path / "net.npz").params), flat(params))
    assert command(tmp_path / "net.npz", tmp_path / "back.pt")[0] == 0
    assert json.loads((tmp_path / "back.json").read_text()) == config
    same(flat(library.load(tmp_path / "back.pt", config).params), flat(params))


def test_the_networks_of_a_bundle(command, tmp_path):
    """Its two networks, each in a file that MONAI loads again."""
    kl = {
        "_target_": "AutoencoderKL",
        "spatial_dims": 2,
        "channels": [4],
        "latent_channels": 2,
        "num_res_blocks": 1,
        "norm_num_groups": 2,
        "attention_levels": [False],
        "with_encoder_nonlocal_attn": False,
        "with_decoder_nonlocal_attn": False,
    }
    unet = MONAI_UNET | {"spatial_dims": 2, "in_channels": 2, "out_channels": 2}
    said = {"scheduler": {"_target_": "DDIMScheduler"}, "scale_factor": 1.0, "latent_shape": [2, 4, 4]}
    bundle = tmp_path / "bundle"
    for name in ("configs", "models"):
        (bundle / name).mkdir(parents=True)
    for name, config, library in (("autoencoder", kl, monai_autoencoder), ("unet", unet, monai_unet)):
        library.save(bundle / f"models/{name}.pt", random_params(config), config)
        load = f"$@{name}_def.load_state_dict(torch.load(@bundle_root + '/models/{name}.pt'))"
        said |= {f"{name}_def": config, f"load_{name}": load, "bundle_root": "."}
    (bundle / "configs" / "inference.json").write_text(json.dumps(said))
    assert "give --part with one of autoencoder, unet" in command(bundle, tmp_path / "net.npz")[2]
    for name, config, library in (("autoencoder", kl, monai_autoencoder), ("unet", unet, monai_unet)):
        code, _, err = command(bundle, tmp_path / f"{name}.pt", "--part", name)
        assert code == 0, err
        arguments = json.loads((tmp_path / f"{name}.json").read_text())
        same(flat(library.load(tmp_path / f"{name}.pt", arguments).params), flat(random_params(config)))


def flat(params):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(params)}


def test_a_part_of_a_pipeline(command, tmp_path):
    pipeline = tmp_path / "pipeline"
    write(pipeline / "unet", UNET)
    theirs = write(pipeline / "text_encoder", TEXT)
    (pipeline / "model_index.json").write_text("{}")
    code, _, err = command(pipeline, tmp_path / "net.npz")
    assert code == 2
    assert "is a pipeline of several networks; give --part with one of text_encoder, unet" in err
    assert command(pipeline, tmp_path / "net.npz", "--part", "vae")[2].count("has no part 'vae'") == 1
    assert command(pipeline, tmp_path / "copy", "--part", "text_encoder")[0] == 0
    same(load_file(next((tmp_path / "copy").glob("*.safetensors"))), theirs)


def test_what_is_there_is_not_replaced_unasked(command, tmp_path):
    write(tmp_path / "theirs", TEXT)
    assert command(tmp_path / "theirs", tmp_path / "net.npz")[0] == 0
    for out in ("net.npz", "theirs"):
        code, _, err = command(tmp_path / "theirs", tmp_path / out)
        assert code == 2
        assert "is there already; give another name, or --overwrite" in err
    assert command(tmp_path / "theirs", tmp_path / "net.npz", "--overwrite")[0] == 0


def test_help(command):
    code, out, _ = command("--help")
    assert code == 0
    for word in ("--part", "--config", "--overwrite", "diffusers", "MONAI", "examples:"):
        assert word in out


def test_what_cannot_be_converted(command, tmp_path, toy_run):
    write(tmp_path / "unet", UNET)
    torch_files.write(tmp_path / "net.pt", {"a": np.zeros(2)})
    np.savez(tmp_path / "images.npz", images=np.zeros(2))
    (tmp_path / "unet.json").write_text(json.dumps(UNET))
    (tmp_path / "empty").mkdir()
    tree_files.write(tmp_path / "monai.npz", random_params(MONAI_UNET), MONAI_UNET)
    tree_files.write(tmp_path / "mixed.npz", random_params(UNET), DIT)
    tree_files.write(tmp_path / "other.npz", random_params(UNET), UNET | {"layers_per_block": 2})
    (tmp_path / "full").mkdir()
    for argv, message in [
        (["nothing", "out"], "nothing: no such file or folder"),
        (["empty", "out"], "config.json: no such file; give a model's folder"),
        (["net.pt", "out.npz"], "net.pt: weights alone say nothing of their network; for MONAI's give --config"),
        (["net.pt", "out.npz", "--config", "unet.json"], "is a configuration of diffusers, whose networks are folders"),
        (["net.pt", "out.npz", "--config", "nothing.json"], "nothing.json: no such file"),
        (["images.npz", "out"], "images.npz: was not written by jaxgen convert"),
        (["unet", "out.pt"], "out.pt: .pt is for networks of MONAI, and this is one of diffusers"),
        (["unet", "out.bin"], "files in .bin are not written"),
        (["unet", "out.npz", "--part", "vae"], "--part is for pipelines, bundles and runs"),
        (["unet", "out.npz", "--config", "unet.json"], "--config is for a file of weights alone"),
        (["monai.npz", "out"], "out: a network of MONAI is a file of weights; give a name that ends in .pt"),
        (["monai.npz", "out.npz", "--part", "unet"], "--part is for pipelines"),
        (["mixed.npz", "out"], "mixed.npz: parameter"),
        (["other.npz", "out"], "are the two of one network?"),
        ([toy_run, "out"], "stage 'logistic' is no U-Net of diffusion on images"),
        ([toy_run, "out", "--part", "net"], "has no part 'net'; give --part with one of constant, logistic"),
        (["unet", ""], "OUT needs a value"),
    ]:
        paths = [tmp_path / word if word and not str(word).startswith("--") else word for word in argv[:2]]
        options = [tmp_path / word if str(word).endswith(".json") else word for word in argv[2:]]
        code, _, err = command(*paths, *options)
        assert code == 2, (argv, err)
        assert message in err, argv
        assert err.count("\n") == 1
        assert "Traceback" not in err
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_to_a_pipeline(command, tmp_path):
    """A run that was just trained becomes a pipeline's folder, and its network the same as in the run."""
    images = tmp_path / "images.npz"
    np.savez(images, images=np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8))
    words = "run ddpm --preset smoke --size 8 --channels 128 --attention 0 --head-width 64 --patch 1 --steps 2"
    run = tmp_path / "run"
    assert main([*words.split(), "--data", str(images), "--workdir", str(run)]) == 0
    code, out, err = command(run, tmp_path / "pipeline")
    assert code == 0, err
    assert "UNet2DModel" in out
    assert json.loads((tmp_path / "pipeline" / "model_index.json").read_text())["_class_name"] == "DDPMPipeline"
    net, params, config = diffusers.load(tmp_path / "pipeline" / "unet")
    assert config["norm_num_groups"] == 32
    assert command(run, tmp_path / "net.npz")[0] == 0
    same(flat(tree_files.read(tmp_path / "net.npz").params), flat(params))
    assert jax.eval_shape(net.apply, params, jnp.zeros((1, 8, 8, 1)), jnp.zeros(1)).shape == (1, 8, 8, 1)
    shutil.rmtree(tmp_path / "pipeline")
