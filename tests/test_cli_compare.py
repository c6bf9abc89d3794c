"""``jaxgen compare``: its table, its record, and every way in which it can go wrong."""

import json

import numpy as np
import PIL.Image
import pytest
from safetensors.numpy import save_file
from scipy import ndimage

from jaxgen.app import compare
from jaxgen.app.cli import main
from jaxgen.metrics import frechet_distance
from jaxgen.metrics.features import pixels

RNG = np.random.default_rng(0)
REAL = RNG.integers(0, 200, (60, 6, 6), np.uint8)


@pytest.fixture
def command(capsys):
    def run(*argv):
        code = main(["compare", *map(str, argv), "--no-cache"])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def sets(tmp_path):
    """Real images as files, generated ones in an npz: brighter, and more of them."""
    (tmp_path / "real").mkdir()
    for i, image in enumerate(REAL):
        PIL.Image.fromarray(image).save(tmp_path / "real" / f"{i:02}.png")
    fake = RNG.integers(50, 250, (80, 6, 6, 1), np.uint8)
    np.savez(tmp_path / "fake.npz", samples=fake)
    return tmp_path / "real", tmp_path / "fake.npz"


def refused(command, *argv):
    code, out, err = command(*argv)
    assert code == 2
    assert err.startswith("jaxgen: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    return err


def test_the_table_and_its_record(command, sets, tmp_path):
    out = tmp_path / "found.json"
    code, said, _ = command(*sets, "--out", out, "--seed", 3)
    assert code == 0
    for word in ("60 of 60 real, 60 of 80 generated", "Frechet distance", "Kernel", "Coverage", "p = 0.005", "95 %"):
        assert word in said
    held = json.loads(out.read_text())
    assert held["protocol"] == {
        "features": "pixels",
        "weights": "none",
        "resize": "none",
        "shape": [6, 6, 1],
        "real": 60,
        "generated": 60,
    }
    metrics = held["metrics"]
    assert (
        metrics["Frechet distance"]["low"] < metrics["Frechet distance"]["value"] < metrics["Frechet distance"]["high"]
    )
    assert metrics["Density"]["low"] is None
    assert metrics["Classifier accuracy"]["value"] > 0.8


def test_the_distance_is_that_of_the_images_in_the_files(command, sets, tmp_path):
    """50 grey levels are 0.392 of the range from -1 to 1."""
    np.savez(tmp_path / "b.npz", train_images=REAL[:30] + 50, test_images=REAL[30:] + 50)
    out = tmp_path / "found.json"
    assert command(sets[0], tmp_path / "b.npz", "--out", out)[0] == 0
    expected = 36 * (2 * 50 / 255) ** 2
    assert json.loads(out.read_text())["metrics"]["Frechet distance"]["value"] == pytest.approx(expected, rel=1e-4)
    x = REAL.reshape(60, -1) / 127.5 - 1
    assert frechet_distance(x, x + 2 * 50 / 255) == pytest.approx(expected, rel=1e-9)


def test_the_same_command_gives_the_same_numbers_and_a_set_equals_itself(command, sets):
    assert command(*sets, "--n", 30)[1] == command(*sets, "--n", 30)[1]
    _, said, _ = command(sets[0], sets[0], "--features", "random", "--n", 60)
    frechet = next(line for line in said.splitlines() if line.startswith("Frechet distance"))
    assert float(frechet.split()[2]) < 1e-6


def test_colour_sizes_and_ranges(command, sets, tmp_path):
    colour = tmp_path / "colour"
    colour.mkdir()
    for i, image in enumerate(REAL):
        PIL.Image.fromarray(np.repeat(np.repeat(np.stack([image] * 3, -1), 2, 0), 2, 1)).save(colour / f"{i}.png")
    assert "--size" in refused(command, sets[0], colour)
    code, said, _ = command(sets[0], colour, "--size", 6, "--features", "random")
    assert code == 0
    assert "made grey" in said
    assert float(next(line for line in said.splitlines() if line.startswith("Frechet")).split()[2]) < 1e-4
    np.save(tmp_path / "counts.npy", REAL.astype(np.float32))
    assert "--range LOW HIGH" in refused(command, sets[0], tmp_path / "counts.npy")
    code, said, _ = command(sets[0], tmp_path / "counts.npy", "--range", 0, 255)
    assert float(next(line for line in said.splitlines() if line.startswith("Frechet")).split()[2]) < 1e-6
    np.save(tmp_path / "unit.npy", REAL[..., None] / 127.5 - 1)
    code, said, _ = command(sets[0], tmp_path / "unit.npy")
    assert float(next(line for line in said.splitlines() if line.startswith("Frechet")).split()[2]) < 1e-6


def test_volumes(command, tmp_path):
    volumes = RNG.integers(0, 256, (2, 24, 6, 7, 8, 1), np.uint8)
    for name, x in zip("ab", volumes, strict=True):
        np.savez(tmp_path / f"{name}.npz", volumes=x)
    code, said, _ = command(tmp_path / "a.npz", tmp_path / "b.npz")
    assert code == 0
    assert "6 x 7 x 8 x 1" in said
    assert "falls with n" in said
    assert "far too large" in said, "336 features of 24 volumes"


def residual_network(path, rng):
    """A file of a 3-D residual network of 10 layers, as MedicalNet's, with random weights."""
    tensors = {}

    def layer(convolution, norm, into, out, width):
        shape = (out, into, width, width, width)
        tensors[f"{convolution}.weight"] = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[1:]))
        for name, x in zip(("weight", "bias", "running_mean", "running_var"), (1, 0, 0, 1), strict=True):
            tensors[f"{norm}.{name}"] = np.full(out, x, np.float32)

    layer("conv1", "bn1", 1, 64, 7)
    into = 64
    for stage in range(4):
        width, block = 64 * 2**stage, f"layer{stage + 1}.0"
        layer(f"{block}.conv1", f"{block}.bn1", into, width, 3)
        layer(f"{block}.conv2", f"{block}.bn2", width, width, 3)
        if stage:
            layer(f"{block}.downsample.0", f"{block}.downsample.1", into, width, 1)
        into = width
    save_file({f"module.{name}": x for name, x in tensors.items()}, path)


