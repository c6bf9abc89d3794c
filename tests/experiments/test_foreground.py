"""``--foreground``, from the words of the command line to the masks, in each experiment that has it."""

import dataclasses

import numpy as np
import PIL.Image
import pytest

from experiments.anomaly import anomaly_counterfactual, anomaly_diffusion, anomaly_gan, anomaly_latent, anomaly_patch
from experiments.segmentation import flow_sdf
from jaxgen.app.cli import main
from jaxgen.config import Parser, add_options, from_dict, override, to_dict
from jaxgen.errors import UserError

EXPERIMENTS = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (flow_sdf, anomaly_diffusion, anomaly_patch, anomaly_latent, anomaly_gan, anomaly_counterfactual)
}
RNG = np.random.default_rng(0)
N = 40


def label_map(i):
    """Background and label 1 everywhere; label 2 in every other image."""
    values = np.zeros((64, 64), np.uint8)
    values[4:20, 4:20], values[30:40, 30:40] = 1, 2 * (i % 2)
    return values


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("maps")
    images = RNG.integers(1, 255, (N, 64, 64)).astype(np.uint8)
    maps = np.stack([label_map(i) for i in range(N)])
    for kind, arrays in (("images", images), ("masks", maps)):
        (root / "folder" / kind).mkdir(parents=True)
        for i, array in enumerate(arrays):
            PIL.Image.fromarray(array).save(root / "folder" / kind / f"{i}.png")
    np.savez(root / "set.npz", images=images, masks=maps)
    labels = np.array(["notumor", "tumor"])[np.arange(N) % 2]
    np.savez(root / "labelled.npz", images=images, masks=maps, labels=labels)
    return root


def configured(name, *words):
    """The configuration of these words of the command line, saved and read again as a run does."""
    preset = EXPERIMENTS[name].presets["smoke"]
    parser = Parser(prog="jaxgen run")
    add_options(parser, preset)
    config = override(preset, parser.parse(words))
    assert from_dict(type(config), to_dict(config)) == config
    return config


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("form", ["folder", "set.npz"])
def test_a_value_chosen_on_the_command_line(name, form, data):
    form = "labelled.npz" if name == "anomaly_counterfactual" else form
    config = configured(name, "--data", str(data / form), "--foreground", "2")
    splits = EXPERIMENTS[name].load(config)
    for part in splits[:3]:
        for i in range(len(part)):
            number = int(part.names[i])
            assert (part[i]["mask"] == (label_map(number) == 2)).all()
            healthy_only = name not in ("flow_sdf", "anomaly_counterfactual") and part is not splits.test
            assert not healthy_only or number % 2 == 0, "label 1 alone is healthy where label 2 is the lesion"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_the_error_advises_is_taken(name, data):
    form = "labelled.npz" if name == "anomaly_counterfactual" else "folder"
    config = configured(name, "--data", str(data / form))
    with pytest.raises(UserError, match=r"values \(0, 1, 2\).*--foreground \(any, or one of the values\)"):
        EXPERIMENTS[name].load(config)
    config = dataclasses.replace(config, foreground=3)
    with pytest.raises(UserError, match=r"--foreground 3: no mask of .* \(they have 0, 1, 2\)"):
        EXPERIMENTS[name].load(config)


@pytest.mark.parametrize("words", [["0"], ["-1"], ["1.5"], [""], ["soft"]])
def test_what_is_no_foreground(words, data, tmp_path, capsys):
    flags = ["--data", str(data / "folder"), "--workdir", str(tmp_path / "run"), "--foreground", *words]
    assert main(["run", "flow_sdf", "--preset", "smoke", *flags]) == 2
    err = capsys.readouterr().err
    assert "--foreground" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_help_says_what_it_takes(capsys):
    assert main(["run", "flow_sdf", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "binary (masks have one value besides 0), any (all but 0), a number from 1" in said


def test_patients_of_a_folder_each(tmp_path):
    """Lesions of several kinds: the flag chooses one."""
    for k in range(3):
        volume, lesion = RNG.random((64, 64, 20)).astype(np.float32), np.zeros((64, 64, 20), np.uint8)
        lesion[5:9, 5:9, :5], lesion[20:25, 20:25, 10:12] = 1, 2
        np.savez(tmp_path / f"p{k}.npz", volume=volume, lesion=lesion)
    load = EXPERIMENTS["anomaly_diffusion"].load
    for words, marked in ((["--foreground", "2"], 2), ([], 7), (["--foreground", "any"], 7)):
        splits = load(configured("anomaly_diffusion", "--data", str(tmp_path), *words))
        assert sum(bool(splits.test[i]["mask"].any()) for i in range(len(splits.test))) == marked
    with pytest.raises(UserError, match=r"--foreground 5: no mask of .* \(they have 0, 1, 2\)"):
        load(configured("anomaly_diffusion", "--data", str(tmp_path), "--foreground", "5"))
