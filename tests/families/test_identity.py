import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.families import retrieval_model, verification_model
from jaxgen.families.identity import embed, same_person
from jaxgen.train import init_state, make_optimizer, make_train_step
from jaxgen.types import Net

FLAT = Net(lambda key, x: {}, lambda params, x: x.reshape(len(x), -1))


def visits(key, n, spread=0.2):
    """Two views of each of n people: a code of eight numbers, the first four of them, with noise."""
    code_key, *keys = jax.random.split(key, 3)
    code = jax.random.normal(code_key, (n, 4))
    nuisance = [jax.random.normal(key, (2, n, 4)) for key in keys]
    first, second = (jnp.concatenate([code + spread * x[0], 2 * x[1]], -1) for x in nuisance)
    return {"image": first, "other": second, "owner": jnp.arange(n)}


def trained(model, steps=300):
    optimizers = {name: make_optimizer(3e-3, 0, steps) for name in ("net", "head")[: len(model.objectives[0].groups)]}
    step = jax.jit(make_train_step(model, optimizers, ema_decay=0.0))
    state = init_state(model, optimizers, jax.random.key(1), visits(jax.random.key(2), 32))
    for i in range(steps):
        state, _ = step(state, visits(jax.random.fold_in(jax.random.key(3), i), 32))
    return state.params


def test_the_loss_of_pairs_is_that_of_one_pair_and_the_mean_of_all_with_others():
    model = verification_model(FLAT)
    batch = visits(jax.random.key(0), 4) | {"owner": jnp.array([0, 1, 1, 2])}
    params = model.init(jax.random.key(1), batch)
    params["head"]["bias"] = jnp.float32(0.7)
    loss, info = model.objectives[0].loss(params, jax.random.key(2), batch)
    f = jax.nn.sigmoid
    for i, others in enumerate(([1, 2, 3], [0, 3], [0, 3], [0, 1, 2])):
        logit = [float(jnp.abs(f(batch["image"][i]) - f(batch["other"][j])).sum() * -(8**-0.5) + 0.7) for j in range(4)]
        same, apart = -np.log(f(logit[i])), np.mean([-np.log(f(-logit[j])) for j in others])
        assert loss[i] == pytest.approx((same + apart) / 2, rel=1e-4)
        right = ((logit[i] > 0) + np.mean([logit[j] <= 0 for j in others])) / 2
        assert info["accuracy"][i] == pytest.approx(right)


def test_people_that_were_never_seen_are_told_apart():
    """Half of what is seen is noise of twice the size: cosines of the images themselves fail."""
    new, n = visits(jax.random.key(9), 200), 200
    net = Net(*_dense())
    params = trained(verification_model(net))
    same = same_person(net, params, new["image"], new["other"])
    apart = same_person(net, params, new["image"], jnp.roll(new["other"], 1, 0))
    assert (np.asarray(same)[:, None] > np.asarray(apart)[None]).mean() > 0.95
    params = trained(retrieval_model(net))
    likeness = embed(net, params, new["image"]) @ embed(net, params, new["other"]).T
    found = (likeness.argmax(1) == jnp.arange(n)).mean()
    raw = {"net": {}}
    plain = embed(FLAT, raw, new["image"]) @ embed(FLAT, raw, new["other"]).T
    assert found > 0.3 > 4 * (plain.argmax(1) == jnp.arange(n)).mean()


def _dense():
    def init(key, x):
        a, b = jax.random.split(key)
        return {"a": jax.random.normal(a, (8, 64)) / 3, "b": jax.random.normal(b, (64, 16)) / 8}

    return init, lambda params, x: jax.nn.silu(x @ params["a"]) @ params["b"]


@pytest.mark.parametrize("make", [retrieval_model, verification_model])
def test_they_draw_nothing(make):
    with pytest.raises(TypeError, match="draws nothing"):
        make(FLAT).sample({}, jax.random.key(0), 1)
