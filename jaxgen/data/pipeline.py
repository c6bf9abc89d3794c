"""Batches for ever, in an order that is a pure function of the seed: resumable, and the same for any process count."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxgen.data.source import ArraySource, Example, Source, stack
from jaxgen.errors import UserError

Transform = Callable[[np.random.Generator, Example], Example]


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """A random order of n examples for one epoch.

    The sort order of raw counter-based random words: unlike `numpy.random.Generator.permutation` their stream never
    changes between NumPy versions, so a run resumes in the same order years later.

    Args:
        seed: of the run.
        epoch: from 0.
        n: number of examples.

    Returns:
        [n] int64, each of 0 to n - 1 once.

    Reference:
        Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011), the Philox generator.

    Example:
        >>> sorted(permutation(0, 3, 5).tolist())
        [0, 1, 2, 3, 4]
    """
    words = np.random.Philox(key=(seed % 2**64) << 64 | epoch).random_raw(n)
    return np.argsort(words, kind="stable")


class Feed:
    """Batches of a source: a new order each epoch, repeated without end, batches running on over the end of an epoch.

    Place g of the global order is ``permutation(seed, g // n, n)[g % n]``; global batch k is places k B to
    (k + 1) B - 1, and process p of P gets its p-th of P equal slices. So all processes together see the same examples
    whatever P is, and `seek` costs one permutation at most. (The order is computed here and not by grain's shuffle,
    which takes 0.2 ms an index: too slow for scanning many steps of a small model in one call. Grain reads ahead in
    threads.)

    Args:
        source: where the examples come from.
        batch_size: examples of a global batch, over all processes.
        seed: of the order.
        process_index: which process this is.
        process_count: how many there are.
        workers: threads that decode ahead; 0 chooses by the number of cores.
        transform: ``transform(rng, example) -> example`` on the host before stacking, such as a random crop of images
            of different sizes; `rng` depends on the seed and the place alone.

    Raises:
        UserError: if the batch size cannot be shared equally by the processes.
        ValueError: if there are no examples, or the batch size or process index is out of range.

    Example:
        >>> feed = Feed(ArraySource({"label": np.arange(10)}), 4, seed=1)
        >>> first = next(feed)["label"]
        >>> feed.position
        1
        >>> feed.seek(0)
        >>> bool((next(feed)["label"] == first).all())
        True
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
        workers: int = 0,
        transform: Transform | None = None,
    ) -> None:
        if len(source) == 0:
            raise ValueError("a feed needs at least one example")
        if batch_size < 1 or not 0 <= process_index < process_count:
            raise ValueError(f"batch size {batch_size}, process {process_index} of {process_count}")
        if batch_size % process_count:
            raise UserError(
                f"--batch-size {batch_size}: cannot be shared equally by {process_count} processes; "
                f"choose a multiple of {process_count}"
            )
        self._source, self._seed, self._transform = source, seed, transform
        self._batch, self._local = batch_size, batch_size // process_count
        self._process = process_index
        self._workers = workers or min(16, 2 * (os.cpu_count() or 1))
        self._position = 0
        self._iterator: Any = None
        self._epochs: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()
        self._names: Any = None
        self._whole: dict[str, np.ndarray] | None = None

    @property
    def position(self) -> int:
        """The number of batches handed out since the start of the order."""
        return self._position

    def seek(self, position: int) -> None:
        """Go to a place in the order; the next batch is batch `position`.

        Args:
            position: from 0.

        Raises:
            ValueError: if it is negative.
        """
        if position < 0:
            raise ValueError(f"position {position} is negative")
        if position != self._position:
            self._position = position
            self.close()

    def indices(self, count: int) -> np.ndarray:
        """The examples of the next batches, for gathering on the device.

        Args:
            count: how many batches; the position advances by as many.

        Returns:
            int32 [count, local_batch], indices into the source.
        """
        result = self.peek(count)
        self.seek(self._position + count)
        return result

    def peek(self, count: int = 1) -> np.ndarray:
        """As `indices`, without advancing."""
        batch = np.arange(self._position, self._position + count)[:, None]
        return self._example(self._place(batch, np.arange(self._local)[None])).astype(np.int32)

    def arrays(self, max_bytes: int) -> dict[str, np.ndarray] | None:
        """The whole source in memory, if it is small, of one size, and not transformed on the host.

        Args:
            max_bytes: how large it may be.

        Returns:
            Arrays [n, ...], or None.
        """
        if self._transform is not None:
            return None
        if isinstance(self._source, ArraySource):
            held = self._source.arrays
            return held if sum(a.nbytes for a in held.values()) <= max_bytes else None
        if self._whole is not None:
            return self._whole if sum(a.nbytes for a in self._whole.values()) <= max_bytes else None
        n = len(self._source)
        first = self._source[0]
        if n * sum(np.asarray(a).nbytes for a in first.values()) > max_bytes:
            return None
        whole = {k: np.empty((n, *np.shape(a)), np.asarray(a).dtype) for k, a in first.items()}
        for i in range(n):
            example = self._source[i]
            for key, array in example.items():
                if np.shape(array) != whole[key].shape[1:]:
                    return None
                if np.asarray(array).dtype != whole[key].dtype:
                    whole[key] = whole[key].astype(np.result_type(whole[key], array))
                whole[key][i] = array
        self._whole = whole
        return whole

    def __iter__(self) -> Iterator[Example]:
        return self

    def __next__(self) -> Example:
        if isinstance(self._source, ArraySource) and self._transform is None:
            chosen = self.peek()[0]
            batch = {key: array[chosen] for key, array in self._source.arrays.items()}
        else:
            if self._iterator is None:
                self._iterator = self._reader()
            numbers, examples = zip(*(next(self._iterator) for _ in range(self._local)), strict=True)
            if self._names is None:
                self._names = self._source.names
            batch = stack(examples, [self._names[i] for i in numbers])
        self._position += 1
        return batch

    def close(self) -> None:
        """Stop reading ahead; the next batch starts it again."""
        iterator, self._iterator = self._iterator, None
        if hasattr(iterator, "close"):
            iterator.close()

    def _reader(self) -> Iterator[tuple[int, Example]]:
        import grain  # takes seconds to import, and is not needed for sets in memory

        places = grain.MapDataset.range(self._position * self._local, sys.maxsize // 2)
        options = grain.ReadOptions(num_threads=self._workers, prefetch_buffer_size=max(self._workers, 2 * self._local))
        return iter(places.map(self._read).to_iter_dataset(options))

    def _read(self, place: int) -> tuple[int, Example]:
        """The example at a place of this process's own order."""
        batch, slot = divmod(int(place), self._local)
        place = int(self._place(np.asarray(batch), np.asarray(slot)))
        number = int(self._example(np.asarray(place)))
        example = self._source[number]
        if self._transform is not None:
            example = self._transform(np.random.default_rng([self._seed % 2**64, place]), example)
        return number, example

    def _place(self, batch: np.ndarray, slot: np.ndarray) -> np.ndarray:
        return batch * self._batch + self._process * self._local + slot

    def _example(self, place: np.ndarray) -> np.ndarray:
        epoch, within = np.divmod(place, len(self._source))
        result = np.empty(place.shape, np.int64)
        for e in np.unique(epoch):
            here = epoch == e
            result[here] = self._order(int(e))[within[here]]
        return result

    def _order(self, epoch: int) -> np.ndarray:
        with self._lock:
            if epoch not in self._epochs:
                while len(self._epochs) >= 4:
                    self._epochs.pop(next(iter(self._epochs)))
                self._epochs[epoch] = permutation(self._seed, epoch, len(self._source))
            return self._epochs[epoch]
