import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws
from jaxgen.data import planar
from jaxgen.families import (
    SemiSupervisedNets,
    adversarial_autoencoder_model,
    gaussian_likelihood,
    normal_prior,
    ring_prior,
    semi_supervised_adversarial_autoencoder_model,
    swiss_roll_prior,
    vae_model,
)
from jaxgen.families.vae import draw_code, posterior
from jaxgen.nets import mlp
from jaxgen.types import Net
from tests.families.training import fit


@pytest.mark.parametrize("prior", [normal_prior(2, 3.0), ring_prior(), swiss_roll_prior()])
def test_a_prior_draws_by_example(prior):
    keys = jax.random.split(jax.random.key(0), 6)
    np.testing.assert_allclose(prior(keys, 6)[2:4], prior(keys[2:4], 2), atol=1e-6)
    assert prior(jax.random.key(0), 5).shape == (5, 2)


def test_the_laws_of_the_priors():
    n = 20_000
    x = np.asarray(normal_prior(2, 3.0)(jax.random.key(0), n))
    np.testing.assert_allclose(np.cov(x.T), 9 * np.eye(2), atol=4 * 9 * np.sqrt(2 / n))
    x = np.asarray(ring_prior(4, radius=5.0, along=0.5, across=0.1)(jax.random.key(0), n))
    for centre in 5 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]):
        near = np.linalg.norm(x - centre, axis=1) < 2.5
        assert abs(near.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / n)
        spread = x[near].std(0)
        long = np.abs(centre) > 1
        np.testing.assert_allclose(spread, np.where(long, 0.5, 0.1), rtol=0.05)
    x = np.asarray(swiss_roll_prior(2.0, radius=4.0, deviation=1e-4)(jax.random.key(0), n))
    radius = np.linalg.norm(x, axis=1)
    turned = 2 * np.pi * 2.0 * radius / 4.0
    np.testing.assert_allclose(x, radius[:, None] * np.stack([np.cos(turned), np.sin(turned)], -1), atol=0.01)
    assert abs((radius < 2).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / n)


def discrepancy(a, b):
    """Maximum mean discrepancy (a Gaussian kernel of width 1), pairs of one point with itself left in."""
    kernel = lambda x, y: np.exp(-0.5 * ((x[:, None] - y[None]) ** 2).sum(-1)).mean()  # noqa: E731
    return np.sqrt(kernel(a, a) + kernel(b, b) - 2 * kernel(a, b))


@pytest.mark.thorough
def test_codes_have_the_law_of_the_prior():
    """Within twice what two draws of the prior differ by, and nearer than the codes of a VAE."""
    centres = jnp.asarray(planar.ring().modes, jnp.float32)

    def draw(key, n=256):
        which, noise = jax.random.split(key)
        return {"x": centres[jax.random.randint(which, (n,), 0, 8)] + 0.4 * jax.random.normal(noise, (n, 2))}

    encoder, decoder, critic = mlp(2, widths=(64, 64)), mlp(2, widths=(64, 64)), mlp(1, widths=(64, 64))
    model = adversarial_autoencoder_model(encoder, decoder, critic, normal_prior(2), penalty=0.1, data="x")
    params, _ = fit(model, draw, 3000, rate=2e-3, b1=0.5, ema_decay=0.995)
    x = draw(jax.random.key(50), 1000)["x"]
    z = np.asarray(encoder.apply(params["encoder"], x))
    prior = [np.asarray(normal_prior(2)(jax.random.key(60 + i), 1000)) for i in range(6)]
    floor = np.mean([discrepancy(prior[2 * i], prior[2 * i + 1]) for i in range(3)])
    ours = np.mean([discrepancy(z, p) for p in prior])

    both = mlp(4, widths=(64, 64))
    vae = vae_model(both, decoder, (2,), gaussian_likelihood(start=0.3), data="x")
    vae_params, _ = fit(vae, draw, 3000, rate=2e-3, ema_decay=0.995)
    codes = np.asarray(draw_code(jax.random.key(3), *posterior(both, vae_params["encoder"], x)))
    theirs = np.mean([discrepancy(codes, p) for p in prior])
    assert ours < 2 * floor, (ours, floor, theirs)
    assert ours < theirs, (ours, floor, theirs)
    print("discrepancy", ours, "floor", floor, "VAE", theirs)
    back = np.asarray(decoder.apply(params["decoder"], z))
    assert np.square(back - x).mean() < 0.1 * float(jnp.var(x))


def test_each_objective_moves_its_own_side():
    model = adversarial_autoencoder_model(mlp(2), mlp(3), mlp(1), normal_prior(2), weight=2.0, data="x")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    params, keys = jax.jit(model.init)(jax.random.key(0), {"x": x}), jax.random.split(jax.random.key(1), 4)
    z, prior = mlp(2).apply(params["encoder"], x), normal_prior(2)(keys, 4)
    found, drawn = (np.asarray(mlp(1).apply(params["critic"], a))[:, 0] for a in (z, prior))
    reconstruct, criticise, fool = (objective.loss(params, keys, {"x": x}) for objective in model.objectives)
    back = mlp(3).apply(params["decoder"], z)
    np.testing.assert_allclose(reconstruct[0], np.square(np.asarray(back) - x).mean(1), rtol=1e-5)
    softplus = lambda a: np.log1p(np.exp(a))  # noqa: E731
    np.testing.assert_allclose(criticise[0], softplus(-drawn) + softplus(found), rtol=1e-4)
    np.testing.assert_allclose(criticise[1]["critic_right"], 0.5 * (np.mean(drawn > 0) + np.mean(found < 0)))
    np.testing.assert_allclose(fool[0], 2 * softplus(-found), rtol=1e-4)


