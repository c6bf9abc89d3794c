"""`jaxgen sample`: what it is asked for, and the files it leaves."""

import dataclasses
import gzip

import nibabel
import numpy as np
import PIL.Image
import pytest

from jaxgen.app import sampling
from jaxgen.app.cli import main
from jaxgen.app.opening import Opened
from jaxgen.app.runs import RunFolder
from jaxgen.app.sample_files import plain_name, remove_samples, write_samples
from jaxgen.app.sample_request import Request, apply_request, class_numbers, covariate_values
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Run, find
from jaxgen.facts import Facts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known(Facts):
    classes: tuple[str, ...] = ("dark", "bright", "no tumour, old")

    @property
    def values(self):
        return {"classes": list(self.classes)}


CLASSES = Known().classes


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["bright"], [1]),
        (["1,0"], [1, 0]),
        (["bright, dark", "bright"], [1, 0, 1]),
        (["no tumour, old"], [2]),
        (["2"], [2]),
    ],
)
def test_classes_by_name_and_by_number(words, numbers):
    assert class_numbers(words, CLASSES) == numbers


def test_a_number_that_is_a_name_is_that_class():
    assert class_numbers(["7,3"], ["3", "7"]) == [1, 0]


@pytest.mark.parametrize("word", ["brigt", "3", "-1", "", "dark,unknown", "1.0"])
def test_unknown_classes_are_refused_with_those_known(word):
    with pytest.raises(UserError, match=r"--label .*knows dark \(0\), bright \(1\)") as caught:
        class_numbers([word], ["dark", "bright"])
    assert "\n" not in str(caught.value)


def test_labels_of_a_run_without_classes_are_refused():
    with pytest.raises(UserError, match="without labels"):
        class_numbers(["0"], [])


def asked(name, n=4, **request):
    experiment = find(name)
    return apply_request(Request(**request), experiment, Run(experiment.presets["smoke"], Known()), n)


def test_what_is_asked_for_reaches_the_configuration():
    config, keywords = asked("ddpm", sampler="heun", steps=7)
    assert (config.sampler, config.sampler_steps, keywords) == ("heun", 7, {})
    config, keywords = asked("guidance", n=5, label=("bright,0",), guidance=2.5)
    assert config.scales == (2.5,)
    assert keywords["label"].tolist() == [1, 0, 1, 0, 1]
    config, _ = asked("sampler_speed", sampler="ddim", steps=9)
    assert (config.samplers, config.evaluations) == (("ddim",), (9,))
    config, keywords = asked("text_to_image", prompt=("left nodule", ""), guidance=4.0)
    assert (config.guidance, keywords) == (4.0, {"prompt": ("left nodule", "")})
    config, keywords = asked("controlnet", control=("a.png", "b.png"), strength=0.5)
    assert (config.strength, keywords) == (0.5, {"control": ("a.png", "b.png")})
    assert asked("ddpm") == (find("ddpm").presets["smoke"], {})


@pytest.mark.parametrize(
    ("name", "request_", "words"),
    [
        (
            "ddpm",
            {"guidance": 2.0},
            "--guidance: samples of ddpm have no such choice; they know --n, --seed",
        ),
        ("vae", {"steps": 3}, "--steps: samples of vae"),
        ("ddpm", {"prompt": ("left nodule",)}, "--prompt: samples of ddpm have no such choice"),
        ("text_to_image", {"control": ("a.png",)}, "--control: samples of text_to_image have no such choice"),
        ("controlnet", {"strength": -1.0}, "--strength must be at least 0"),
        ("conditional_gan", {"sampler": "ddim"}, "they know --n, --seed, --label"),
        ("ddpm", {"sampler": "ddimm"}, "did you mean 'ddim'"),
        ("ddpm", {"steps": 20_000}, "--steps must be at most"),
        ("guidance", {"guidance": -1.0}, "--guidance must be at least 0"),
        ("flow_matching", {"sampler": "ddim"}, "--sampler must be one of euler"),
    ],
)
def test_what_does_not_apply_is_one_line(name, request_, words):
    with pytest.raises(UserError) as caught:
        asked(name, **request_)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unconditional_flow_takes_no_label():
    experiment = find("normalizing_flow")
    config = dataclasses.replace(experiment.presets["smoke"], conditional=False)
    with pytest.raises(UserError, match="--conditional"):
        experiment.sample(Run(config, Known()), 2, label=np.zeros(2, int))


# Files


def test_images_become_png_with_their_classes(tmp_path):
    x = np.linspace(-1, 1, 2 * 3 * 4).reshape(2, 3, 4, 1)
    assert write_samples(tmp_path, "sample", x, label=np.array([1, 0]), label_names=["a b", "../é/c"]) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sample_000_c.png", "sample_001_a-b.png"]
    pixels = np.asarray(PIL.Image.open(tmp_path / "sample_001_a-b.png"))
    assert (pixels.dtype, pixels.shape) == (np.uint8, (3, 4))
    np.testing.assert_array_equal(pixels, np.round((x[1, ..., 0] + 1) * 127.5))


def test_colour_out_of_range_and_nan_are_written_as_they_look(tmp_path):
    x = np.array([-3.0, 3.0, np.nan]).repeat(4).reshape(3, 2, 2, 1).repeat(3, -1)
    write_samples(tmp_path, "sample", x)
    seen = [np.asarray(PIL.Image.open(tmp_path / f"sample_00{i}.png")) for i in range(3)]
    assert [pixels.shape for pixels in seen] == [(2, 2, 3)] * 3
    assert [int(pixels.max()) for pixels in seen] == [0, 255, 0]


