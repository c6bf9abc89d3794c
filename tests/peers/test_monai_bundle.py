"""Bundle folders written with MONAI, sampled in both from the same noise; schedulers compared step by step."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import samplers
from jaxgen.interop.monai_bundle import Conditions, load_bundle
from jaxgen.interop.monai_schedulers import from_monai

torch = pytest.importorskip("torch")
pytest.importorskip("monai")
pytestmark = pytest.mark.peers

KL = {
    "_target_": "monai.networks.nets.AutoencoderKL",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 3,
    "channels": [8, 8],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "attention_levels": [False, False],
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
}
UNET = {
    "_target_": "monai.networks.nets.DiffusionModelUNet",
    "spatial_dims": 3,
    "in_channels": 7,
    "out_channels": 3,
    "channels": [8, 16],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "attention_levels": [False, True],
    "num_head_channels": [0, 16],
    "resblock_updown": True,
    "with_conditioning": True,
    "cross_attention_dim": 4,
}
DDIM = {
    "_target_": "monai.networks.schedulers.DDIMScheduler",
    "num_train_timesteps": 1000,
    "schedule": "scaled_linear_beta",
    "beta_start": 0.0015,
    "beta_end": 0.0205,
    "clip_sample": False,
}
RFLOW = {
    "_target_": "monai.networks.schedulers.rectified_flow.RFlowScheduler",
    "use_discrete_timesteps": False,
    "use_timestep_transform": True,
    "sample_method": "logit-normal",
    "scale": 1.4,
}
INFERENCE = {
    "imports": ["$import torch"],
    "bundle_root": ".",
    "model_dir": "$@bundle_root + '/models'",
    "device": "$torch.device('cpu')",
    "sex": 0.0,
    "age": 0.1,
    "ventricles": 0.2,
    "brain": 0.4,
    "conditioning": "$torch.tensor([[@sex, @age, @ventricles, @brain]]).to(@device).unsqueeze(1)",
    "autoencoder_def": KL,
    "load_autoencoder": "$@autoencoder_def.load_state_dict(torch.load(@model_dir + '/autoencoder.pt'))",
    "diffusion_def": UNET,
    "checkpoint": "$torch.load(@model_dir + '/model.pt')",
    "load_diffusion": "$@diffusion_def.load_state_dict(@checkpoint['unet_state_dict'])",
    "scale_factor": "$@checkpoint['scale_factor'].to(@device)",
    "scheduler": DDIM,
    "noise": "$torch.randn((1, 3, 4, 6, 4)).to(@device)",
    "set_timesteps": "$@scheduler.set_timesteps(num_inference_steps=20)",
}
SCALE = 0.7


def with_weights(module, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(0.7 * noise / np.sqrt(parameter[0].numel()))
            else:
                parameter.copy_(0.1 * noise + float(name.endswith("weight")))
    return module.eval()


def made(definition, seed):
    import monai.networks.nets as nets

    options = {name: value for name, value in definition.items() if name != "_target_"}
    return with_weights(getattr(nets, definition["_target_"].rpartition(".")[2])(**options), seed)


def write(folder, networks, config):
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    torch.save(networks["autoencoder"].state_dict(), folder / "models" / "autoencoder.pt")
    checkpoint = {
        "unet_state_dict": networks["unet"].state_dict(),
        "scale_factor": torch.tensor(SCALE),
        "epoch": 3,
        "loss": 0.1,
    }
    torch.save(checkpoint, folder / "models" / "model.pt")


def to_torch(x):
    return torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy())


def from_torch(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


@pytest.fixture(scope="module")
def networks():
    return {"autoencoder": made(KL, 0), "unet": made(UNET, 1)}


def scheduler_of(config, steps, positions):
    from monai.networks import schedulers

    kind = config["_target_"].rpartition(".")[2]
    found = getattr(schedulers, kind)(**{name: value for name, value in config.items() if name != "_target_"})
    more = {"input_img_size_numel": positions} if kind == "RFlowScheduler" else {}
    found.set_timesteps(steps, **more)
    return found


@torch.no_grad()
def sampled_there(networks, scheduler, noise, covariates):
    """As the brain bundle's own script: the covariates as channels and as one token."""
    z, given = to_torch(noise), torch.from_numpy(np.asarray(covariates))
    channels = given[:, :, None, None, None].expand(-1, -1, *z.shape[2:])
    ends = [*scheduler.timesteps[1:], torch.tensor(0)]
    for t, end in zip(scheduler.timesteps, ends, strict=True):
        told = torch.full((len(z),), float(t))
        answer = networks["unet"](torch.cat([z, channels], 1), told, context=given[:, None])
        more = (end,) if type(scheduler).__name__ == "RFlowScheduler" else ()
        z = scheduler.step(answer, t, z, *more)[0]
    return from_torch(networks["autoencoder"].decode_stage_2_outputs(z / SCALE))


