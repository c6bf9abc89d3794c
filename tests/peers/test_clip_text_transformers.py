"""transformers' CLIPTextModel and ours on the same weights, both ways through files."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.interop import clip_text as interop

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.peers

SMALL = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 12,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
CASES = {
    "as ViT-L/14": SMALL,
    "as OpenCLIP's ViT-H/14": SMALL | {"hidden_act": "gelu", "num_hidden_layers": 3, "num_attention_heads": 4},
    "one head, one layer": SMALL | {"num_attention_heads": 1, "num_hidden_layers": 1},
    "odd sizes": SMALL | {"hidden_size": 15, "num_attention_heads": 5, "intermediate_size": 7, "vocab_size": 31},
    "long prompts": SMALL | {"max_position_embeddings": 77, "num_hidden_layers": 4},
    "another epsilon": SMALL | {"layer_norm_eps": 1e-2, "hidden_act": "gelu", "max_position_embeddings": 5},
    "a projection": SMALL | {"projection_dim": 6},
}


def theirs(name, seed=0):
    """A model with every parameter random, biases and norms as well."""
    torch.manual_seed(seed)
    kind = transformers.CLIPTextModelWithProjection if "projection" in name else transformers.CLIPTextModel
    model = kind(transformers.CLIPTextConfig(**CASES[name]))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    return model.eval()


def tokens(config, b=3):
    rng = np.random.default_rng(1)
    return rng.integers(0, config["vocab_size"], (b, config["max_position_embeddings"]))


def run_theirs(model, ids, skip=0):
    text_model = getattr(model, "text_model", model)
    with torch.no_grad():
        out = text_model(torch.from_numpy(ids), output_hidden_states=True)
        return text_model.final_layer_norm(out.hidden_states[-1 - skip]).numpy() if skip else out[0].numpy()


def run_ours(net, params, ids):
    return np.asarray(jax.jit(net.apply)(params, jnp.asarray(ids)))


@pytest.mark.parametrize("name", CASES)
def test_their_weights_here(name, tmp_path):
    model = theirs(name)
    model.save_pretrained(tmp_path)
    net, params, _ = interop.load(tmp_path)
    ids = tokens(CASES[name])
    expected = run_theirs(model, ids)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(run_ours(net, params, ids), expected, atol=2e-5)
    short = ids[:, :4]
    np.testing.assert_allclose(run_ours(net, params, short), run_theirs(model, short), atol=2e-5)


@pytest.mark.parametrize("name", [name for name in CASES if "projection" not in name])
def test_our_weights_there(name, tmp_path):
    config = json.loads(json.dumps(CASES[name]))
    net = interop.network(config)
    ids = tokens(config)
    params = jax.jit(net.init)(jax.random.key(0), jnp.asarray(ids))
    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda p: p + 0.2 * rng.standard_normal(p.shape).astype(np.float32), params)
    interop.save(tmp_path, params, config)
    model, said = transformers.CLIPTextModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    np.testing.assert_allclose(run_theirs(model.eval(), ids), run_ours(net, params, ids), atol=2e-5)
    again = interop.load(tmp_path).params
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, params))


def test_an_earlier_layer_half_precision_and_shards(tmp_path):
    name = "long prompts"
    theirs(name).half().save_pretrained(tmp_path, max_shard_size="10KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    model = transformers.CLIPTextModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = tokens(CASES[name])
    for skip in (0, 1, 3):
        net, params, _ = interop.load(tmp_path, skip=skip)
        np.testing.assert_allclose(run_ours(net, params, ids), run_theirs(model, ids, skip), atol=2e-5)


def test_the_published_size_is_theirs_too():
    config = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    with torch.device("meta"):
        count = sum(p.numel() for p in transformers.CLIPTextModel(transformers.CLIPTextConfig(**config)).parameters())
    shapes = jax.eval_shape(interop.network(config).init, jax.random.key(0), jnp.zeros((1, 77), jnp.int32))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == count == 123_060_480
