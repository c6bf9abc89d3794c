"""MONAI's AutoencoderKL, AutoencoderKlMaisi and VQVAE compared with ours on the same weights, both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.families.vae import posterior
from jaxgen.interop import monai_autoencoder as interop
from jaxgen.interop import monai_kl
from jaxgen.nets import tiled_kl_decoder
from jaxgen.nets.quantiser import quantise

torch = pytest.importorskip("torch")
monai_nets = pytest.importorskip("monai.networks.nets")
monai_maisi = pytest.importorskip("monai.apps.generation.maisi.networks.autoencoderkl_maisi")
safetensors_torch = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.peers

NO_ATTENTION = {"with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False}
KL = {
    "as the brain's, 3-D": (3, (8, 16, 16, 16), 2, (), 8, NO_ATTENTION),
    "2-D, non-local attention": (2, (8, 16), 1, (), 4, {}),
    "3-D, attention in a level, one in the decoder": (3, (4, 8), 1, (1,), 4, {"with_encoder_nonlocal_attn": False}),
    "2-D, three levels, different counts": (2, (4, 8, 12), (1, 2, 1), (0, 2), 4, {"in_channels": 3, "out_channels": 2}),
    "2-D, one level, five of the code": (2, (8,), 3, (0,), 2, {"latent_channels": 5, "norm_eps": 1e-4}),
    "3-D, three levels, one projection": (3, (4, 4, 8), (2, 1, 1), (2,), 2, {"use_combined_linear": True}),
    "2-D, attention without a layer behind it": (2, (4, 8), 1, (1,), 4, {"include_fc": False}),
    "3-D, transposed convolutions": (3, (4, 8), 1, (), 4, {"use_convtranspose": True, **NO_ATTENTION}),
}
MAISI = {
    "no attention, splits": (3, (4, 8), (1, 2), (), 2, {"num_splits": 2}),
    "attention": (3, (4, 8, 8), (1, 1, 1), (2,), 4, {"num_splits": 1, "with_encoder_nonlocal_attn": True}),
    "attention in the decoder": (3, (8, 8), (2, 1), (1,), 4, {"num_splits": 1, "with_decoder_nonlocal_attn": True}),
    "a layer behind the attention": (3, (4, 4), (1, 1), (0,), 2, {"num_splits": 1, "include_fc": True}),
    "one level": (3, (8,), (2,), (0,), 8, {"num_splits": 4, "in_channels": 2}),
    "transposed convolutions": (3, (4, 8), (1, 2), (), 2, {"num_splits": 1, "use_convtranspose": True}),
    "three of the code more": (3, (4, 8), (1, 1), (), 2, {"num_splits": 2, "latent_channels": 6}),
}
VQ = {
    "2-D": (2, (8, 12), 2, (6, 4), ((2, 4, 1, 1),) * 2, ((2, 4, 1, 1, 0),) * 2, {}),
    "3-D": (3, (4, 6), 1, 5, (2, 4, 1, 1), (2, 4, 1, 1, 0), {"embedding_dim": 3}),
    "odd kernels": (2, (4, 8), 1, 4, ((2, 3, 1, 1),) * 2, ((2, 3, 1, 1, 1),) * 2, {"output_act": "tanh"}),
    "three levels": (2, (4, 6, 8), 1, (4, 3, 2), (2, 4, 1, 1), (2, 4, 1, 1, 0), {"in_channels": 3, "out_channels": 2}),
    "stride 4, then 1": (3, (4, 6), 3, 4, ((4, 4, 1, 0), (1, 3, 1, 1)), ((1, 3, 1, 1, 0), (4, 4, 1, 0, 0)), {}),
    "one level, no units": (2, (8,), 0, 8, (2, 2, 1, 0), (2, 2, 1, 0, 0), {"output_act": "SIGMOID"}),
}


def kl_config(name):
    kind, cases = ("AutoencoderKL", KL) if name in KL else ("AutoencoderKlMaisi", MAISI)
    rank, channels, blocks, attention, groups, more = cases[name]
    config = {
        "_target_": kind,
        "spatial_dims": rank,
        "channels" if name in KL else "num_channels": channels,
        "num_res_blocks": blocks,
        "attention_levels": tuple(level in attention for level in range(len(channels))),
        "norm_num_groups": groups,
        "in_channels": 1,
        "out_channels": 1,
    }
    return config | more


def vq_config(name):
    rank, channels, units, inner, down, up, more = VQ[name]
    sizes = {"num_embeddings": 9, "embedding_dim": 4, "in_channels": 1, "out_channels": 1, **more}
    return sizes | {
        "_target_": "VQVAE",
        "spatial_dims": rank,
        "channels": channels,
        "num_res_layers": units,
        "num_res_channels": inner,
        "downsample_parameters": down,
        "upsample_parameters": up,
    }


CONFIGS = {f"KL, {name}": kl_config(name) for name in KL}
CONFIGS |= {f"MAISI, {name}": kl_config(name) for name in MAISI}
CONFIGS |= {f"VQ, {name}": vq_config(name) for name in VQ}


def theirs(config, seed=0):
    """One of MONAI's networks with every parameter random: norms and biases as well."""
    torch.manual_seed(seed)
    arguments = {key: value for key, value in config.items() if key != "_target_"}
    net = getattr(monai_maisi if "Maisi" in config["_target_"] else monai_nets, config["_target_"])(**arguments)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return net.eval()


