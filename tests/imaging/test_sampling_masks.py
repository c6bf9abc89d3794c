import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.sampling_masks import (
    MASKS,
    POINTS,
    calibration_lines,
    equispaced_mask,
    gaussian_mask,
    mixed_mask,
    poisson_disc_mask,
    radial_mask,
    random_mask,
    true_acceleration,
)

LINES = {"random": random_mask, "gaussian": gaussian_mask, "equispaced": equispaced_mask}
ALL = {**LINES, "radial": radial_mask, "poisson": poisson_disc_mask}
SHAPES = [(24, 64), (21, 51)]


@pytest.fixture(scope="module")
def drawn():
    """Masks of 16 keys, one program a case."""
    keys = jax.random.split(jax.random.key(0), 16)
    made = {}
    for name, draw in LINES.items():
        for shape in SHAPES:
            program = jax.jit(jax.vmap(lambda key, draw=draw, shape=shape: draw(key, shape, 4)))
            made[name, shape] = np.asarray(program(keys))
    return made


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LINES)
def test_lines_are_whole_and_as_many_as_asked_for(drawn, name, shape):
    masks = drawn[name, shape]
    assert masks.dtype == np.float32
    assert set(np.unique(masks)) == {0.0, 1.0}
    assert (masks == masks[:, :1]).all(), "a line is a whole column"
    n = calibration_lines(shape[1], 4)
    first = shape[1] // 2 - n // 2
    assert masks[:, :, first : first + n].all()
    lines = masks[:, 0].sum(-1)
    if name == "equispaced":
        assert abs(lines - shape[1] / 4).max() <= 2
        assert abs(lines.mean() - shape[1] / 4) < 1
    else:
        assert (lines == round(shape[1] / 4)).all()
    np.testing.assert_allclose(true_acceleration(jnp.asarray(masks)), shape[1] / lines, rtol=1e-6)
    assert len({m.tobytes() for m in masks}) > 3, "the key must matter"


def test_equispaced_lines_lie_at_equal_distances(drawn):
    """Away from the calibration lines, gaps differ by at most the rounding."""
    for mask in drawn["equispaced", (24, 64)]:
        at = np.flatnonzero(mask[0])
        gaps = np.diff(at[at < 64 // 2 - calibration_lines(64, 4)])
        assert np.ptp(gaps) <= 1
        assert gaps.min() > 4, "with calibration lines to pay for, others are further apart than the acceleration"


def test_gaussian_lines_crowd_about_the_middle(drawn):
    away = np.abs(np.arange(64) - 32)
    mean = {name: (drawn[name, (24, 64)][:, 0] * away).sum() / drawn[name, (24, 64)][:, 0].sum() for name in LINES}
    assert mean["gaussian"] < 0.75 * mean["random"]


@pytest.mark.parametrize("shape", [(48, 48), (33, 46)])
def test_radial_lines_pass_through_the_centre(shape):
    mask = np.asarray(jax.jit(lambda key: radial_mask(key, shape, 4.0))(jax.random.key(1)))
    assert mask[shape[0] // 2, shape[1] // 2] == 1
    reached = mask.sum() / mask.size
    assert 1 / 4 <= reached < 1 / 4 + 1.5 * max(shape) / mask.size, "no more than one line too much"
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert border.sum() >= 4


def test_poisson_discs_keep_their_distance():
    shape, slope, side = (32, 40), 2.0, 6
    draw = jax.jit(lambda key: poisson_disc_mask(key, shape, 5.0, calibration=side, slope=slope))
    mask = np.asarray(draw(jax.random.key(0)))
    assert (np.asarray(draw(jax.random.key(1))) != mask).any()
    assert mask.sum() == round(32 * 40 / 5)
    assert mask[13:19, 17:23].all()
    outside = mask.copy()
    outside[13:19, 17:23] = 0
    at = np.argwhere(outside)
    grow = 1 + slope * np.hypot(2 * (at[:, 0] - 16) / 32, 2 * (at[:, 1] - 20) / 32)
    apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1)) / np.minimum(grow[:, None], grow)
    np.fill_diagonal(apart, np.inf)
    far = grow > np.median(grow)
    # A lattice as dense as this half would have neighbours at sqrt(1 / density): random samples come much nearer.
    assert apart[far][:, far].min() * grow[far].min() > 1.5
    density = mask[:, 20:].mean(0)
    assert density[:6].mean() > 2 * density[-6:].mean()


@pytest.mark.parametrize("name", ALL)
def test_what_does_not_fit_is_refused(name):
    with pytest.raises(ValueError, match="acceleration"):
        ALL[name](jax.random.key(0), (16, 16), 0.5)
    if name != "radial":
        with pytest.raises(ValueError, match="calibration"):
            ALL[name](jax.random.key(0), (16, 16), 8, calibration=9)


def test_mixed_masks_are_random_ones_of_the_accelerations():
    keys = jax.random.split(jax.random.key(0), 40)
    masks = np.asarray(jax.vmap(lambda key: mixed_mask(key, (64, 64), (4, 8)))(keys))
    assert set(np.unique(masks.sum(2)).tolist()) == {8.0, 16.0}
    assert (masks == masks[:, :1]).all()
    with pytest.raises(ValueError, match="does not fit"):
        mixed_mask(keys[0], (64, 64), (4, 65))


def test_families_know_whether_they_measure_lines_or_points():
    assert ALL == MASKS
    for name, draw in MASKS.items():
        mask = np.asarray(draw(jax.random.key(0), (32, 32), 4))
        assert (mask == mask[:1]).all() == (name not in POINTS), name