@pytest.mark.parametrize("scheduler", [DDIM, RFLOW], ids=["ddim", "rectified flow"])
def test_a_bundle_is_sampled_alike(networks, scheduler, tmp_path):
    write(tmp_path, networks, INFERENCE | {"scheduler": scheduler})
    bundle = load_bundle(tmp_path)
    assert bundle.shape == (4, 6, 4, 3)
    assert bundle.scale == pytest.approx(SCALE)
    assert bundle.covariates == {"sex": 0.0, "age": 0.1, "ventricles": 0.2, "brain": 0.4}
    assert len(bundle.scheduler.grid) == 21
    noise = np.random.default_rng(0).standard_normal((2, 4, 6, 4, 3)).astype(np.float32)
    covariates = np.array([[0.0, 0.1, 0.2, 0.4], [1.0, 0.8, 0.9, 0.3]], np.float32)
    theirs = sampled_there(networks, scheduler_of(scheduler, 20, 96), noise, covariates)
    ours = jax.jit(bundle.from_noise)(bundle.params, jax.random.key(0), noise, Conditions(covariates))
    assert theirs.shape == ours.shape == (2, 8, 12, 8, 1)
    assert np.abs(theirs[0] - theirs[1]).max() > 0.1
    assert np.abs(np.asarray(ours) - theirs).max() < 1e-3 * max(1.0, np.abs(theirs).max())


def test_codes_of_a_bundle(networks, tmp_path):
    write(tmp_path, networks, INFERENCE)
    bundle = load_bundle(tmp_path)
    x = np.random.default_rng(0).standard_normal((1, 8, 12, 8, 1)).astype(np.float32)
    with torch.no_grad():
        mean, _ = networks["autoencoder"].encode(to_torch(x))
        back = networks["autoencoder"].decode(mean)
    z = bundle.encode(bundle.params, x)
    np.testing.assert_allclose(z, SCALE * from_torch(mean), atol=1e-4)
    np.testing.assert_allclose(bundle.decode(bundle.params, z), from_torch(back), atol=1e-4)


def test_codes_of_a_bundle_with_a_codebook(networks, tmp_path):
    """A code is replaced by the nearest entries where it is decoded, not where images are encoded."""
    vq = {"_target_": "monai.networks.nets.VQVAE", "spatial_dims": 3, "in_channels": 1, "out_channels": 1}
    vq |= {"channels": [4], "num_res_layers": 1, "num_res_channels": 4, "num_embeddings": 8, "embedding_dim": 3}
    vq |= {"downsample_parameters": [2, 4, 1, 1], "upsample_parameters": [2, 4, 1, 1, 0]}
    module = made(vq, 2)
    write(tmp_path, {**networks, "autoencoder": module}, INFERENCE | {"autoencoder_def": vq})
    bundle = load_bundle(tmp_path)
    x = np.random.default_rng(0).standard_normal((1, 4, 6, 4, 1)).astype(np.float32)
    with torch.no_grad():
        encoded = module.encode_stage_2_inputs(to_torch(x))
        back = module.decode_stage_2_outputs(encoded)
    z = bundle.encode(bundle.params, x)
    np.testing.assert_allclose(z, SCALE * from_torch(encoded), atol=1e-4)
    np.testing.assert_allclose(bundle.decode(bundle.params, z), from_torch(back), atol=1e-4)


