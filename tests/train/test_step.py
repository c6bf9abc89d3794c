import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.train import init_state, make_many_steps, make_train_step
from jaxgen.types import Model, Objective


def one_group(loss, init=lambda key, batch: {"net": jnp.ones(3)}):
    return Model(init, (Objective("net", loss),), lambda *_: None)


def start(model, batch, rate=0.1):
    groups = {group for objective in model.objectives for group in objective.groups}
    optimizers = {group: optax.sgd(rate) for group in groups}
    return optimizers, init_state(model, optimizers, jax.random.key(0), batch)


BATCH = {"image": jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)}


def quadratic(params, key, batch):
    return (batch["image"] @ params["net"]) ** 2, {"size": batch["image"][:, 0]}


def test_step_is_gradient_descent_on_the_mean():
    model = one_group(quadratic)
    optimizers, state = start(model, BATCH)
    new, metrics = jax.jit(make_train_step(model, optimizers, ema_decay=0.9))(state, BATCH)
    x, w = np.asarray(BATCH["image"], np.float64), np.ones(3)
    gradient = 2 * (x * (x @ w)[:, None]).mean(0)
    np.testing.assert_allclose(new.params["net"], w - 0.1 * gradient, rtol=1e-5)
    assert float(metrics["loss"]) == pytest.approx(((x @ w) ** 2).mean(), rel=1e-5)
    assert float(metrics["grad_norm"]) == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    assert float(metrics["size"]) == pytest.approx(x[:, 0].mean(), rel=1e-5)
    np.testing.assert_allclose(new.ema["net"], 0.1 * w + 0.9 * new.params["net"], rtol=1e-6)
    assert int(new.step) == 1


def test_objectives_are_played_in_order_on_their_own_groups():
    """The second player sees the first one's update; neither moves the other's group, though both read it."""

    def first(params, key, batch):
        return jnp.full(8, params["a"] * params["b"]), {"seen": params["b"]}

    def second(params, key, batch):
        return jnp.full(8, params["a"] * params["b"]), {"seen": params["a"]}

    def init(key, batch):
        return {"a": jnp.float32(2), "b": jnp.float32(3), "frozen": jnp.float32(7)}

    model = Model(init, (Objective("a", first), Objective("b", second)), lambda *_: None)
    optimizers, state = start(model, BATCH)
    new, metrics = make_train_step(model, optimizers, ema_decay=0.0)(state, BATCH)
    a = 2 - 0.1 * 3
    assert float(new.params["a"]) == pytest.approx(a)
    assert float(new.params["b"]) == pytest.approx(3 - 0.1 * a)
    assert float(new.params["frozen"]) == 7
    assert float(metrics["seen/b"]) == pytest.approx(a)
    assert sorted(metrics) == ["grad_norm/a", "grad_norm/b", "loss/a", "loss/b", "seen/a", "seen/b"]
    assert float(new.ema["b"]) == float(new.params["b"])


def test_one_objective_trains_several_groups():
    """Two groups learn from the first loss, one of them from the second too."""

    def first(params, key, batch):
        return jnp.full(8, params["a"] * params["b"]), {}

    def second(params, key, batch):
        return jnp.full(8, params["a"] * params["b"]), {"seen": params["b"]}

    def init(key, batch):
        return {"a": jnp.float32(2), "b": jnp.float32(3)}

    model = Model(init, (Objective(("a", "b"), first), Objective("a", second)), lambda *_: None)
    optimizers, state = start(model, BATCH)
    new, metrics = make_train_step(model, optimizers, ema_decay=0.0)(state, BATCH)
    b = 3 - 0.1 * 2
    assert float(new.params["b"]) == pytest.approx(b)
    assert float(new.params["a"]) == pytest.approx(2 - 0.1 * 3 - 0.1 * b)
    assert float(metrics["seen/a"]) == pytest.approx(b)
    assert float(metrics["grad_norm/a+b"]) == pytest.approx(np.hypot(2, 3))


def test_a_group_played_twice_has_two_names():
    def loss(params, key, batch):
        return jnp.full(8, params["a"]), {}

    model = Model(lambda k, b: {"a": jnp.float32(2)}, (Objective("a", loss),) * 2, lambda *_: None)
    optimizers, state = start(model, BATCH)
    _, metrics = make_train_step(model, optimizers, ema_decay=0.0)(state, BATCH)
    assert float(metrics["loss/a"]) == 2
    assert float(metrics["loss/a_2"]) == pytest.approx(1.9)


def test_one_key_an_example_new_at_every_step_and_for_every_use():
    seen = []

    def prepare(key, batch):
        seen.append(jax.random.key_data(key))
        return batch

    def loss(params, key, batch):
        seen.append(jax.random.key_data(key))
        return quadratic(params, key, batch)

    model = Model(lambda k, b: {"net": jnp.ones(3)}, (Objective("net", loss),) * 2, lambda *_: None)
    optimizers, state = start(model, BATCH)
    step = make_train_step(model, optimizers, ema_decay=0.9, prepare=prepare)
    with jax.disable_jit():
        again, _ = step(state, BATCH)
        step(again, BATCH)
        first, seen[:] = np.concatenate(seen), []
        step(state, BATCH)
    assert first.shape == (2 * 3 * 8, 2)
    assert len(np.unique(first, axis=0)) == len(first)
    np.testing.assert_array_equal(np.concatenate(seen), first[: 3 * 8])


