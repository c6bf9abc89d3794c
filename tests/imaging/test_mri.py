import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data.phantoms.brain import brain2d
from jaxgen.errors import UserError
from jaxgen.imaging.coils import simulated_coils
from jaxgen.imaging.fourier import centred_fft2, from_complex
from jaxgen.imaging.mri import check_kspace, check_mask, measured_columns, measured_mask, mri_operator, zero_filled
from jaxgen.imaging.operators import inner_product, squared_norm_bound
from jaxgen.imaging.sampling_masks import random_mask

HEIGHT, WIDTH, COILS = 21, 26, 3
MASK = random_mask(jax.random.key(0), (HEIGHT, WIDTH), 3)
MAPS = simulated_coils(jax.random.key(1), (HEIGHT, WIDTH), COILS)
OF_EACH = jnp.stack([MASK, MASK[:, ::-1]])
CASES = {
    "single coil, real": (MASK, None, 1),
    "single coil, complex": (MASK, None, 2),
    "coils, real": (MASK, MAPS, 1),
    "coils, complex": (MASK, MAPS, 2),
    "a mask and coils an example": (OF_EACH, jnp.stack([MAPS, 1j * MAPS[::-1]]), 2),
}


@pytest.mark.parametrize("case", CASES)
def test_the_adjoint(case):
    mask, maps, channels = CASES[case]
    operator = mri_operator(mask, maps, channels=channels)
    keys = jax.random.split(jax.random.key(2), 3)
    x = jax.random.normal(keys[0], (2, HEIGHT, WIDTH, channels))
    coils = 1 if maps is None else COILS
    y = jax.random.normal(keys[1], (2, HEIGHT, WIDTH, coils)) + 1j * jax.random.normal(
        keys[2], (2, HEIGHT, WIDTH, coils)
    )
    measured, back = jax.jit(operator.forward)(x), jax.jit(operator.adjoint)(y)
    assert measured.shape == y.shape
    assert back.shape == x.shape
    assert back.dtype == jnp.float32
    size = np.sqrt(inner_product(measured, measured) * inner_product(y, y))
    np.testing.assert_allclose(inner_product(measured, y) / size, inner_product(x, back) / size, atol=1e-5)


POINTS = jnp.asarray(np.random.default_rng(3).random((HEIGHT, WIDTH)) < 0.4, jnp.float32)


@pytest.mark.parametrize("mask", [MASK, POINTS, 0.5 * POINTS, MASK[:, ::-1][None], jnp.stack([MASK, POINTS])])
@pytest.mark.parametrize(("maps", "channels"), [(None, 1), (None, 2), (MAPS, 1), (MAPS, 2)])
def test_the_short_way_of_forward_and_adjoint_is_both(mask, maps, channels):
    operator = mri_operator(mask, maps, channels=channels)
    x = jax.random.normal(jax.random.key(2), (2, HEIGHT, WIDTH, channels))
    assert operator.normal is not None
    want = operator.adjoint(operator.forward(x))
    np.testing.assert_allclose(jax.jit(operator.normal)(x), want, atol=2e-6 * float(abs(want).max()))
    with pytest.raises(ValueError, match="a real image"):
        operator.normal(x[:, :-1])
    if (mask == mask[..., :1, :]).all():
        along_rows = mri_operator(mask, maps, channels=channels, columns=True)
        assert along_rows.normal is not None
        np.testing.assert_allclose(along_rows.normal(x), want, atol=2e-6 * float(abs(want).max()))
    else:
        with pytest.raises(ValueError, match="whole columns"):
            mri_operator(mask, maps, channels=channels, columns=True)


def test_no_image_grows():
    operator = mri_operator(MASK, MAPS, channels=2)
    bound = squared_norm_bound(operator, jax.random.key(0), (1, HEIGHT, WIDTH, 2), 10)
    assert 0.5 < float(bound[0]) < 1 + 1e-5


def test_each_example_has_its_own_mask_and_coils():
    mask, maps, channels = CASES["a mask and coils an example"]
    x = jax.random.normal(jax.random.key(0), (2, HEIGHT, WIDTH, 2))
    together = mri_operator(mask, maps, channels=channels).forward(x)
    mapped = jax.vmap(lambda m, s, x: mri_operator(m, s, channels=2).forward(x[None])[0])(mask, maps, x)
    np.testing.assert_allclose(together, mapped, atol=1e-5)


def test_everything_measured_gives_the_image_back():
    x = jax.random.uniform(jax.random.key(0), (2, HEIGHT, WIDTH, 2))
    operator = mri_operator(jnp.ones((HEIGHT, WIDTH)), MAPS, channels=2)
    kspace = operator.forward(x)
    np.testing.assert_allclose(operator.adjoint(kspace), x, atol=1e-5)
    size = np.hypot(x[..., 0], x[..., 1])[..., None]
    np.testing.assert_allclose(zero_filled(kspace, MAPS), size, atol=1e-5)
    np.testing.assert_allclose(zero_filled(kspace), size, atol=1e-5)