def linear(x, t):
    """A network whose answer depends on the number it is told."""
    return 0.3 * x + 0.1 * np.cos(1.0) * (1 + t / 1000)


SCHEDULERS = {
    "ddim, v, 7 steps": ({**DDIM, "prediction_type": "v_prediction"}, 7),
    "ddim, x0, cosine": ({**DDIM, "prediction_type": "sample", "schedule": "cosine", "beta_start": None}, 30),
    "ddim, ends at the first entry": ({**DDIM, "set_alpha_to_one": False, "steps_offset": 1}, 30),
    "ddim, short table": ({**DDIM, "num_train_timesteps": 10, "schedule": "linear_beta"}, 4),
    "flow, whole times": ({"_target_": "RFlowScheduler"}, 10),
    "flow, larger images": ({**RFLOW, "base_img_size_numel": 4096, "spatial_dim": 2}, 30),
}


@pytest.mark.parametrize(("config", "steps"), SCHEDULERS.values(), ids=SCHEDULERS.keys())
def test_schedulers(config, steps):
    config = {name: value for name, value in config.items() if value is not None}
    if config.get("schedule") == "cosine":
        del config["beta_end"]
    theirs, ours = scheduler_of(config, steps, 8192), from_monai(config, steps, positions=8192)
    numbers = theirs.timesteps.numpy().astype(float)
    np.testing.assert_allclose(ours.number(ours.grid[:-1]), numbers, atol=1e-3)
    x = np.random.default_rng(0).standard_normal((1, 5)).astype(np.float32)
    state = torch.from_numpy(x)
    for t, end in zip(theirs.timesteps, [*theirs.timesteps[1:], torch.tensor(0)], strict=True):
        more = (end,) if type(theirs).__name__ == "RFlowScheduler" else ()
        state = theirs.step(linear(state, float(t)), t, state, *more)[0]
    found = samplers.sample(ours.step(None), ours.denoiser(linear), jax.random.key(0), jnp.asarray(x), ours.grid)
    np.testing.assert_allclose(found, state.numpy(), atol=1e-3)


def test_ddpm_over_the_whole_table(monkeypatch):
    """Without the noise of the steps, which each draws in its own way, ours are theirs."""
    monkeypatch.setattr(torch, "randn", lambda size, **options: torch.zeros(size))
    config = {**DDIM, "_target_": "DDPMScheduler", "num_train_timesteps": 20}
    theirs, ours = scheduler_of(config, 20, 0), from_monai(config)
    x = np.random.default_rng(0).standard_normal((1, 5)).astype(np.float32)
    state = torch.from_numpy(x)
    for t in theirs.timesteps:
        state = theirs.step(linear(state, float(t)), t, state)[0]
    silent = samplers.ddpm(ours.path, "small", noise=lambda key, shape: jnp.zeros(shape))
    found = samplers.sample(silent, ours.denoiser(linear), jax.random.key(0), jnp.asarray(x), ours.grid)
    np.testing.assert_allclose(found, state.numpy(), atol=1e-4)