def test_one_trace_and_a_donated_state():
    traces = []

    def loss(params, key, batch):
        traces.append(1)
        return quadratic(params, key, batch)

    model = one_group(loss)
    optimizers, state = start(model, BATCH)
    step = jax.jit(make_train_step(model, optimizers, ema_decay=0.9), donate_argnums=0)
    for _ in range(3):
        state, _ = step(state, BATCH)
    assert len(traces) == 1
    assert int(state.step) == 3


def test_several_steps_in_a_call_equal_single_steps():
    from_noise = lambda k: jax.random.normal(k, (3,))  # noqa: E731

    def loss(params, key, batch):
        return ((batch["image"] + jax.vmap(from_noise)(key)) @ params["net"]) ** 2, {}

    model = one_group(loss)
    optimizers, state = start(model, BATCH)
    step = make_train_step(model, optimizers, ema_decay=0.9)
    indices = np.random.default_rng(1).integers(0, 8, (5, 4))
    many = jax.jit(make_many_steps(step))
    together, metrics = many(state, BATCH, indices)
    stacked, _ = many(state, {}, {"image": BATCH["image"][indices]})
    losses = []
    for row in indices:
        state, one = jax.jit(step)(state, {"image": BATCH["image"][row]})
        losses.append(one["loss"])
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-6)
    for other in (together, stacked):
        np.testing.assert_allclose(other.params["net"], state.params["net"], rtol=1e-6)
        np.testing.assert_allclose(other.ema["net"], state.ema["net"], rtol=1e-6)
        assert int(other.step) == 5


def test_bfloat16_computes_in_bfloat16_and_keeps_float32():
    seen = {}

    def loss(params, key, batch):
        seen.update(params=params["net"].dtype, image=batch["image"].dtype, label=batch["label"].dtype)
        return ((batch["image"] @ params["net"]) ** 2).astype(jnp.float32), {}

    model = one_group(loss)
    batch = {**BATCH, "label": jnp.arange(8)}
    optimizers, state = start(model, batch)
    new, metrics = jax.jit(make_train_step(model, optimizers, ema_decay=0.9, precision="bfloat16"))(state, batch)
    assert seen == {"params": jnp.bfloat16, "image": jnp.float32, "label": jnp.int32}
    assert {leaf.dtype for leaf in jax.tree.leaves((new.params, new.ema, metrics))} == {jnp.dtype(jnp.float32)}
    exact, _ = jax.jit(make_train_step(model, optimizers, ema_decay=0.9))(state, batch)
    np.testing.assert_allclose(new.params["net"], exact.params["net"], rtol=0.02)
    assert not np.array_equal(new.params["net"], exact.params["net"])


def test_a_loss_that_reduces_is_refused():
    model = one_group(lambda params, key, batch: (quadratic(params, key, batch)[0].mean(), {}))
    optimizers, state = start(model, BATCH)
    with pytest.raises(AssertionError):
        make_train_step(model, optimizers, ema_decay=0.9)(state, BATCH)


def test_groups_without_an_optimizer_or_parameters_are_named():
    model = one_group(quadratic)
    with pytest.raises(ValueError, match="'net', which has no optimizer"):
        init_state(model, {}, jax.random.key(0), BATCH)
    with pytest.raises(ValueError, match="'nett', which has no parameters"):
        init_state(model, {"net": optax.sgd(1.0), "nett": optax.sgd(1.0)}, jax.random.key(0), BATCH)
    with pytest.raises(ValueError, match="no optimizer"):
        make_train_step(model, {}, ema_decay=0.9)
    with pytest.raises(ValueError, match="precision"):
        make_train_step(model, {"net": optax.sgd(1.0)}, ema_decay=0.9, precision="float16")


@pytest.mark.parametrize("parts", [2, 8])
def test_parts_of_a_batch_make_the_same_step(parts):
    """Two players who draw noise: parameters, metrics and key of every example are those of the whole batch."""

    def first(params, key, batch):
        noise = jax.vmap(lambda k: jax.random.normal(k, (3,)))(key)
        value = ((batch["image"] + noise) @ params["net"] - params["other"]) ** 2
        return value, {"largest": value, "one": params["other"]}

    def second(params, key, batch):
        return (params["other"] * jax.vmap(jax.random.uniform)(key) - batch["image"][:, 0]) ** 2, {}

    init = lambda key, batch: {"net": jnp.ones(3), "other": jnp.float32(2)}  # noqa: E731
    model = Model(init, (Objective("net", first), Objective("other", second)), lambda *_: None)
    optimizers, state = start(model, BATCH)
    want, expected = jax.jit(make_train_step(model, optimizers, ema_decay=0.9))(state, BATCH)
    got, metrics = jax.jit(make_train_step(model, optimizers, ema_decay=0.9, accumulate=parts))(state, BATCH)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), (want.params, want.ema), (got.params, got.ema)
    )
    assert metrics.keys() == expected.keys()
    for name, value in metrics.items():
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-5), name


def test_a_batch_that_has_no_equal_parts_is_refused():
    model = one_group(quadratic)
    optimizers, state = start(model, BATCH)
    with pytest.raises(ValueError, match="8 examples cannot be computed in 3 equal parts"):
        make_train_step(model, optimizers, ema_decay=0.9, accumulate=3)(state, BATCH)
