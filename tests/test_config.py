import dataclasses
import json
from typing import Literal

import pytest

from jaxgen import config as cfg
from jaxgen.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(cfg.RunConfig):
    width: int = cfg.option(32, "channels", ge=1, le=4096)
    dropout: float = cfg.option(0.1, "dropout rate, 10% by default", ge=0, lt=1)
    augment: bool = cfg.option(True, "flip at random")
    kind: Literal["flow", "unet"] = cfg.option("flow", "which model")
    levels: tuple[int, ...] = cfg.option((32, 64), "channels a level", ge=1)
    betas: tuple[float, float] = cfg.option((0.9, 0.99), "adam", ge=0, lt=1)
    limit: int | None = cfg.option(None, "at most so many examples", ge=1)
    scale: float | None = cfg.option(None, "scale", gt=0)
    side: int = cfg.option(64, "pixels", choices=(64, 128))


def parse(*argv, config=None):
    config = config or Toy()
    parser = cfg.Parser(prog="jaxgen run toy")
    cfg.add_options(parser, config)
    return cfg.override(config, parser.parse(list(argv)))


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--width", "8"], "width", 8),
        (["--width=8"], "width", 8),
        (["--steps", "1e3"], "steps", 1000),
        (["--dropout", "0"], "dropout", 0.0),
        (["--no-augment"], "augment", False),
        (["--augment"], "augment", True),
        (["--kind", "unet"], "kind", "unet"),
        (["--levels", "8,16,16"], "levels", (8, 16, 16)),
        (["--levels", "8,"], "levels", (8,)),
        (["--betas", "0.5,0.6"], "betas", (0.5, 0.6)),
        (["--limit", "3"], "limit", 3),
        (["--limit", "none"], "limit", None),
        (["--scale", "2"], "scale", 2.0),
        (["--side", "128"], "side", 128),
        (["--data", "日本 語/データ"], "data", "日本 語/データ"),
        (["--width", "8", "--width", "9"], "width", 9),
    ],
)
def test_a_flag_sets_its_field(argv, name, value):
    config = parse(*argv)
    assert getattr(config, name) == value
    assert type(getattr(config, name)) is type(value)
    assert set(cfg.diff(Toy(), config)) <= {name}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--steps", "-3"], "--steps must be at least 1, got -3"),
        (["--steps", "1.5"], "--steps must be a whole number, got '1.5'"),
        (["--steps", "ten"], "--steps must be a whole number, got 'ten'"),
        (["--steps", "nan"], "--steps must be a whole number, got 'nan'"),
        (["--steps", "inf"], "--steps must be a whole number, got 'inf'"),
        (["--steps", ""], "--steps must be a whole number, got ''"),
        (["--steps"], "--steps needs a value"),
        (["--learning-rate", "nan"], "--learning-rate must be a finite number, got nan"),
        (["--learning-rate", "inf"], "--learning-rate must be a finite number, got inf"),
        (["--learning-rate", "0"], "--learning-rate must be greater than 0, got 0.0"),
        (["--dropout", "1"], "--dropout must be less than 1, got 1.0"),
        (["--width", "5000"], "--width must be at most 4096, got 5000"),
        (["--levels", "8,0"], "--levels must be at least 1, got 0"),
        (["--levels", "8,x"], "--levels must be whole numbers separated by commas, got 'x'"),
        (["--levels", ""], "--levels needs at least one value"),
        (["--betas", "0.5"], "--betas needs 2 values separated by commas, got '0.5'"),
        (["--betas", "0.5,nan"], "--betas must be a finite number, got nan"),
        (["--kind", "flwo"], "--kind must be one of flow, unet, got 'flwo'; did you mean 'flow'?"),
        (["--side", "65"], "--side must be one of 64, 128, got 65"),
        (["--limit", "0"], "--limit must be at least 1, got 0"),
        (["--stepz", "3"], "unknown flag --stepz; did you mean '--steps'?"),
        (["--step", "3"], "unknown flag --step; did you mean '--steps'?"),
        (["--no-augmnet"], "unknown flag --no-augmnet; did you mean '--no-augment'?"),
        (["--zebra=4"], "unknown flag --zebra (see"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_a_wrong_flag_is_one_line_that_names_it(argv, words):
    with pytest.raises(UserError) as error:
        parse(*argv)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("steps", True, "--steps must be a whole number"),
        ("steps", 1.0, "--steps must be a whole number"),
        ("augment", 1, "--augment must be true or false"),
        ("learning_rate", float("nan"), "--learning-rate must be a finite number"),
        ("learning_rate", 10**400, "--learning-rate must be a finite number"),
        ("levels", "8", "--levels must be whole numbers separated by commas"),
        ("data", None, "--data must be text, got None"),
        ("schedule", "stepwise", "--schedule must be one of cosine, constant, linear"),
    ],
)
def test_a_config_made_in_python_is_checked_too(field, value, words):
    with pytest.raises(UserError, match=words):
        Toy(**{field: value})