MAISI_PLACE = "monai.apps.generation.maisi.networks"
LEVELS = {
    "spatial_dims": "@spatial_dims",
    "in_channels": "@latent_channels",
    "num_channels": [8, 16],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "attention_levels": [False, True],
    "num_head_channels": [0, 8],
    "num_class_embeds": 5,
    "resblock_updown": True,
    "include_fc": True,
}
MASK_KL = {
    "_target_": f"{MAISI_PLACE}.autoencoderkl_maisi.AutoencoderKlMaisi",
    "spatial_dims": "@spatial_dims",
    "in_channels": 2,
    "out_channels": 3,
    "latent_channels": "@latent_channels",
    "num_channels": [4, 8],
    "num_res_blocks": [1, 1],
    "norm_num_groups": 4,
    "attention_levels": [False, False],
    "use_convtranspose": True,
    "num_splits": 1,
}
MAISI = {
    "bundle_root": ".",
    "spatial_dims": 3,
    "latent_channels": 4,
    "output_size": [8, 8, 16],
    "latent_shape": ["@latent_channels", "$@output_size[0]//2", "$@output_size[1]//2", "$@output_size[2]//2"],
    "mask_generation_latent_shape": [4, 4, 4, 4],
    "num_inference_steps": 6,
    "mask_generation_num_inference_steps": 4,
    "autoencoder_def": {**MASK_KL, "in_channels": 1, "out_channels": 1, "use_convtranspose": False},
    "diffusion_unet_def": {
        "_target_": f"{MAISI_PLACE}.diffusion_model_unet_maisi.DiffusionModelUNetMaisi",
        **LEVELS,
        "out_channels": "@latent_channels",
        "include_spacing_input": True,
    },
    "controlnet_def": {
        "_target_": f"{MAISI_PLACE}.controlnet_maisi.ControlNetMaisi",
        **LEVELS,
        "conditioning_embedding_in_channels": 2,
        "conditioning_embedding_num_channels": [4, 8],
        "use_checkpointing": False,
    },
    "mask_generation_autoencoder_def": MASK_KL,
    "mask_generation_diffusion_def": {
        "_target_": "monai.networks.nets.diffusion_model_unet.DiffusionModelUNet",
        "spatial_dims": "@spatial_dims",
        "in_channels": "@latent_channels",
        "out_channels": "@latent_channels",
        "channels": [8],
        "num_res_blocks": 1,
        "norm_num_groups": 4,
        "attention_levels": [True],
        "num_head_channels": [8],
        "with_conditioning": True,
        "cross_attention_dim": 10,
    },
    "autoencoder": "$@autoencoder_def.to(@device)",
    "load_autoencoder": "$@autoencoder.load_state_dict(torch.load('models/autoencoder.pt'))",
    "checkpoint": "$torch.load(@bundle_root + '/models/diffusion.pt', weights_only=False)",
    "load_diffusion": "$@diffusion_unet_def.load_state_dict(@checkpoint['unet_state_dict'])",
    "load_controlnet": "$@controlnet_def.load_state_dict(torch.load('models/control.pt')['controlnet_state_dict'])",
    "scale_factor": "$@checkpoint['scale_factor'].to(@device)",
    "load_mask_autoencoder": "$@mask_generation_autoencoder_def.load_state_dict(torch.load('models/mask_kl.pt'))",
    "load_mask": "$@mask_generation_diffusion_def.load_state_dict(torch.load('models/mask.pt')['unet_state_dict'])",
    "mask_generation_scale_factor": 0.9,
    "noise_scheduler": {**RFLOW, "base_img_size_numel": 64},
    "mask_generation_noise_scheduler": DDIM,
}


def maisi_module(name, seed):
    """One of the networks that the configuration above describes."""
    import importlib

    options = {
        key: {"@spatial_dims": 3, "@latent_channels": 4}.get(value, value) if isinstance(value, str) else value
        for key, value in MAISI[name].items()
    }
    place, _, kind = options.pop("_target_").rpartition(".")
    return with_weights(getattr(importlib.import_module(place), kind)(**options), seed)