@pytest.mark.slow
def test_volumes_in_the_features_of_a_network(command, tmp_path):
    weights, rng = tmp_path / "resnet_10.safetensors", np.random.default_rng(0)
    residual_network(weights, rng)
    np.save(tmp_path / "a.npy", rng.integers(0, 256, (20, 8, 8, 8), np.uint8))
    out = tmp_path / "found.json"
    options = ("--features", "medicalnet", "--weights", weights)
    code, said, _ = command(tmp_path / "a.npy", tmp_path / "a.npy", *options, "--out", out)
    assert code == 0
    held = json.loads(out.read_text())
    assert held["protocol"]["features"] == "medicalnet"
    assert len(held["protocol"]["weights"]) == 12
    assert held["metrics"]["Frechet distance"]["value"] < 1e-6
    assert held["metrics"]["Coverage"]["value"] == 1
    assert "features  medicalnet, weights " in said
    np.save(tmp_path / "flat.npy", REAL)
    flat = [tmp_path / "flat.npy"] * 2
    assert "for volumes of one channel" in refused(command, *flat, *options)


def test_slices_of_volumes_in_three_planes():
    """What --features inception does with volumes, with a feature space that needs no weights."""
    rng = np.random.default_rng(0)
    sets = [compare.Images("x", rng.integers(0, 256, (5, 8, 8, 8, 1), np.uint8), None, None) for _ in range(2)]
    rows, record = compare.of_planes(pixels(2), sets)
    values = {row.name: row.value for row in rows}
    planes = [values[f"Frechet distance, {name}"] for name in ("xy", "xz", "yz")]
    assert values["Frechet distance, mean of planes"] == pytest.approx(np.mean(planes))
    assert len(set(planes)) == 3
    assert (record.real, record.shape) == (5 * 4, (8, 8, 1))


