"""Images of two kinds to translate between: pairs, or two sets that have nothing to do with each other."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.data import checks
from jaxgen.data.arrays import npz_headers
from jaxgen.data.everything import Joined
from jaxgen.data.loading import load
from jaxgen.data.source import ChangedSource, Example, Source, Splits, Subset
from jaxgen.errors import UserError

FOLDERS = ("source", "target")


class Domain(ChangedSource):
    """One of two kinds of images as images: examples whose ``image`` is that entry; but for targets, that alone.

    Args:
        source: examples with ``image`` and ``source``.
        entry: which of them.

    Example:
        >>> import numpy as np
        >>> from jaxgen.data.source import ArraySource
        >>> both = ArraySource({"image": np.zeros((1, 2, 2, 1)), "source": np.ones((1, 2, 2, 1))})
        >>> float(Domain(both, "source")[0]["image"].max()), sorted(Domain(both, "image")[0])
        (1.0, ['image'])
    """

    def __init__(self, source: Source, entry: str) -> None:
        super().__init__(source)
        self._entry = entry

    def __getitem__(self, i: int) -> Example:
        example = self._source[i]
        rest = {k: v for k, v in example.items() if self._entry == "image" and k != "source"}
        return rest | {"image": example[self._entry]}


class Held(ChangedSource):
    """The same examples, each read or computed once.

    Args:
        source: a few examples.

    Example:
        >>> import numpy as np
        >>> from jaxgen.data.source import ArraySource
        >>> held = Held(ArraySource({"label": np.arange(3)}))
        >>> held[1] is held[1]
        True
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._held: dict[int, Example] = {}

    def __getitem__(self, i: int) -> Example:
        if i not in self._held:
            self._held[i] = self._source[i]
        return self._held[i]


class Swapped(ChangedSource):
    """The same examples, translated the other way round."""

    def __getitem__(self, i: int) -> Example:
        example = self._source[i]
        return example | {"image": example["source"], "source": example["image"]}


class Pairs(ChangedSource):
    """Targets with their sources, from two sources of examples in the same order.

    Args:
        targets: examples with ``image``, and masks, which are kept.
        sources: examples with ``image``.
        where: of the data, for the message.

    Example:
        >>> import numpy as np
        >>> from jaxgen.data.source import ArraySource
        >>> x = np.zeros((1, 2, 2, 1))
        >>> sorted(Pairs(ArraySource({"image": x}), ArraySource({"image": x}), "here")[0])
        ['image', 'source']
    """

    def __init__(self, targets: Source, sources: Source, where: str) -> None:
        super().__init__(targets)
        self._sources, self._where = sources, where

    def __getitem__(self, i: int) -> Example:
        example, source = self._source[i], self._sources[i]["image"]
        sizes = example["image"].shape[:-1], source.shape[:-1]
        if sizes[0] != sizes[1]:
            target, own = (" x ".join(map(str, size)) for size in sizes)
            kind = "voxels" if len(sizes[0]) == 3 else "pixels"
            raise UserError(
                f"{self._where}: {self.names[i]} has {own} {kind} in source/ and {target} in target/; bring each pair "
                "to one grid"
            )
        return example | {"source": source}


class Unpaired:
    """Sources and targets that are no pairs: example i holds one of each, the smaller set over and over again.

    Args:
        targets: examples with ``image``.
        sources: examples with ``image``, of any sizes.
    """

    def __init__(self, targets: Source, sources: Source) -> None:
        self._targets, self._sources = targets, sources

    @property
    def names(self) -> list[str]:
        """The name of each target, and of its source."""
        a, b = self._targets.names, self._sources.names
        return [f"{a[i % len(a)]}, {b[i % len(b)]}" for i in range(len(self))]

    def __len__(self) -> int:
        return max(len(self._targets), len(self._sources)) if len(self._targets) and len(self._sources) else 0

    def __getitem__(self, i: int) -> Example:
        if not 0 <= i < len(self):
            raise IndexError(f"example {i} of {len(self)}")
        source = self._sources[i % len(self._sources)]["image"]
        return {"image": self._targets[i % len(self._targets)]["image"], "source": source}