def image(config, b=2, size=16):
    """Not of one length along each axis, so that no axis can take another's place."""
    shape = (size, size + 8, size - 8)[: config["spatial_dims"]]
    x = np.random.default_rng(1).standard_normal((b, *shape, config["in_channels"]))
    return jnp.asarray(x, jnp.float32)


def to_torch(x):
    return torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy())


def from_torch(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


def answers_there(net, config, x, z):
    """What encoder and decoder say; of a VQVAE the code as well."""
    with torch.no_grad():
        if config["_target_"] == "VQVAE":
            index = net.index_quantize(to_torch(x)).numpy()
            return from_torch(net.encode(to_torch(x))), index, from_torch(net.decode_samples(torch.from_numpy(index)))
        mean, deviation = net.encode(to_torch(x))
        return from_torch(mean), from_torch(deviation), from_torch(net.decode(to_torch(z)))


def answers_here(nets, params, config, x, z):
    if config["_target_"] == "VQVAE":
        encoded = jax.jit(nets.encoder.apply)(params["encoder"], x)
        found = quantise(params["codebook"]["entries"], encoded)
        return encoded, found.number, jax.jit(nets.decoder.apply)(params["decoder"], found.codes)
    mean, log_variance = jax.jit(lambda p, x: posterior(nets.encoder, p, x))(params["encoder"], x)
    return mean, jnp.exp(log_variance / 2), jax.jit(nets.decoder.apply)(params["decoder"], z)


def code(config, x):
    levels = len(config.get("channels", config.get("num_channels")))
    size = [n // 2 ** (levels - 1) for n in x.shape[1:-1]]
    z = np.random.default_rng(2).standard_normal((x.shape[0], *size, config.get("latent_channels", 3)))
    return jnp.asarray(z, jnp.float32)


def agree(here, there):
    for a, b in zip(here, there, strict=True):
        assert np.abs(b).max() > 1e-2
        np.testing.assert_allclose(a, b, atol=1e-4 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("name", CONFIGS)
def test_their_weights_here(name, tmp_path):
    config = CONFIGS[name]
    net = theirs(config)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    loaded = interop.load(tmp_path / "net.pt", config)
    x = image(config)
    z = code(config, x)
    agree(answers_here(loaded, loaded.params, config, x, z), answers_there(net, config, x, z))


@pytest.mark.parametrize("name", CONFIGS)
def test_our_weights_there(name, tmp_path):
    config = CONFIGS[name]
    nets, rng = interop.network(config), np.random.default_rng(3)
    params = jax.tree.map(
        lambda s: jnp.asarray(0.2 * rng.standard_normal(s.shape), jnp.float32), interop.shapes(config)
    )
    if not config.get("include_fc", config["_target_"] != "AutoencoderKlMaisi"):
        for side in ("encoder", "decoder"):
            for layer in (layer for name, layer in params[side].items() if "attention" in name):
                width = len(layer["Dense_1"]["bias"])
                layer["Dense_1"] = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    interop.save(tmp_path / "net.pt", params, config)
    net = theirs(config)
    net.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    x = image(config)
    z = code(config, x)
    agree(answers_here(nets, params, config, x, z), answers_there(net, config, x, z))


def test_safetensors_there(tmp_path):
    config = CONFIGS["KL, 2-D, non-local attention"]
    params = jax.tree.map(lambda s: jnp.ones(s.shape), interop.shapes(config))
    interop.save(tmp_path / "net.safetensors", params, config)
    net = theirs(config)
    net.load_state_dict(safetensors_torch.load_file(tmp_path / "net.safetensors"))
    assert all((p == 1).all() for p in net.parameters())


def test_the_names_of_monai_generative(tmp_path):
    """Their own converter takes the old names, and so do we; the answers are the same."""
    config = CONFIGS["KL, 3-D, attention in a level, one in the decoder"]
    net = theirs(config)
    old = {}
    for name, x in net.state_dict().items():
        for new, former in ((".attn.out_proj.", ".proj_attn."), (".attn.", "."), (".postconv.", ".conv.")):
            name = name.replace(new, former)
        old[name] = x
    assert set(old) != set(net.state_dict())
    again = theirs(config, seed=5)
    again.load_old_state_dict(dict(old))
    torch.save(old, tmp_path / "old.pt")
    loaded = interop.load(tmp_path / "old.pt", config)
    x = image(config)
    z = code(config, x)
    agree(answers_here(loaded, loaded.params, config, x, z), answers_there(again, config, x, z))


def test_counts_of_parameters_on_the_meta_device():
    with torch.device("meta"):
        net = monai_nets.AutoencoderKL(
            3, channels=(64, 128, 128, 128), attention_levels=(False,) * 4, num_res_blocks=2, **NO_ATTENTION
        )
    assert sum(p.numel() for p in net.parameters()) == 13_766_248


def test_decoding_in_tiles_compared_with_their_whole(tmp_path):
    config = CONFIGS["KL, as the brain's, 3-D"]
    net = theirs(config)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    loaded = interop.load(tmp_path / "net.pt", config)
    arguments = {key: value for key, value in config.items() if key != "_target_"}
    tiled = tiled_kl_decoder(1, monai_kl.entries_of(arguments, "config", False)[0], rows=3)
    z = np.random.default_rng(4).standard_normal((1, 3, 2, 2, 3)).astype(np.float32)
    with torch.no_grad():
        expected = from_torch(net.decode(to_torch(z)))
    np.testing.assert_allclose(tiled.apply(loaded.params["decoder"], jnp.asarray(z)), expected, atol=1e-4)
