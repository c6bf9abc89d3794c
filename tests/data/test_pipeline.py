import numpy as np
import pytest

from jaxgen.data.pipeline import Feed, permutation
from jaxgen.data.source import ArraySource, Subset
from jaxgen.errors import UserError


class Counting:
    """A source that decodes: it knows what was read, and is not an ArraySource."""

    def __init__(self, n, shape=(3,), sizes=None):
        self.n, self.shape, self.sizes, self.reads = n, shape, sizes, []

    @property
    def names(self):
        return [f"example {i}" for i in range(self.n)]

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.reads.append(i)
        shape = self.shape if self.sizes is None else (self.sizes[i],)
        return {"image": np.full(shape, i, np.float32), "label": np.int32(i)}


def numbers(n):
    return ArraySource({"label": np.arange(n)})


@pytest.mark.parametrize(("n", "batch"), [(10, 3), (7, 7), (3, 8), (1, 4), (100, 10)])
def test_every_epoch_is_a_permutation(n, batch):
    order = Feed(numbers(n), batch, seed=5).indices(4 * n).ravel()
    epochs = order[: len(order) // n * n].reshape(-1, n)
    assert (np.sort(epochs, axis=1) == np.arange(n)).all()
    if n >= 10:
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_order_is_a_function_of_the_seed():
    a, b, c = (Feed(numbers(50), 8, seed=seed).indices(20) for seed in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()
    assert a.dtype == np.int32
    assert a.shape == (20, 8)


def test_order_never_changes():
    """Written down: a run must resume in the same order with every later version."""
    assert permutation(0, 0, 10).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    assert permutation(7, 3, 10).tolist() == [5, 0, 6, 9, 8, 7, 4, 2, 3, 1]


def test_places_are_equally_likely():
    """Each example comes first equally often over epochs: a chi-square of 9 degrees below its 99.9 % point."""
    first = np.array([permutation(3, epoch, 10)[0] for epoch in range(2000)])
    counts = np.bincount(first, minlength=10)
    assert ((counts - 200.0) ** 2 / 200.0).sum() < 27.9


@pytest.mark.parametrize("source", [numbers(23), Counting(23)], ids=["arrays", "decoded"])
def test_seek_equals_stream(source):
    feed = Feed(source, 5, seed=0)
    stream = [next(feed)["label"].copy() for _ in range(12)]
    assert feed.position == 12
    for position in (7, 0, 11, 3):
        feed.seek(position)
        assert (next(feed)["label"] == stream[position]).all()
        assert feed.position == position + 1
    feed.seek(4)
    assert (feed.indices(3) == np.stack(stream[4:7])).all()
    assert (next(feed)["label"] == stream[7]).all()
    feed.close()


def test_seek_far_costs_little():
    feed = Feed(numbers(1000), 10, seed=0)
    feed.seek(10**12)
    assert next(feed)["label"].shape == (10,)


@pytest.mark.parametrize("make", [numbers, Counting], ids=["arrays", "decoded"])
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_same_global_batches(make, processes):
    whole = Feed(make(11), 8, seed=9)
    parts = [Feed(make(11), 8, seed=9, process_index=p, process_count=processes) for p in range(processes)]
    for _ in range(5):
        together = np.concatenate([next(part)["label"] for part in parts])
        assert (together == next(whole)["label"]).all()
    together = np.concatenate([part.indices(3) for part in parts], axis=1)
    assert (together == whole.indices(3)).all()
    for feed in (whole, *parts):
        feed.close()


def test_decoded_batches_hold_the_examples_of_indices():
    feed = Feed(Counting(17), 6, seed=2, workers=3)
    expected = feed.peek(8)
    for row in expected:
        batch = next(feed)
        assert (batch["label"] == row).all()
        assert (batch["image"] == row[:, None]).all()
    feed.close()


def test_reading_ahead_is_bounded():
    source = Counting(1000)
    feed = Feed(source, 4, seed=0, workers=2)
    for _ in range(3):
        next(feed)
    assert 12 <= len(source.reads) <= 12 + 2 * 4 + 2 * 2 + 2
    feed.close()


def test_transform_depends_on_the_place_alone():
    def crop(rng, example):
        start = rng.integers(0, 3)
        return {"image": example["image"][start : start + 4], "start": np.int32(start)}

    def feed(**kwargs):
        return Feed(Counting(9, sizes=[6 + i for i in range(9)]), 4, seed=1, transform=crop, **kwargs)

    whole = feed()
    stream = [next(whole) for _ in range(5)]
    assert stream[0]["image"].shape == (4, 4)
    assert len({int(s) for b in stream for s in b["start"]}) == 3
    again = feed()
    again.seek(3)
    assert (next(again)["start"] == stream[3]["start"]).all()
    halves = [feed(process_index=p, process_count=2) for p in range(2)]
    assert (np.concatenate([next(half)["start"] for half in halves]) == stream[0]["start"]).all()
    for f in (whole, again, *halves):
        f.close()


def test_arrays():
    decoded = Counting(5)
    feed = Feed(decoded, 2, seed=0)
    arrays = feed.arrays(10**6)
    assert (arrays["label"] == np.arange(5)).all()
    assert (arrays["image"] == np.arange(5)[:, None]).all()
    assert Feed(numbers(5), 2, seed=0).arrays(10**6)["label"].tolist() == [0, 1, 2, 3, 4]
    assert Feed(numbers(5), 2, seed=0).arrays(8) is None
    decoded.reads.clear()
    assert feed.arrays(10**6) is arrays
    assert decoded.reads == [], "read once for all stages"
    assert Feed(decoded, 2, seed=0).arrays(5 * (12 + 4) - 1) is None
    assert decoded.reads == [0], "a large set is not read to learn that it is large"
    assert Feed(Counting(3, sizes=[4, 4, 5]), 2, seed=0).arrays(10**6) is None
    assert Feed(Counting(3), 2, seed=0, transform=lambda rng, e: e).arrays(10**6) is None


def test_different_sizes_name_the_example():
    with pytest.raises(UserError, match=r"example \d: image of size \d, but that of example \d is \d; .*crops"):
        next(Feed(Counting(4, sizes=[4, 5, 6, 7]), 4, seed=0))


def test_an_error_while_decoding_reaches_the_caller():
    class Broken(Counting):
        def __getitem__(self, i):
            if i == 2:
                raise UserError("b.png: broken; take it out")
            return super().__getitem__(i)

    with pytest.raises(UserError, match=r"b\.png: broken"):
        next(Feed(Broken(4), 4, seed=0))


def test_wrong_sizes_are_refused():
    with pytest.raises(UserError, match=r"--batch-size 6: .* 4 processes"):
        Feed(numbers(9), 6, seed=0, process_count=4)
    with pytest.raises(ValueError, match="at least one example"):
        Feed(Subset(numbers(3), []), 2, seed=0)
    with pytest.raises(ValueError, match="batch size 0"):
        Feed(numbers(3), 0, seed=0)
    with pytest.raises(ValueError, match="negative"):
        Feed(numbers(3), 1, seed=0).seek(-1)