def test_maps_and_several_channels(tmp_path):
    assert write_samples(tmp_path, "distance_0", np.zeros((2, 5, 5))) == 2
    assert write_samples(tmp_path, "two", np.zeros((1, 5, 5, 2))) == 2
    assert (tmp_path / "two_000_1.png").is_file()


def test_volumes_become_nifti_in_the_values_trained_on(tmp_path):
    x = np.linspace(-1, 1, 24).reshape(1, 2, 3, 4, 1)
    write_samples(tmp_path, "sample", x, spatial=3, value_range=[[-1000.0], [3000.0]])
    volume = nibabel.Nifti1Image.from_bytes(gzip.decompress((tmp_path / "sample_000.nii.gz").read_bytes()))
    np.testing.assert_allclose(volume.get_fdata(), 2000 * x[0, ..., 0] + 1000, rtol=1e-5, atol=1e-3)


def test_old_samples_go_and_other_files_stay(tmp_path):
    write_samples(tmp_path, "sample", np.zeros((3, 2, 2, 1)))
    for name in ("mine.png", "samples.npz", "sample_1.png", "notes_001.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "figures").mkdir()
    remove_samples(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "figures",
        "mine.png",
        "notes_001.txt",
        "sample_1.png",
        "samples.npz",
    ]


@pytest.mark.parametrize("text", ["..", "a/b", "a\\b", "x" * 300, "\u202eabc", "\n", "名"])
def test_a_label_is_never_a_path(text):
    assert 0 < len(plain_name(text)) <= 40
    assert not set(plain_name(text)) & set("/\\.\n\u202e")


# The command


@pytest.fixture
def drawer(tmp_path, monkeypatch):
    """A run of the conditional GAN whose generator draws its labels; reading data is an error."""

    def draws(run, n, label=None):
        import jax

        label = np.arange(n) % 3 if label is None else label
        x = np.asarray(jax.random.uniform(run.key, (n, 4, 4, 1)))
        arrays = {"images": x, "label": label, "label_names": np.array(run.facts.classes)}
        return Evaluation({"images": n}, {}, f"{n} images", arrays=arrays, images=("images",))

    def no_data(config):
        raise AssertionError("samples need no data")

    experiment = find("conditional_gan")._replace(sample=draws, load=no_data)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    opened = Opened(folder, experiment, Run(experiment.presets["smoke"], Known()))
    monkeypatch.setattr(sampling, "open_trained", lambda path: opened)
    return folder.path


def test_sample_writes_files_and_label_names(drawer, capsys):
    assert main(["sample", str(drawer), "--n", "4", "--label", "bright", "--label", "0"]) == 0
    out = drawer / "samples"
    pictures = sorted(file.name for file in out.glob("*.png"))
    assert pictures == [f"sample_00{i}_{name}.png" for i, name in enumerate(["bright", "dark"] * 2)]
    held = np.load(out / "samples.npz")
    assert held["label"].tolist() == [1, 0, 1, 0]
    assert tuple(held["label_names"]) == CLASSES
    assert held["images"].dtype.kind == "f"
    assert main(["sample", str(drawer), "--n", "1"]) == 0
    assert [file.name for file in out.glob("*.png")] == ["sample_000_dark.png"]


def test_the_same_seed_gives_the_same_samples(drawer, tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main(["sample", str(drawer), "--n", "2", "--seed", seed, "--out", str(tmp_path / name)]) == 0
    a, b, c = (np.load(tmp_path / name / "samples.npz")["images"] for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_a_request_that_fails_leaves_no_folder(drawer, capsys):
    for flags in (["--label", "x"], ["--guidance", "2"], ["--sampler", "ddim"], ["--steps", "3"]):
        assert main(["sample", str(drawer), *flags]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (drawer / "samples").exists()


@dataclasses.dataclass(frozen=True, kw_only=True)
class WithCovariates(Facts):
    covariates: tuple[str, ...] = ("age", "sex", "ventricles")
    covariate_range: tuple[tuple[float, ...], ...] = ((44.0, 0.0, 0.4), (82.0, 1.0, 2.0))


def test_covariates_by_name():
    assert covariate_values(["age=70, ventricles=0.8"], WithCovariates()) == {"age": 70.0, "ventricles": 0.8}
    assert covariate_values(["age=44", "sex=1"], WithCovariates()) == {"age": 44.0, "sex": 1.0}
    experiment = find("brain_ldm")
    run = Run(experiment.presets["smoke"], WithCovariates())
    config, keywords = apply_request(Request(covariates=("sex=0",), guidance=4.0), experiment, run, 3)
    assert (config.guidance, keywords) == (4.0, {"covariates": {"sex": 0.0}})


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("agee=70", "--covariates agee=70: no such covariate; the run knows age from 44 to 82, sex from 0 to 1, "),
        ("agee=70", "did you mean 'age'?"),
        ("age=90", "--covariates age=90: outside of the training data; the run knows age from 44 to 82"),
        ("age=nan", "outside of the training data"),
        ("age", "--covariates age: write name=number"),
        ("age=old", "write name=number"),
        ("age=50,age=60", "age is given twice"),
        ("", "write name=number"),
    ],
)
def test_wrong_covariates_are_refused_with_the_right_ones(word, message):
    with pytest.raises(UserError) as caught:
        covariate_values([word], WithCovariates())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_covariates_of_a_run_without_them_are_refused():
    with pytest.raises(UserError, match="without covariates"):
        covariate_values(["age=1"], Known())
