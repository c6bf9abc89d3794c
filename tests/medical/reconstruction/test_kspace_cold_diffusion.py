import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.fourier import centred_fft2, to_complex
from jaxgen.imaging.sampling_masks import equispaced_mask, random_mask
from jaxgen.medical.reconstruction import kspace_cold_diffusion as cold
from jaxgen.nets import unet
from jaxgen.types import Net

B, H, W = 3, 6, 8
X = jax.random.normal(jax.random.key(0), (B, H, W, 2))
MEASURED = jnp.asarray([[0, 1, 0, 0, 1, 0, 0, 1], [1, 1, 0, 1, 1, 1, 0, 1], [0, 0, 0, 0, 1, 1, 0, 1]])
ORDER = cold.removal_order(jax.random.key(1), MEASURED)
MISSING = int(cold.columns_missing(ORDER).max())


def kspace_of(x):
    return centred_fft2(to_complex(x)[..., None])


KSPACE = MEASURED[:, None, :, None] * kspace_of(X)


def test_an_order_takes_every_unmeasured_column_once():
    assert cold.columns_missing(ORDER).tolist() == [5, 2, 5]
    for row, kept, missing in zip(ORDER, MEASURED, (5, 2, 5), strict=True):
        assert sorted(row[kept == 0].tolist()) == list(range(1, missing + 1))
        assert (row[kept == 1] == W + 1).all()
    every = cold.removal_order(jax.random.split(jax.random.key(2), 2000), jnp.zeros((2000, 3)))
    firsts = np.bincount(np.argmin(every, 1), minlength=3)
    assert (np.abs(firsts - 2000 / 3) < 5 * np.sqrt(2000 * 2 / 9)).all()


def test_degradation_takes_columns_away_one_by_one():
    """At t = 0 nothing, at the end all that is not measured; a column is whole or 0."""
    whole = kspace_of(X)
    for t in range(MISSING + 1):
        left = kspace_of(cold.degrade(X, ORDER, t))
        np.testing.assert_allclose(left, whole * (t < ORDER)[:, None, :, None], atol=1e-5)
    np.testing.assert_allclose(cold.degrade(X, ORDER, 0), X, atol=1e-5)
    np.testing.assert_allclose(kspace_of(cold.degrade(X, ORDER, MISSING)), KSPACE, atol=1e-5)
    each = cold.degrade(X, ORDER, jnp.array([0, 1, 3]))
    np.testing.assert_allclose(each[2], cold.degrade(X, ORDER, 3)[2], atol=1e-6)


def wrong(x, t):
    """A prediction that depends on the time and on all of its input, and has something in every column."""
    return jnp.roll(x, 1, 2) * jnp.linspace(0.5, 2, W)[:, None] + 0.1 * t[:, None, None, None] * x**2 + 0.3


def test_restoration_is_the_published_update():
    """``x_{t-1} = x_t - D(f, t) + D(f, t-1)`` for every example from its own end, in the image."""
    ours = cold.restore(wrong, KSPACE, ORDER, steps=MISSING)
    for i, missing in enumerate((5, 2, 5)):
        order, scale = ORDER[i : i + 1], cold.scale_of(cold.degrade(X, ORDER, MISSING))[i : i + 1]
        x = cold.degrade(X[i : i + 1], order, missing) / scale
        for t in range(missing, 0, -1):
            found = wrong(x, jnp.array([t]))
            x = x - cold.degrade(found, order, t) + cold.degrade(found, order, t - 1)
        np.testing.assert_allclose(ours[i : i + 1], scale * x, atol=1e-5)


def test_measured_columns_never_change_and_each_other_is_filled_once():
    way = cold.restore(wrong, KSPACE, ORDER, steps=MISSING, keep=True)
    assert way.shape == (MISSING + 1, B, H, W, 2)
    columns = np.stack([kspace_of(x)[..., 0] for x in way])
    times = [[5, 4, 3, 2, 1, 0], [2, 2, 1, 1, 0, 0], [5, 4, 3, 2, 1, 0]]  # the second example misses two
    times = np.array(times)
    for b in range(B):
        for w in range(W):
            changed = np.abs(np.diff(columns[:, b, :, w], axis=0)).max(1) > 1e-4
            order = int(ORDER[b, w])
            want = np.zeros(MISSING, bool)
            if order <= MISSING:
                want[int(np.argmax(times[b] < order)) - 1] = True
            assert (changed == want).all()
    np.testing.assert_allclose(columns[-1] * MEASURED[:, None], KSPACE[..., 0], atol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 5, 9])