@pytest.mark.parametrize(
    ("mask", "maps", "channels"),
    [(MASK, None, 3), (MASK[0], None, 1), (MASK * 1j, None, 1), (MASK, MAPS[:-1], 1), (MASK, MAPS[..., 0], 1)],
)
def test_an_operator_that_cannot_be(mask, maps, channels):
    with pytest.raises(ValueError, match=r"needed|channel"):
        mri_operator(mask, maps, channels=channels)


def test_arrays_that_do_not_fit_the_operator():
    operator = mri_operator(MASK, MAPS, channels=2)
    for x in (jnp.zeros((1, WIDTH, HEIGHT, 2)), jnp.zeros((1, HEIGHT, WIDTH, 1)), jnp.zeros((HEIGHT, WIDTH, 2))):
        with pytest.raises(ValueError, match="real image"):
            operator.forward(x)
    with pytest.raises(ValueError, match="real image"):
        operator.forward(jnp.zeros((1, HEIGHT, WIDTH, 2), jnp.complex64))
    for y in (jnp.zeros((1, HEIGHT, WIDTH, COILS)), jnp.zeros((1, HEIGHT, WIDTH, 1), jnp.complex64)):
        with pytest.raises(ValueError, match="complex k-space"):
            operator.adjoint(y)


@pytest.fixture(scope="module")
def kspace():
    head = brain2d(0, 0, 48)["t1"][None, :45, :, 0]
    maps = simulated_coils(jax.random.key(0), (45, 48), 4)
    return np.asarray(centred_fft2(maps * (head - head.min())[..., None]))


def test_good_kspace_comes_back_as_complex64_with_all_axes(kspace):
    for given in (kspace, kspace[0], kspace[0].astype(np.complex128), 1e-6 * kspace, kspace[0, :, :, 0]):
        found = check_kspace(given)
        assert found.dtype == np.complex64
        assert found.shape == (1, 45, 48, 1 if given.ndim == 2 else 4)
    lines = np.asarray(random_mask(jax.random.key(0), (45, 48), 4))
    assert check_kspace(kspace * lines[..., None]).shape == kspace.shape


def nan_line(kspace):
    bad = kspace.copy()
    bad[:, 3:, 7] = np.nan
    return bad


BAD = {
    "coils first": (lambda k: np.moveaxis(k[0], -1, 0), r"moveaxis\(kspace, -3, -1\)"),
    "coils in the middle": (lambda k: np.moveaxis(k, -1, 2), r"moveaxis\(kspace, -2, -1\)"),
    "a magnitude": (np.abs, "complex"),
    "parts": (lambda k: np.asarray(from_complex(k)), r"join its parts"),
    "a NaN line": (nan_line, "columns 7;"),
    "zeros": (np.zeros_like, "nothing but 0"),
    "not centred": (lambda k: np.fft.ifftshift(k, (1, 2)), "fftshift"),
    "an image": (lambda k: np.fft.ifftshift(np.fft.ifft2(k, axes=(1, 2)), (1, 2)), "is it an image"),
    "far too small": (lambda k: 1e-30 * k.astype(complex), "multiply"),
    "five axes": (lambda k: k[None], "shape"),
    "nothing": (lambda k: k[:0], "shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_kspace_says_what_to_do(kspace, case):
    spoil, message = BAD[case]
    with pytest.raises(UserError, match=message) as error:
        check_kspace(spoil(kspace), "scan.npz: kspace")
    assert str(error.value).startswith("scan.npz: kspace: ")


def test_masks(kspace):
    lines = np.asarray(random_mask(jax.random.key(0), (45, 48), 4))
    sampled = kspace * lines[..., None]
    np.testing.assert_array_equal(measured_mask(sampled)[0], lines)
    assert check_mask(lines.astype(bool), sampled).dtype == np.float32
    other = np.asarray(random_mask(jax.random.key(1), (45, 48), 4))
    for mask, message in [
        (lines.T, "transpose"),
        (lines[0], "broadcast_to"),
        (lines * 0.5, "other than 0 and 1"),
        (np.where(lines > 0, np.nan, 0), "other than 0 and 1"),
        (lines * 0, "keeps nothing"),
        (other, "another scan"),
    ]:
        with pytest.raises(UserError, match=message):
            check_mask(mask, sampled)


def test_measured_columns():
    kept = np.arange(8) % 3 == 0
    kspace = np.ones((16, 8, 2), complex) * kept[:, None]
    kspace[0] = 0  # an edge of the readout is often left out
    np.testing.assert_array_equal(measured_columns(kspace), kept)
    for wrong, words in (
        (np.swapaxes(np.ones((8, 6, 2)) * kept[:6, None], 0, 1), "transpose it"),
        (np.eye(8)[..., None], "one of its own kind"),
        (np.ones((4, 4, 1)), "nothing to restore"),
    ):
        with pytest.raises(UserError, match=words):
            measured_columns(wrong)