def test_a_config_survives_json():
    config = Toy(levels=(1, 2, 3), limit=4, scale=None, learning_rate=1 / 3, data="ü")
    again = cfg.from_dict(Toy, json.loads(json.dumps(cfg.to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)


def test_an_unknown_field_in_json_is_named():
    with pytest.raises(UserError, match="'widht'; did you mean 'width'"):
        cfg.from_dict(Toy, {"widht": 3})


def test_diff_lists_what_differs():
    assert cfg.diff(Toy(), Toy(width=8, levels=(4,))) == {"width": (32, 8), "levels": ([32, 64], [4])}
    assert cfg.diff(Toy(), Toy()) == {}


def test_a_preset_is_chosen_by_name_and_a_misspelt_one_names_the_nearest():
    presets = {"smoke": Toy(width=1), "small": Toy(width=2), "full": Toy(width=3)}
    assert cfg.choose_preset(presets, None) == ("small", presets["small"])
    assert cfg.choose_preset(presets, "full")[1].width == 3
    assert cfg.choose_preset({"only": Toy()}, None)[0] == "only"
    with pytest.raises(UserError, match=r"--preset: there is no preset 'smal'; did you mean 'small'\?"):
        cfg.choose_preset(presets, "smal")


def test_help_lists_every_flag_with_the_defaults_of_the_preset():
    parser = cfg.Parser(prog="jaxgen run toy")
    cfg.add_options(parser, Toy(width=77, levels=(5, 6)), title="toy")
    text = parser.format_help()
    for field in dataclasses.fields(Toy):
        assert cfg.flag(field.name) in text
        assert field.metadata["help"].split()[0] in text
    assert "default: 77" in text
    assert "default: 5,6" in text
    assert "10% by default" in text
    assert text.index("toy:") < text.index("training:")


TABLE = {"euler": 1, "heun": 2, "ddim": 3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfTask(cfg.RunConfig):
    size: int = cfg.option(64, "pixels", ge=1, group="data")
    drop: float = cfg.option(0.1, "share dropped", ge=0, lt=1, group="network")
    least: int = cfg.option(8, "images", ge=4, group="evaluation")


OfTask.__module__ = "jaxgen.tasks.some"


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfRecipe(OfTask):
    sampler: str = cfg.option("euler", "how", choices=TABLE, group="sampling")
    samplers: tuple[str, ...] = cfg.option(("euler", "heun"), "several", choices=TABLE)
    evaluations: tuple[int, ...] = cfg.option((4,), "how many", ge=1, le=10_000)


def helped():
    parser = cfg.Parser(prog="x")
    cfg.add_options(parser, OfRecipe(), title="recipe")
    return parser, parser.format_help()


def test_help_begins_with_the_own_flags_then_those_of_the_task_then_those_of_every_run():
    _, text = helped()
    own, task = ["sampler", "samplers", "evaluations"], ["drop", "least"]
    shared = ["data", "seed", "size", "steps", "learning_rate", "precision", "devices", "checkpoint_every"]
    places = [text.index(f"  {cfg.flag(name)} ") for name in (*own, *task, *shared)]
    assert places == sorted(places)
    heads = [line[:-1] for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads == [
        "options", "recipe: sampling", "recipe", "network", "evaluation", "data", "training", "speed", "saving"
    ]  # fmt: skip


def test_help_names_the_keys_of_a_table_and_only_narrow_bounds():
    _, text = helped()
    assert "--sampler {euler,heun,ddim}" in text
    assert "--samplers {euler,heun,ddim},..." in text
    assert "one of euler" not in text
    assert "--evaluations N,N,...         how many [default: 4]" in text
    assert "share dropped [>= 0; < 1; default: 0.1]" in text
    assert "images [>= 4; default: 8]" in text
    assert "training steps of each stage [default: 1000]" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sampler", "heum"], "--sampler must be one of euler, heun, ddim, got 'heum'; did you mean 'heun'?"),
        (["--samplers", "euler,dim"], "--samplers must be one of euler, heun, ddim, got 'dim'; did you mean 'ddim'?"),
    ],
)
def test_a_key_that_a_table_lacks_names_the_nearest(words, message):
    parser, _ = helped()
    with pytest.raises(UserError) as caught:
        cfg.override(OfRecipe(), parser.parse(words))
    assert str(caught.value) == message
    assert cfg.override(OfRecipe(), parser.parse(["--samplers", "ddim"])).samplers == ("ddim",)


def test_many_choices_are_folded_and_not_one_long_line():
    names = [f"sampler_number_{i}" for i in range(25)]

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Many(cfg.RunConfig):
        sampler: str = cfg.option(names[0], "how images are drawn", choices=names)

    parser = cfg.Parser(prog="x")
    cfg.add_options(parser, Many())
    text = parser.format_help()
    assert max(map(len, text.splitlines())) <= 110
    assert "--sampler NAME" in text
    assert all(name in text for name in names)


def test_the_old_name_of_a_flag_works_and_says_the_new_one(capsys):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Renamed(cfg.RunConfig):
        noise_std: float = cfg.option(1.0, "noise", formerly="deviation")
        mirror: bool = cfg.option(True, "mirror", formerly="flip")

    config = parse("--deviation", "2", "--no-flip", config=Renamed())
    assert (config.noise_std, config.mirror) == (2.0, False)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "jaxgen: note: --deviation is now called --noise-std",
        "jaxgen: note: --no-flip is now called --no-mirror",
    ]
    assert parse("--noise-std", "2", "--no-mirror", config=Renamed()) == config
    assert not capsys.readouterr().err


def test_names_on_offer():
    offered = ("ddim", "probability flow")
    assert cfg.chosen_name("--sampler", "probability flow", offered) == "probability flow"
    with pytest.raises(UserError, match=r"--sampler must be one of ddim, probability_flow, got 'ddmi'.*ddim"):
        cfg.chosen_name("--sampler", "ddmi", offered)