def test_a_perfect_network_restores_exactly_in_any_number_of_steps(steps):
    scale = cold.scale_of(cold.degrade(X, ORDER, MISSING))
    asked = []

    def perfect(x, t):
        asked.append(x.shape)
        return X / scale

    np.testing.assert_allclose(cold.restore(perfect, KSPACE, ORDER, steps=steps), X, atol=1e-5)
    assert len(asked) == 1  # one traced copy of the network, however many steps


def test_one_step_is_the_direct_prediction_with_the_measured_columns_put_in():
    direct = cold.direct_prediction(wrong, KSPACE, ORDER)
    mended = jnp.where(MEASURED[:, None, :, None] == 1, KSPACE, kspace_of(direct))
    ours = cold.restore(wrong, KSPACE, ORDER, steps=1)
    np.testing.assert_allclose(kspace_of(ours), mended, atol=1e-5)


def test_the_loss_sees_scaled_images_and_whole_times():
    seen = []

    def predict(x, t):
        seen.append((x, t))
        return x

    keys = jax.random.split(jax.random.key(0), B)
    loss = cold.cold_loss(predict, keys, X, MEASURED)
    _, t = seen[0]
    assert loss.shape == (B,)
    assert (t >= 0).all()
    assert (t <= cold.columns_missing(ORDER)).all()
    np.testing.assert_allclose(cold.cold_loss(predict, keys, 100 * X, MEASURED), loss, rtol=1e-5, atol=1e-6)
    full = cold.cold_loss(predict, keys, X, jnp.ones((B, W)))
    np.testing.assert_allclose(full, 0, atol=1e-6)


def test_the_model_learns_restores_and_refuses():
    net = unet(2, channels=(8,), blocks=1)
    model = cold.kspace_cold_diffusion_model(net, lambda key: random_mask(key, (H, W), 2), (H, W, 2), steps=4)
    batch = {"image": X}
    params = jax.jit(model.init)(jax.random.key(0), batch)
    (objective,) = model.objectives

    @jax.jit
    def descend(params, key):
        value, slope = jax.jit(jax.value_and_grad(lambda p: objective.loss(p, key, batch)[0].mean()))(params)
        return value, jax.tree.map(lambda p, g: p - 0.05 * g, params, slope)

    values = []
    for _ in range(10):
        value, params = descend(params, jax.random.key(5))
        values.append(float(value))
    assert values[-1] < 0.9 * values[0]
    key = jax.random.key(3)
    mask = equispaced_mask(key, (H, W), 2, calibration=1)[None, ..., None]
    given = mask * kspace_of(X)
    first, second = (jax.jit(lambda p, k, y: model.sample(p, k, B, y))(params, key, given) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(mask * kspace_of(first), given, atol=1e-4)
    with pytest.raises(ValueError, match="give cond"):
        model.sample(params, key, 2)
    with pytest.raises(ValueError, match="at least 1"):
        cold.restore(wrong, KSPACE, ORDER, steps=0)
    with pytest.raises(ValueError, match=r"\[b, h, w, 2\]"):
        cold.degrade(X[..., :1], ORDER, 1)
    with pytest.raises(ValueError, match=r"\[b, w\]"):
        cold.restore(wrong, KSPACE, ORDER[:1], steps=MISSING)


def test_three_reconstructions_of_one_network():
    key = jax.random.key(1)
    found = cold.reconstructions(wrong, key, KSPACE, steps=MISSING)
    assert tuple(found) == cold.METHODS
    order = cold.removal_order(key, MEASURED)
    direct, mended, stepwise = found.values()
    np.testing.assert_allclose(direct, cold.direct_prediction(wrong, KSPACE, order), atol=1e-5)
    np.testing.assert_allclose(stepwise, cold.restore(wrong, KSPACE, order, steps=MISSING), atol=1e-5)
    kept = (MEASURED > 0)[:, None, :, None]
    np.testing.assert_allclose(kspace_of(mended), jnp.where(kept, KSPACE, kspace_of(direct)), atol=1e-4)


def test_a_predictor_pads_about_the_middle_and_is_told_the_share_of_missing_columns():
    seen = {}

    def apply(params, x, t, key=None):
        seen.update(x=x, t=t)
        return 2 * x

    x = jax.random.normal(jax.random.key(0), (2, 6, 7, 2))
    predict = cold.predictor(Net(init=lambda *args: {}, apply=apply), {}, 7, 4)
    np.testing.assert_array_equal(predict(x, jnp.array([0, 3])), 2 * x)
    np.testing.assert_array_equal(seen["x"], np.pad(x, ((0, 0), (1, 1), (0, 1), (0, 0))))
    np.testing.assert_allclose(seen["t"], [0, 3 / 7], rtol=1e-6)
