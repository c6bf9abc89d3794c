"""LoRA: what it changes, what it takes back, and that nothing else is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.families.lora import ATTENTION, TARGETS, init_lora, kernels, lora_model, merge, share, unmerge
from jaxgen.train.state import init_state
from jaxgen.train.step import make_train_step
from jaxgen.types import Model, Objective


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def random_like(tree, seed=0):
    leaves, structure = jax.tree.flatten(tree)
    drawn = [normal(*leaf.shape, seed=seed + i) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, drawn)


@pytest.fixture(scope="module")
def params():
    """Kernels of every kind: of a dense layer, a convolution, and of equal layers that are stacked."""
    return random_like(
        {
            "SelfAttention_0": {"Dense_0": {"kernel": np.zeros((8, 24)), "bias": np.zeros(24)}},
            "Conv_0": {"kernel": np.zeros((3, 3, 4, 5)), "bias": np.zeros(5)},
            "blocks": {"MultiHeadAttention_0": {"Dense_1": {"kernel": np.zeros((3, 6, 6))}}},
        }
    )


def equal(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def test_updates_begin_as_no_change(params):
    lora = init_lora(jax.random.key(0), params, 2, "kernel")
    assert equal(merge(params, lora), params)
    assert jax.tree.map(jnp.shape, lora) == {
        "SelfAttention_0": {"Dense_0": {"kernel": {"a": (8, 2), "b": (2, 24)}}},
        "Conv_0": {"kernel": {"a": (36, 2), "b": (2, 5)}},
        "blocks": {"MultiHeadAttention_0": {"Dense_1": {"kernel": {"a": (3, 6, 2), "b": (3, 2, 6)}}}},
    }
    wide = init_lora(jax.random.key(0), {"kernel": jnp.ones((4000, 3))}, 5, "kernel")["kernel"]["a"]
    assert abs(float(wide.std()) - 1 / 5) < 0.01


def test_merge_is_the_formula_and_unmerge_takes_it_back(params):
    lora = random_like(init_lora(jax.random.key(0), params, 2, "kernel"), seed=9)
    merged = merge(params, lora, 0.7)
    for path, kernel in kernels(params):
        update, got = lora, merged
        for name in path:
            update, got = update[name], got[name]
        change = np.einsum("...ir,...ro->...io", update["a"], update["b"]).reshape(kernel.shape)
        np.testing.assert_allclose(got, kernel + 0.7 * change, atol=1e-5)
        assert np.linalg.matrix_rank(change.reshape(-1, change.shape[-1]) if change.ndim != 3 else change[0]) == 2
    assert merged["Conv_0"]["bias"] is params["Conv_0"]["bias"]
    back = unmerge(merged, lora, 0.7)
    assert max(float(jnp.abs(x - y).max()) for x, y in zip(*map(jax.tree.leaves, (back, params)), strict=True)) < 1e-6


def test_attention_alone_by_default(params):
    lora = init_lora(jax.random.key(0), params, 1)
    assert set(lora) == {"SelfAttention_0", "blocks"}
    size = 8 + 24 + 3 * (6 + 6)
    assert share(lora, params) == size / sum(x.size for x in jax.tree.leaves(params))


def test_what_does_not_belong_is_said(params):
    with pytest.raises(ValueError, match="no kernel has a path like 'nowhere'"):
        init_lora(jax.random.key(0), params, 1, "nowhere")
    with pytest.raises(ValueError, match="the rank must be 1 or more"):
        init_lora(jax.random.key(0), params, 0)
    update = {"a": jnp.ones((8, 1)), "b": jnp.ones((1, 24))}
    with pytest.raises(ValueError, match="an update is for Conv_0/weight, which this network has not"):
        merge(params, {"Conv_0": {"weight": update}})
    with pytest.raises(ValueError, match=r"the update of Conv_0/kernel is \(8, 1\) by \(1, 24\), for a kernel of"):
        merge(params, {"Conv_0": {"kernel": update}})
    with pytest.raises(ValueError, match="the update of Conv_0/bias has kernel where a and b are needed"):
        merge(params, {"Conv_0": {"bias": {"kernel": update}}})


@pytest.fixture(scope="module")
def model():
    """A linear layer with a bias, trained by its squared error."""

    def answer(params, x):
        return x @ params["net"]["Dense_0"]["kernel"] + params["net"]["Dense_0"]["bias"]

    def loss(params, key, batch):
        return jnp.mean(jnp.square(answer(params, batch["image"]) - batch["target"]), 1), {}

    def sample(params, key, n, cond=None):
        return answer(params, jax.random.normal(key, (n, 6)))

    return Model(lambda key, batch: {}, (Objective("net", loss),), sample, lambda params, key, x: answer(params, x))


@pytest.mark.parametrize(("rank", "reached"), [(2, True), (1, False)])
def test_only_the_updates_are_trained_as_far_as_their_rank_goes(model, rank, reached):
    base = {"net": {"Dense_0": {"kernel": normal(6, 4, seed=1), "bias": normal(4, seed=2)}}}
    truth = {"net": {"Dense_0": {**base["net"]["Dense_0"]}}}
    truth["net"]["Dense_0"]["kernel"] += normal(6, 2, seed=3) @ normal(2, 4, seed=4)
    image = normal(32, 6, seed=5)
    batch = {"image": image, "target": image @ truth["net"]["Dense_0"]["kernel"] + truth["net"]["Dense_0"]["bias"]}
    tuned = lora_model(model, rank, base=base, targets="kernel")
    optimizers = {"lora": optax.adam(3e-2)}
    state = init_state(tuned, optimizers, jax.random.key(1), batch)
    step = jax.jit(make_train_step(tuned, optimizers, ema_decay=0.0))
    state, first = step(state, batch)
    assert float(first["loss"]) == pytest.approx(float(model.objectives[0].loss(base, None, batch)[0].mean()), rel=1e-5)
    for _ in range(400):
        state, last = step(state, batch)
    assert (float(last["loss"]) < 1e-3 * float(first["loss"])) is reached
    assert equal(state.params["net"], base["net"])
    merged = {"net": merge(base["net"], state.params["lora"]["net"])}
    for one in ("sample", "log_prob"):
        given = 2 if one == "sample" else image
        outs = (getattr(m, one)(p, jax.random.key(3), given) for m, p in ((tuned, state.params), (model, merged)))
        np.testing.assert_allclose(*outs, atol=1e-5)


def test_a_model_that_trains_none_of_the_groups_is_refused(model):
    with pytest.raises(ValueError, match="no objective of this model trains one of decoder"):
        lora_model(model, 2, groups=("decoder",), targets=ATTENTION)


def test_targets_are_attention_or_all_kernels(params):
    def updated(name):
        return {"/".join(path) for path, _ in kernels(init_lora(jax.random.key(0), params, 1, TARGETS[name]))}

    of_attention = {path for path in updated("all") if "Attention" in path}
    assert updated("attention") == of_attention
    assert {path.split("/")[0] for path in updated("all") - of_attention} == {"Conv_0"}
