import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.medical.segmentation.cases import Case, dice_by_members, of_maps
from jaxgen.medical.segmentation.classes import by_probabilities
from jaxgen.medical.segmentation.deterministic import class_probability, deterministic
from jaxgen.medical.segmentation.ensembles import deep_ensemble, mc_dropout
from jaxgen.medical.segmentation.segmenter import Ensemble, Example, Segmenter
from jaxgen.nets import unet
from jaxgen.types import Net

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), jnp.float32)
KEYS = jax.random.split(jax.random.key(3), 2)


def test_dropout_is_drawn_anew_for_each_member_and_image_and_not_without_a_key():
    net = unet(1, channels=(8,), blocks=1, dropout=0.5)
    params = jax.tree.map(lambda p: p + 0.1, jax.jit(net.init)(jax.random.key(0), X))
    drawn = mc_dropout(net, params, 3)(KEYS, X)
    assert drawn.shape == (3, 2, 8, 8, 1)
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
    alone = mc_dropout(net, params, 3)(KEYS[1:], X[1:])
    np.testing.assert_allclose(drawn[:, 1:], alone, atol=1e-5)  # the rest of the batch does not matter
    model = deterministic(net)
    whole = model.sample({"net": params}, KEYS[0], 2, X)
    np.testing.assert_allclose(whole, class_probability(net.apply(params, X)), atol=1e-6)
    batch = {"image": X, "distance": X}
    losses = [model.objectives[0].loss({"net": params}, jax.random.key(i), batch)[0] for i in (0, 1)]
    assert np.abs(losses[0] - losses[1]).max() > 1e-4, "dropout is active in training"


def test_a_deep_ensemble_is_its_networks():
    net = Net(lambda key, x: None, lambda params, x: params["a"] * x + params["b"])
    each = [{"a": jnp.float32(a), "b": jnp.float32(b)} for a, b in ((1, 0), (2, -1), (0, 3))]
    drawn = deep_ensemble(net, each)(KEYS, X)
    for found, params in zip(drawn, each, strict=True):
        np.testing.assert_allclose(found, jax.nn.sigmoid(net.apply(params, X)), rtol=1e-6)


def test_the_mean_of_probabilities_decides_and_the_members_are_their_masks():
    p = np.array([[[0.9, 0.05], [0.1, 0.2]], [[0.2, 0.7], [0.2, 0.1]], [[0.6, 0.3], [0.3, 0.3]]])  # 3 members, 2 pixels
    first, second = by_probabilities(p)
    np.testing.assert_allclose(first.probability, p[..., 0].mean(0))
    np.testing.assert_allclose(first.mean, 1 - 2 * first.probability, atol=1e-6)  # at most 0 in the foreground
    assert first.mask.tolist() == [True, False]
    assert second.mask.tolist() == [False, False]
    assert first.members.tolist() == [[True, False], [False, False], [True, False]]
    assert second.members.tolist() == [[False, False], [True, False], [False, False]]
    assert first.uncertainty[0] > 0.6  # the entropy of 0.57


def test_further_ensembles_are_rows_of_the_same_cases():
    probability = jnp.where(X > 0, 0.8, 0.1)
    ours = Ensemble("ours", "Ours", lambda keys, tiles: jnp.stack([-tiles, 0.5 - tiles]))
    soft = Ensemble("soft", "Soft", lambda keys, tiles: jnp.stack([jnp.where(tiles > 0, 0.8, 0.1)] * 3), 0, True)
    options = {"threshold": 0.0, "size": (8, 8), "overlap": (2, 2), "chunk": 2}
    segmenter = Segmenter("unet", ours, lambda tiles: jnp.where(tiles > 0, 0.8, 0.1), **options, others=(soft,))
    examples = [Example(str(i), np.asarray(x), np.asarray(x[None] > 0)) for i, x in enumerate(X)]
    cases = segmenter.cases(examples, jax.random.key(0))
    assert [list(each[0].predictions) for each in cases] == [["unet", "soft", "ours"]] * 2
    for i, (case,) in enumerate(cases):
        np.testing.assert_allclose(case.predictions["soft"].probability, probability[i, ..., 0], atol=1e-6)
        assert case.dice["soft"] == case.dice["unet"] == 1


def test_dice_grows_with_members_that_err_in_turn():
    truth = np.ones((1, 6), bool)
    maps = np.where(np.eye(6, dtype=bool)[:, None], 1.0, -1.0)  # each member misses another pixel
    case = Case.of("a", np.zeros((1, 6, 1)), truth[None], {"m": of_maps(maps)})
    found = dice_by_members([case], "m", (1, 3, 6, 12))
    assert list(found) == [1, 3, 6]
    assert found[1] < found[3] == found[6] == 1
