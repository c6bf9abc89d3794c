"""diffusers' UNet2DModel and DiTTransformer2DModel beside ours on the same weights, both ways through files."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.interop import diffusers as interop
from jaxgen.interop import schedulers
from jaxgen.samplers import sample

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.peers

SMALL = {"sample_size": 16, "in_channels": 3, "out_channels": 3, "layers_per_block": 1, "norm_num_groups": 4}
DOWN, ATTN_DOWN, UP, ATTN_UP = "DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D"
UNETS = {
    # as google/ddpm-cifar10-32 is configured: one head, added time, frequencies up to the end, padding on one side
    "ddpm": SMALL
    | {
        "block_out_channels": (8, 12, 16),
        "down_block_types": (DOWN, ATTN_DOWN, DOWN),
        "up_block_types": (UP, ATTN_UP, UP),
        "attention_head_dim": None,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "layers_per_block": 2,
    },
    "heads, classes": SMALL
    | {
        "block_out_channels": (16, 24),
        "down_block_types": (ATTN_DOWN, ATTN_DOWN),
        "up_block_types": (ATTN_UP, ATTN_UP),
        "attention_head_dim": 8,
        "num_class_embeds": 5,
        "norm_num_groups": 8,
        "in_channels": 1,
        "out_channels": 2,
    },
    "scale and shift, no norm in the middle": SMALL
    | {
        "block_out_channels": (8, 16),
        "down_block_types": (DOWN, ATTN_DOWN),
        "up_block_types": (ATTN_UP, UP),
        "resnet_time_scale_shift": "scale_shift",
        "center_input_sample": True,
    },
    # as the consistency models on ImageNet are configured
    "residual resampling": SMALL
    | {
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("ResnetDownsampleBlock2D", ATTN_DOWN, ATTN_DOWN),
        "up_block_types": (ATTN_UP, ATTN_UP, "ResnetUpsampleBlock2D"),
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "resnet_time_scale_shift": "scale_shift",
        "attn_norm_num_groups": 2,
        "num_class_embeds": 3,
    },
    "no attention": SMALL
    | {
        "block_out_channels": (8, 16),
        "down_block_types": (DOWN, DOWN),
        "up_block_types": (UP, UP),
        "add_attention": False,
        "norm_num_groups": 2,
        "time_embedding_type": "fourier",
    },
}
DIT = {"num_attention_heads": 2, "attention_head_dim": 8, "sample_size": 8, "num_embeds_ada_norm": 5, "num_layers": 2}
DITS = {
    "2 blocks": DIT | {"in_channels": 4, "norm_num_groups": 4},
    "learned variance, 3 blocks, patch 4": DIT
    | {
        "num_layers": 3,
        "num_attention_heads": 3,
        "patch_size": 4,
        "sample_size": 16,
        "in_channels": 3,
        "out_channels": 6,
    },
    "patch 1": DIT | {"patch_size": 1, "in_channels": 2, "num_embeds_ada_norm": 1, "num_layers": 1},
}
CASES = {name: ("UNet2DModel", config) for name, config in UNETS.items()}
CASES |= {f"DiT, {name}": ("DiTTransformer2DModel", config) for name, config in DITS.items()}


def theirs(name, seed=0):
    """A diffusers model with every parameter random: norms, biases and what starts at zero as well."""
    kind, config = CASES[name]
    torch.manual_seed(seed)
    model = getattr(diffusers, kind)(**config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "time_proj" not in key:
                p.add_(0.1 * torch.randn(p.shape))
    return model.eval()


def inputs(config, b=3):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((b, config["sample_size"], config["sample_size"], config["in_channels"])).astype(np.float32)
    fourier = config.get("time_embedding_type") == "fourier"
    t = np.array([0.02, 1.5, 40.0], np.float32) if fourier else np.array([0, 417, 999])
    classes = config.get("num_class_embeds") or config.get("num_embeds_ada_norm")
    return x, t[:b], np.array([0, classes - 1, classes // 2])[:b] if classes else None


def run_theirs(model, x, t, label):
    label = None if label is None else torch.from_numpy(label)
    with torch.no_grad():
        out = model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), torch.from_numpy(t), class_labels=label).sample
    return out.numpy().transpose(0, 2, 3, 1)


def run_ours(net, params, x, t, label):
    label = None if label is None else jnp.asarray(label)
    return np.asarray(jax.jit(net.apply)(params, jnp.asarray(x), jnp.asarray(t), label=label))


def relative(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("name", CASES)
def test_their_weights_here(name, tmp_path):
    model = theirs(name)
    model.save_pretrained(tmp_path)
    net, params, config = interop.load(tmp_path)
    assert config["_class_name"] == CASES[name][0]
    assert sum(x.size for x in jax.tree.leaves(params)) <= sum(p.numel() for p in model.parameters())
    given = inputs(model.config)
    expected = run_theirs(model, *given)
    assert np.abs(expected).max() > 1e-2
    assert relative(run_ours(net, params, *given), expected) < 2e-5


@pytest.mark.parametrize("name", CASES)
def test_our_weights_there(name, tmp_path):
    kind, options = CASES[name]
    config = {"_class_name": kind, **json.loads(json.dumps(options))}
    net = interop.network(config)
    given = inputs(options)
    params = jax.jit(lambda key: net.init(key, jnp.asarray(given[0]), jnp.asarray(given[1])))(jax.random.key(0))
    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda p: p + 0.1 * rng.standard_normal(p.shape).astype(np.float32), params)
    interop.save(tmp_path, params, config)
    model = getattr(diffusers, kind).from_pretrained(tmp_path)
    expected = run_ours(net, params, *given)
    assert relative(run_theirs(model.eval(), *given), expected) < 2e-5
    again = interop.load(tmp_path).params
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, params))


@pytest.mark.parametrize("name", ["heads, classes", "DiT, 2 blocks"])
def test_shards_half_precision_and_old_names(name, tmp_path):
    """Shards with an index, tensors in half precision, and attention layers under their first names."""
    from safetensors.torch import load_file, save_file

    theirs(name).half().save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "diffusion_pytorch_model.safetensors.index.json").exists()
    model = getattr(diffusers, CASES[name][0]).from_pretrained(tmp_path, torch_dtype=torch.float32).eval()
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 2
    if name == "heads, classes":
        old, renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}, 0
        for shard in shards:
            tensors = load_file(shard)
            for new, first in old.items():
                renamed += sum(f".{new}." in key for key in tensors)
                tensors = {key.replace(f".{new}.", f".{first}."): value for key, value in tensors.items()}
            save_file(tensors, shard, metadata={"format": "pt"})
        assert renamed == 8 * 7  # weights and biases of seven attention layers
    net, params, _ = interop.load(tmp_path)
    given = inputs(model.config)
    assert relative(run_ours(net, params, *given), run_theirs(model, *given)) < 2e-5


def test_blocks_that_share_their_embedding_share_it_here(tmp_path):
    model = theirs("DiT, 2 blocks")
    model.transformer_blocks[1].norm1.emb.load_state_dict(model.transformer_blocks[0].norm1.emb.state_dict())
    model.save_pretrained(tmp_path)
    net, params, config = interop.load(tmp_path)
    assert params["embedding"]["Dense_0"]["kernel"].ndim == 2
    given = inputs(model.config)
    assert relative(run_ours(net, params, *given), run_theirs(model, *given)) < 2e-5
    interop.save(tmp_path / "again", params, config)
    again = type(model).from_pretrained(tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_whole_pipeline(tmp_path):
    """unet/ and scheduler/ under one folder: ten DDIM steps from the same noise, each side all its own."""
    model = theirs("ddpm")
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=100, clip_sample=False)
    diffusers.DDIMPipeline(unet=model, scheduler=scheduler).save_pretrained(tmp_path)
    net, params, _ = interop.load(tmp_path)
    ours = schedulers.from_diffusers(tmp_path / "scheduler", 10)
    noise = inputs(model.config, 1)[0]

    @jax.jit
    def draw(params, noise):
        predict = lambda x, number: net.apply(params, x, number)  # noqa: E731
        return sample(ours.step(predict), ours.denoiser(predict), jax.random.key(0), ours.start * noise, ours.grid)

    scheduler.set_timesteps(10)
    x = torch.from_numpy(noise.transpose(0, 3, 1, 2).copy())
    for i in scheduler.timesteps:
        with torch.no_grad():
            x = scheduler.step(model(x, i).sample, i, x).prev_sample
    assert relative(np.asarray(draw(params, noise)).transpose(0, 3, 1, 2), x.numpy()) < 1e-4

    at_path_time, x = interop.at_path_time(net, 100), jnp.asarray(noise)
    same = net.apply(params, x, jnp.array([41])), at_path_time.apply(params, x, jnp.array([42 / 100]))
    assert relative(*map(np.asarray, same)) < 1e-4


@pytest.mark.parametrize("name", [name for name, (_, config) in CASES.items() if "num_class_embeds" in config])
def test_both_refuse_to_answer_without_a_label(name, tmp_path):
    model = theirs(name)
    model.save_pretrained(tmp_path)
    net, params, config = interop.load(tmp_path)
    x, t, _ = inputs(config, 2)
    with pytest.raises(ValueError, match="class_labels"):
        run_theirs(model, x, t, None)
    with pytest.raises(ValueError, match="give a label"):
        run_ours(net, params, x, t, None)
    interop.save(tmp_path / "guided", params, config | {"_null_label": True})
    again = type(model).from_pretrained(tmp_path / "guided")  # which passes over our entry
    last = np.full(2, config["num_class_embeds"] - 1)
    net, params, _ = interop.load(tmp_path / "guided")
    np.testing.assert_allclose(run_ours(net, params, x, t, None), run_theirs(again, x, t, last), atol=1e-4)