@pytest.fixture(scope="module")
def maisi(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maisi")
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(MAISI))
    names = ("autoencoder", "diffusion_unet", "controlnet", "mask_generation_autoencoder", "mask_generation_diffusion")
    modules = {name: maisi_module(f"{name}_def", i) for i, name in enumerate(names)}
    states = {name: module.state_dict() for name, module in modules.items()}
    checkpoint = {"unet_state_dict": states["diffusion_unet"], "scale_factor": torch.tensor(SCALE)}
    for file, content in {
        "autoencoder": states["autoencoder"],
        "diffusion": checkpoint,
        "control": {"controlnet_state_dict": states["controlnet"], "epoch": 2},
        "mask_kl": states["mask_generation_autoencoder"],
        "mask": {"unet_state_dict": states["mask_generation_diffusion"]},
    }.items():
        torch.save(content, folder / "models" / f"{file}.pt")
    return folder, modules


def test_maisi_is_sampled_alike(maisi):
    """A ControlNet with a map, spacing, modality, rectified flow."""
    folder, modules = maisi
    bundle = load_bundle(folder)
    assert bundle.shape == (4, 4, 8, 4)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((1, 4, 4, 8, 4)).astype(np.float32)
    hint = np.eye(2, dtype=np.float32)[rng.integers(0, 2, (1, 8, 8, 16))]
    spacing, modality = np.array([[1.5, 1.5, 2.0]], np.float32), np.array([1])
    z, told = to_torch(noise), {"class_labels": torch.from_numpy(modality)}
    scheduler = scheduler_of(MAISI["noise_scheduler"], 6, 128)
    with torch.no_grad():
        for t, end in zip(scheduler.timesteps, [*scheduler.timesteps[1:], torch.tensor(0)], strict=True):
            now = torch.tensor([float(t)])
            skips, middle = modules["controlnet"](x=z, timesteps=now, controlnet_cond=to_torch(hint), **told)
            answer = modules["diffusion_unet"](
                x=z,
                timesteps=now,
                spacing_tensor=torch.from_numpy(spacing),
                down_block_additional_residuals=skips,
                mid_block_additional_residual=middle,
                **told,
            )
            z = scheduler.step(answer, t, z, end)[0]
        theirs = from_torch(modules["autoencoder"].decode_stage_2_outputs(z / SCALE))
    conditions = Conditions(vector=spacing, label=modality, hint=hint)
    sample = jax.jit(bundle.from_noise)
    ours = np.asarray(sample(bundle.params, jax.random.key(0), noise, conditions))
    assert ours.shape == theirs.shape == (1, 8, 8, 16, 1)
    assert np.abs(ours - theirs).max() < 1e-3 * max(1.0, np.abs(theirs).max())
    other = sample(bundle.params, jax.random.key(0), noise, conditions._replace(hint=1 - hint))
    assert np.abs(ours - other).max() > 0.01


def test_the_masks_of_maisi_are_a_model_of_their_own(maisi):
    folder, modules = maisi
    bundle = load_bundle(folder, part="mask_generation_")
    assert (bundle.shape, bundle.scale, len(bundle.scheduler.grid)) == ((4, 4, 4, 4), 0.9, 5)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((1, 4, 4, 4, 4)).astype(np.float32)
    sizes = rng.uniform(size=(1, 10)).astype(np.float32)
    scheduler, z = scheduler_of(DDIM, 4, 0), to_torch(noise)
    with torch.no_grad():
        for t in scheduler.timesteps:
            answer = modules["mask_generation_diffusion"](
                z, timesteps=torch.tensor([float(t)]), context=torch.from_numpy(sizes)[:, None]
            )
            z = scheduler.step(answer, t, z)[0]
        theirs = from_torch(modules["mask_generation_autoencoder"].decode_stage_2_outputs(z / 0.9))
    ours = jax.jit(bundle.from_noise)(bundle.params, jax.random.key(0), noise, Conditions(covariates=sizes))
    assert ours.shape == theirs.shape == (1, 8, 8, 8, 3)
    assert np.abs(np.asarray(ours) - theirs).max() < 1e-3 * max(1.0, np.abs(theirs).max())