def test_the_penalty_is_that_of_the_critic_s_gradient():
    critic = Net(lambda key, z: jnp.array([3.0, 4.0]), lambda params, z, key=None: z @ params)
    plain, held = (
        adversarial_autoencoder_model(mlp(2), mlp(3), critic, normal_prior(2), penalty=p, data="x") for p in (0.0, 0.2)
    )
    batch = {"x": jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)}
    params, keys = jax.jit(plain.init)(jax.random.key(0), batch), jax.random.split(jax.random.key(1), 4)
    losses = [model.objectives[1].loss(params, keys, batch)[0] for model in (plain, held)]
    np.testing.assert_allclose(losses[1] - losses[0], 0.1 * (25 + 25), rtol=1e-5)


def semi_supervised():
    nets = mlp(3 + 2, widths=(16,)), mlp(4, widths=(16,)), mlp(1, widths=(16,)), mlp(1, widths=(16,))
    return nets, semi_supervised_adversarial_autoencoder_model(SemiSupervisedNets(*nets), normal_prior(2), 3, data="x")


def test_only_labelled_examples_pay_for_their_class():
    nets, model = semi_supervised()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)), jnp.float32)
    batch = {"x": x, "label": jnp.array([0, -1, 2, -1])}
    params, keys = jax.jit(model.init)(jax.random.key(0), batch), jax.random.split(jax.random.key(1), 4)
    value, info = model.objectives[-1].loss(params, keys, batch)
    logits = np.asarray(nets[0].apply(params["encoder"], x))[:, :3]
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(info["surprise"], [-log_p[0, 0], 0, -log_p[2, 2], 0], rtol=1e-5)
    without, _ = model.objectives[-1].loss(params, keys, {**batch, "label": jnp.full(4, -1)})
    np.testing.assert_allclose(value - without, info["surprise"], rtol=1e-3, atol=1e-6)
    labels = jnp.array([0, 1, 2, 1])
    style_key, _ = draws.split(jax.random.key(5), 2)
    code = jnp.concatenate([jnp.eye(3)[labels], normal_prior(2)(style_key, 4)], -1)
    want = nets[1].apply(params["decoder"], code)
    np.testing.assert_allclose(model.sample(params, jax.random.key(5), 4, labels), want, rtol=1e-5)


@pytest.mark.slow
def test_digits_with_a_hundred_labels_beside_logistic_regression():
    """Error on digits that neither saw: lower than that of logistic regression on the same hundred labels."""
    datasets = pytest.importorskip("sklearn.datasets")
    linear_model = pytest.importorskip("sklearn.linear_model")
    images, labels = datasets.load_digits(return_X_y=True)
    x = (images / 8 - 1).astype(np.float32)
    ours, theirs = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(x))
        test, train = order[:600], order[600:]
        known = np.concatenate([train[labels[train] == k][:10] for k in range(10)])
        hidden = np.full(len(x), -1)
        hidden[known] = labels[known]
        pool, given, marks = jnp.asarray(x[train]), jnp.asarray(x[known]), jnp.asarray(labels[known])
        marked = jnp.asarray(hidden[train])

        def draw(key, pool=pool, marked=marked, given=given, marks=marks):
            free_key, known_key = jax.random.split(key)
            free = jax.random.randint(free_key, (64,), 0, len(pool))
            some = jax.random.randint(known_key, (64,), 0, len(given))
            return {
                "x": jnp.concatenate([pool[free], given[some]]),
                "label": jnp.concatenate([marked[free], marks[some]]),
            }

        nets = mlp(10 + 8, widths=(256, 256)), mlp(64, widths=(256, 256)), mlp(1), mlp(1)
        model = semi_supervised_adversarial_autoencoder_model(
            SemiSupervisedNets(*nets),
            normal_prior(8),
            10,
            weight=0.1,
            corrupt=lambda key, x: x + 0.5 * draws.normal(key, x.shape),
            data="x",
        )
        params, _ = fit(model, draw, 4000, seed=seed, rate=1e-3, ema_decay=0.995)
        answer = np.asarray(nets[0].apply(params["encoder"], x[test]))[:, :10].argmax(1)
        ours.append(float((answer != labels[test]).mean()))
        fitted = linear_model.LogisticRegression(max_iter=5000).fit(x[known], labels[known])
        theirs.append(float((fitted.predict(x[test]) != labels[test]).mean()))
    print("errors", ours, "logistic regression", theirs)
    assert np.mean(ours) < np.mean(theirs), (ours, theirs)