def test_mistakes_are_named_with_what_to_do(command, sets, tmp_path):
    real, fake = sets
    assert "no such file or folder" in refused(command, real, tmp_path / "none")
    assert "choose one of pixels" in refused(command, real, fake, "--features", "vgg")
    assert "needs --weights FILE" in refused(command, real, fake, "--features", "inception")
    assert "leave --weights out" in refused(command, real, fake, "--weights", "a.pth")
    assert "no such file" in refused(command, real, fake, "--features", "radimagenet", "--weights", "none.pth")
    assert "must be a number" in refused(command, real, fake, "--range", "a", "1")
    assert "black must be below white" in refused(command, real, fake, "--range", "1", "0")
    assert "folder" in refused(command, real, fake, "--out", tmp_path)
    assert "give 20 or more" in refused(command, real, fake, "--n", 5)
    assert "did you mean '--size'" in refused(command, real, fake, "--sizes", 5)
    np.savez(tmp_path / "other.npz", things=REAL)
    assert "it holds things" in refused(command, real, tmp_path / "other.npz")
    np.savez(tmp_path / "flat.npz", images=REAL.reshape(60, 36))
    assert "no set of images" in refused(command, real, tmp_path / "flat.npz")
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    assert "cannot be read" in refused(command, real, tmp_path / "objects.npy")
    (tmp_path / "text.npz").write_text("no archive")
    assert "cannot be read" in refused(command, real, tmp_path / "text.npz")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for i in range(30):
        PIL.Image.fromarray(REAL[i, : 5 + i % 2]).save(mixed / f"{i:02}.png")
    assert "bring them to one" in refused(command, mixed, mixed)
    assert command(mixed, mixed, "--size", 6)[0] == 0


def test_help(command):
    code, said, _ = command("--help")
    assert code == 0
    assert "pt_inception-2015-12-05" in said
    assert "--features" in said


def smooth(n, side=16, seed=0):
    """Images in [0, 1], as far from white noise as photographs are."""
    x = np.stack([ndimage.gaussian_filter(np.random.default_rng(seed + i).random((side, side)), 2) for i in range(n)])
    return ((x - x.min()) / (x.max() - x.min())).astype(np.float32)


def frechet_of(said):
    return float(next(line for line in said.splitlines() if line.startswith("Frechet distance  ")).split()[2])


@pytest.mark.parametrize("lowest", [-0.01, -0.2, -1.0])
def test_an_explicit_range_always_wins(command, tmp_path, lowest):
    """One pixel below 0, as filtered images have, does not make a set one of [-1, 1]."""
    real, ringing = smooth(30), smooth(30, seed=30)
    np.save(tmp_path / "real.npy", real)
    np.save(tmp_path / "plain.npy", ringing)
    ringing[0, 0, 0] = lowest
    np.save(tmp_path / "ringing.npy", ringing)
    found = [command(tmp_path / "real.npy", tmp_path / f"{n}.npy", "--range", 0, 1) for n in ("plain", "ringing")]
    assert frechet_of(found[0][1]) == pytest.approx(frechet_of(found[1][1]), abs=0.5)
    assert found[1][1].count(": 0 to 1, as --range says") == 2


def test_an_explicit_range_wins_over_samples_too(command, tmp_path):
    np.save(tmp_path / "a.npy", 2 * smooth(30) - 1)
    np.save(tmp_path / "b.npy", 100 * (2 * smooth(30) - 1))
    _, said, _ = command(tmp_path / "a.npy", tmp_path / "b.npy", "--range", -100, 100)
    assert frechet_of(said) > 1, "a is grey on that scale"
    assert "range     " in said


@pytest.mark.parametrize(
    "x",
    [
        smooth(30),  # [0, 1], as ToTensor gives them
        smooth(30) - 0.01,  # the same, undershooting
        4095 * smooth(30),
        (4095 * smooth(30)).astype(np.uint16),
        (2000 * smooth(30) - 1000).astype(np.int16),  # Hounsfield units
        (255 * smooth(30)).astype(np.int64),
    ],
)
def test_what_the_type_does_not_say_is_asked_for(command, tmp_path, x):
    np.save(tmp_path / "x.npy", x)
    assert "--range LOW HIGH" in refused(command, tmp_path / "x.npy", tmp_path / "x.npy")


def test_the_range_is_that_of_the_set_and_not_of_a_part_of_it():
    x = 2 * smooth(40)[..., None] - 1
    x[20:] = np.abs(x[20:])  # a part that alone could be [0, 1]
    whole = compare.Images("x", x, None, None)
    part = whole.take(np.arange(20, 40))
    np.testing.assert_allclose(part[:], x[20:], atol=1e-6)
    np.testing.assert_allclose(part.converted(3)[:][..., 0], x[20:, ..., 0], atol=1e-6)
    first = compare.Images("x", np.concatenate([x[20:], x[:20]]), None, None)
    np.testing.assert_allclose(first[:20], x[20:], atol=1e-6)


