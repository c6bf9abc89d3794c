import numpy as np
import pytest

from jaxgen.data.source import ArraySource, Source, Subset, assign_splits, stack
from jaxgen.errors import UserError


def test_array_source_and_subset_are_sources():
    source = ArraySource({"image": np.arange(12).reshape(3, 2, 2)}, names=["a", "b", "c"])
    part = Subset(source, [2, 0])
    assert isinstance(source, Source)
    assert isinstance(part, Source)
    assert (len(part), part.names) == (2, ["c", "a"])
    assert (part[0]["image"] == source[2]["image"]).all()
    held = ArraySource.from_source(part)
    assert held.names == ["c", "a"]
    assert (held.arrays["image"] == source.arrays["image"][[2, 0]]).all()
    assert ArraySource.from_source(source) is source


def test_unequal_arrays_are_refused():
    with pytest.raises(ValueError, match="same number"):
        ArraySource({"image": np.zeros(3), "mask": np.zeros(4)})
    with pytest.raises(ValueError, match="2 names"):
        ArraySource({"image": np.zeros(3)}, ["a", "b"])


def test_stack_names_the_odd_one():
    with pytest.raises(UserError, match="b: image of size 3, but that of a is 2"):
        stack([{"image": np.zeros(2)}, {"image": np.zeros(3)}], ["a", "b"])


@pytest.mark.parametrize("n", [3, 4, 7, 20, 334])
def test_splits_share_nothing_and_leave_nothing_out(n):
    names = [f"image {i}" for i in range(n)]
    parts = assign_splits(names, seed=0, where="x")
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(n))
    assert all(len(part) for part in parts.values())
    if n >= 20:
        assert abs(len(parts["train"]) / n - 0.7) < 0.02


def test_split_depends_on_names_and_seed_only():
    names = [f"{i}" for i in range(40)]
    parts = assign_splits(names, seed=1, where="x")
    test = {names[i] for i in parts["test"]}
    turned = assign_splits(names[::-1], seed=1, where="x")
    assert {names[::-1][i] for i in turned["test"]} == test
    assert {names[i] for i in assign_splits(names, seed=2, where="x")["test"]} != test


def test_groups_stay_together():
    groups = [f"patient {i // 4}" for i in range(40)]
    parts = assign_splits(groups, seed=0, where="x")
    held = [{groups[i] for i in part} for part in parts.values()]
    assert sum(len(h) for h in held) == len(set.union(*held)) == 10
