"""Patients held out by name: each in turn, where there are too few to draw a test set."""

import hashlib
from collections.abc import Sequence

import numpy as np

from jaxgen.data.everything import Joined
from jaxgen.data.source import SHARES, Splits, Subset
from jaxgen.errors import UserError


def hold_out(splits: Splits, patients: Sequence[str], *, seed: int, where: str) -> Splits:
    """The same data, with all examples of the named patients as the test set.

    The other patients are ranked by a hash of `seed` and their name; the first of them, as many as their share, are
    for validation.

    Args:
        splits: data whose patients are known.
        patients: the names of those to test on.
        seed: another seed, other patients for validation.
        where: the data, for messages.

    Returns:
        The same examples in other parts.

    Raises:
        UserError: if patients are not known, one has no example, or fewer than two others are left.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> parts = (ArraySource({"label": np.arange(2)}, patients=[name, name]) for name in "abc")
        >>> test = hold_out(Splits(*parts), ["b"], seed=0, where="here").test
        >>> len(test), test.patients
        (2, ['b', 'b'])
    """
    everyone = Joined([part for part in splits[:3] if len(part)])
    if everyone.patients is None:
        raise UserError(
            f"{where}: its patients are not known, so that none can be held out by --test-patients; "
            "name the patient of each image"
        )
    names = sorted(set(everyone.patients))
    for patient in patients:
        if patient not in names:
            raise UserError(f"--test-patients {patient}: {where} has no such patient; it has {', '.join(names[:20])}")
    ranks = {name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest() for name in names}
    rest = sorted(set(names) - set(patients), key=lambda name: (ranks[name], name))
    if len(rest) < 2:
        raise UserError(
            f"--test-patients: {where} has {len(rest)} other patient{'s' * (len(rest) != 1)}; training and validation "
            "need one each"
        )
    share = SHARES["validation"] / (SHARES["train"] + SHARES["validation"])
    few = max(1, round(share * len(rest)))
    of_example = np.array(everyone.patients)
    train, validation, test = (
        Subset(everyone, np.flatnonzero(np.isin(of_example, who))) for who in (rest[few:], rest[:few], list(patients))
    )
    return splits._replace(train=train, validation=validation, test=test)