def test_files_of_several_depths_are_refused_or_scaled_by_what_is_said(command, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for i, image in enumerate(smooth(30)):
        deep = i % 3 == 2
        x = (image * (65535 if deep else 255)).astype(np.uint16 if deep else np.uint8)
        PIL.Image.fromarray(x).save(folder / f"{i:02}.png")
    said = refused(command, folder, folder)
    assert "02.png: uint16" in said
    assert "--range" in said
    code, said, _ = command(folder, folder, "--range", 0, 255)
    assert code == 0
    assert "are out of the range and were cut off" in said
    np.savez(tmp_path / "mixed.npz", train_images=REAL, test_images=REAL / 127.5 - 1)
    assert "several types" in refused(command, tmp_path / "mixed.npz", tmp_path / "mixed.npz")


def test_both_ranges_are_printed_and_kept(command, sets, tmp_path):
    np.save(tmp_path / "unit.npy", REAL[..., None] / 127.5 - 1)
    out = tmp_path / "found.json"
    code, said, _ = command(sets[0], tmp_path / "unit.npy", "--out", out)
    assert code == 0
    assert f"{sets[0]}: 0 to 255, 8 bits" in said
    assert f"{tmp_path / 'unit.npy'}: -1 to 1, floats" in said
    assert json.loads(out.read_text())["ranges"] == {"real": [0, 255], "generated": [-1, 1]}
    assert "cut off" not in said


@pytest.mark.parametrize("layout", ["{c}/{i}.png", "train/{c}/{i}.png", "{s}/images/{i}.png", "images/{c}/{i}.png"])
def test_folders_of_classes_and_splits(command, sets, tmp_path, layout):
    folder = tmp_path / "nested"
    for i, image in enumerate(REAL):
        path = folder / layout.format(c=("glioma", "notumor")[i % 2], s=("train", "test")[i % 2], i=i)
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(path)
        for other in ("masks", ".cache"):
            (folder / other).mkdir(exist_ok=True)
            PIL.Image.fromarray(0 * image).save(folder / other / f"{i}.png")
    code, said, _ = command(sets[0], folder)
    assert code == 0
    assert "60 of 60 generated" in said
    assert frechet_of(said) < 1e-6
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    assert "holds no image" in refused(command, sets[0], tmp_path / "empty")


def make_run(folder, images):
    """What `jaxgen run` and `jaxgen sample` leave."""
    for inner in ("checkpoints", "figures"):
        (folder / inner).mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    PIL.Image.fromarray(REAL[0]).save(folder / "figures" / "curve.png")
    if images is not None:
        (folder / "samples" / "figures").mkdir(parents=True)
        (folder / "samples" / "figures" / "captions.json").write_text("{}")
        PIL.Image.fromarray(REAL[0]).save(folder / "samples" / "figures" / "samples.png")
        np.savez(folder / "samples" / "samples.npz", images=images, labels=np.arange(len(images)))


@pytest.mark.parametrize("part", ["", "samples", "samples/samples.npz"])
def test_the_samples_of_a_run(command, sets, tmp_path, part):
    """Their range is known, whatever their values: these are all white."""
    white = np.full((60, 6, 6, 1), 0.9, np.float32) + RNG.normal(0, 0.1, (60, 6, 6, 1)).astype(np.float32)
    make_run(tmp_path / "run", white)
    code, said, _ = command(sets[0], tmp_path / "run" / part)
    assert code == 0
    assert "-1 to 1, samples of jaxgen" in said
    assert "60 of 60 generated" in said
    assert "are out of the range and were cut off" in said, "some are above 1"


def test_a_run_without_samples(command, sets, tmp_path):
    make_run(tmp_path / "run", None)
    assert "jaxgen sample" in refused(command, sets[0], tmp_path / "run")


def test_what_is_no_set_of_images(command, sets, tmp_path):
    np.save(tmp_path / "first.npy", np.repeat(REAL[:, None], 3, 1))
    assert "channels first" in refused(command, sets[0], tmp_path / "first.npy")
    diverged = np.array(REAL[..., None] / 127.5 - 1)
    diverged[7, 2, 2] = np.nan
    np.save(tmp_path / "nan.npy", diverged)
    assert "image 7: it holds NaN" in refused(command, sets[0], tmp_path / "nan.npy", "--range", -1, 1)
    folder = tmp_path / "colours"
    folder.mkdir()
    for i, image in enumerate(REAL):
        PIL.Image.fromarray(np.stack([image] * 3, -1) if i == 9 else image).save(folder / f"{i:02}.png")
    assert "1 and of 3 channels" in refused(command, folder, folder)