def load_domains(
    spec: str, *, seed: int = 0, slices: bool = False, paired: bool = True, reverse: bool = False, spatial: int = 2
) -> Splits:
    """Open images of two kinds: ``source`` to translate from, ``image`` to translate to.

    Args:
        spec: a computed set with pairs, an npz with ``sources`` and ``images``, or a folder with source/ and target/,
            each as of `jaxgen.data.load`: files of a pair have the same name. Masks of the targets are kept.
        seed: of the split.
        slices: take volumes slice by slice.
        paired: False for folders of different subjects, whose names need not match. Pairs are kept where they do.
        reverse: translate the other way round.
        spatial: the spatial axes of an example: 2, or 3 for whole volumes, of which a pair must lie in one place.

    Returns:
        The splits. Where pairs are known examples have ``image`` and ``source`` of one size and perhaps ``mask``; else
        the three sources are `Unpaired`.

    Raises:
        UserError: if there are no sources, a file of one folder has no counterpart in the other, or the grids of two
            volumes differ.

    Example:
        >>> sorted(load_domains("contrast_phantom/16").train[0])
        ['image', 'mask', 'source']
    """
    path = Path(os.fspath(spec)).expanduser()
    kinds = {name: path / name for name in FOLDERS}
    present = [name for name, folder in kinds.items() if "\0" not in spec and folder.is_dir()]
    if len(present) == 1:
        missing = next(name for name in FOLDERS if name not in present)
        raise UserError(f"{path}: has {present[0]}/ but no {missing}/; put the other images there, named alike")
    if not present:
        splits = load(spec, seed=seed, wants=("image", "source"), optional=("mask",), slices=slices, spatial=spatial)
    else:
        # `type(spec)`: of `jaxgen.data.Everything` all is test.
        options: dict[str, Any] = {"seed": seed, "wants": ("image",), "slices": slices, "spatial": spatial}
        kept = {"source": (), "target": ("mask",)}
        sources, targets = (load(type(spec)(kinds[name]), optional=kept[name], **options) for name in FOLDERS)
        splits = _joined(path, sources, targets, paired, spatial == 3)
    if reverse:
        splits = splits._replace(
            train=_other(splits.train), validation=_other(splits.validation), test=_other(splits.test)
        )
    return splits


def _other(source: Source) -> Source:
    return Unpaired(source._sources, source._targets) if isinstance(source, Unpaired) else Swapped(source)


def _joined(path: Path, sources: Splits, targets: Splits, paired: bool, volumes: bool) -> Splits:
    """Two folders as pairs, volumes in one place, or as unpaired."""
    every = Joined(list(sources[:3]))
    number = {name: i for i, name in enumerate(every.names)}
    wanted = [name for part in targets[:3] for name in part.names]
    alone = [("target", name) for name in wanted if name not in number]
    alone += [("source", name) for name in sorted(set(number) - set(wanted))]
    if alone and paired:
        kind, name = alone[0]
        other = FOLDERS[FOLDERS.index(kind) - 1]
        raise UserError(
            f"{path / kind}: {name} has no counterpart in {other}/ ({len(number)} images in source/, {len(wanted)} in "
            "target/); name pairs alike, or say --unpaired for images of different subjects"
        )
    parts: list[Source] = []
    for target, source in zip(targets[:3], sources[:3], strict=True):
        own = Subset(every, [number[name] for name in target.names]) if not alone else source
        if volumes and not alone:
            _check_places(target, own, path)
        parts.append(Unpaired(target, own) if alone else Pairs(target, own, str(path)))
    return Splits(parts[0], parts[1], parts[2], name=path.name, origin=f"folder {path}")


def _check_places(targets: Source, sources: Source, path: Path) -> None:
    """Refuse pairs of volumes that lie in different places, by the affines of their files."""
    known = (getattr(part, "affines", None) or [None] * len(targets) for part in (targets, sources))
    for name, here, there in zip(targets.names, *known, strict=True):
        if here is not None and there is not None and not np.allclose(here, there, rtol=1e-3, atol=1e-2):
            raise UserError(
                f"{path}: {name} lies elsewhere in source/ than in target/ (their affines differ); resample each pair "
                "onto one grid"
            )


def has_sources(spec: str) -> bool:
    """Whether data come with sources: a folder with source/ or target/, or an npz with an array of sources.

    Example:
        >>> has_sources("ct_phantom")
        False
    """
    if "\0" in spec:
        return False
    path = Path(os.fspath(spec)).expanduser()
    if path.is_dir():
        return any((path / name).is_dir() for name in FOLDERS)
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    with checks.reading(path, "npz"):
        return any(name.rsplit("_", 1)[-1] in ("source", "sources") for name in npz_headers(path))


def is_paired(splits: Splits) -> bool:
    """Whether the target of each source is known.

    Example:
        >>> is_paired(load_domains("contrast_phantom/16"))
        True
    """
    return not isinstance(splits.test, Unpaired)
