import pytest

from jaxgen import experiment
from jaxgen.errors import UserError


def test_built_in_experiments_carry_the_name_of_their_file():
    for name in experiment.names():
        assert experiment.find(name).name == name


def test_every_built_in_experiment_has_the_two_presets_that_the_readme_promises():
    for name in experiment.names():
        assert {"smoke", "small"} <= set(experiment.find(name).presets)


def test_a_users_file_is_loaded(toy_file):
    found = experiment.find(str(toy_file))
    assert (found.name, [stage.name for stage in found.stages]) == ("toy", ["constant", "logistic"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "it defines no EXPERIMENT"),
        ("def f(:", "line 1: invalid syntax"),
        ("EXPERIMENT = 3", "it defines no EXPERIMENT"),
        ("import zzz_no_such", "mine.py: line 1: No module named 'zzz_no_such'; install it"),
        ("x = 1\n\ny = z\n", "mine.py: line 3: NameError: name 'z' is not defined"),
        ("def f():\n    return 1 / 0\nx = f()\n", "mine.py: line 2: ZeroDivisionError: division by zero"),
        ("from jaxgen.config import RunConfig\nRunConfig(steps=0)", "mine.py: line 2: --steps must be at least 1"),
        (
            "from jaxgen.experiment import *\nn = None\nEXPERIMENT = Experiment('a', 'b', 'c', {}, n, (), n)",
            "has no presets",
        ),
        (
            "from jaxgen.experiment import *\nn = None\ns = StageSpec('a', n)\n"
            "EXPERIMENT = Experiment('a', 'b', 'c', {'small': n}, n, (s, s), n)",
            "two stages have the same name",
        ),
        (
            "from jaxgen.experiment import *\nn = None\ns = StageSpec('../a', n)\n"
            "EXPERIMENT = Experiment('a', 'b', 'c', {'small': n}, n, (s,), n)",
            "cannot name a folder",
        ),
    ],
)
def test_a_file_that_is_no_experiment_is_one_line(tmp_path, text, words):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        experiment.find(str(path))
    assert words in str(error.value)
    assert "mine.py" in str(error.value)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"nowhere\.py: there is no such file"):
        experiment.find("nowhere.py")
