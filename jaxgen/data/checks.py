"""Checks of one image or mask, with messages that name the file and the fix."""

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

import numpy as np

from jaxgen.data import limits
from jaxgen.data.classes import Classes, number_mask
from jaxgen.errors import UserError

Foreground = int | str | Classes | None


@contextmanager
def reading(path: object, kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a `UserError` that names the file.

    Args:
        path: the file.
        kind: what it should be, such as "PNG".

    Raises:
        UserError: for any error inside, and for pipes, sockets and devices before anything is read.
    """
    with suppress(OSError, ValueError):  # what is not there says so itself
        limits.require_file(str(path))
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the path, or the target if it is a link") from error
    except PermissionError as error:
        raise UserError(f"{path}: no permission to read it; allow it with chmod +r") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: a folder where a file is needed; take it out or name the file") from error
    except NotImplementedError as error:
        raise UserError(f"{path}: {kind} of a form that is not read ({error}); save it in a plainer form") from error
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory; cut it into smaller pieces") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{path}: a symbolic link that leads back to itself; remove it") from error
        raise _damaged(path, kind, error) from error
    except Exception as error:  # decoders raise anything at all on damaged files
        raise _damaged(path, kind, error) from error


def _damaged(path: object, kind: str, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {error}"[:160]
    return UserError(
        f"{path}: cannot be read as {kind}, perhaps cut short or damaged ({reason}); "
        "copy it again from where it came, or take it out"
    )


def image_values(array: np.ndarray, where: object) -> np.ndarray:
    """Bring an image to one of the dtypes a source may give, and refuse values that are not finite.

    Args:
        array: any numeric dtype.
        where: the file, for the message.

    Returns:
        uint8, uint16, int16 and float32 unchanged, bool as uint8, int8 as int16, all else as float32.

    Raises:
        UserError: for complex or non-numeric values, NaN and infinity.

    Example:
        >>> image_values(np.ones(2, np.float64), "a.npy").dtype
        dtype('float32')
    """
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # big-endian files
    if array.dtype.hasobject or array.dtype.kind not in "buif":
        raise UserError(f"{where}: values of type {array.dtype}, not numbers; save it as integers or floats")
    if array.size == 0:
        raise UserError(f"{where}: has no pixels (size {array.shape}); take it out")
    if array.dtype.kind == "f":
        bad = int(array.size - np.isfinite(array).sum())
        if bad:
            raise UserError(
                f"{where}: {bad} of {array.size} voxels are NaN or infinite; "
                "replace them (numpy.nan_to_num) or take it out"
            )
    if array.dtype in (np.uint8, np.uint16, np.int16, np.float32):
        return np.ascontiguousarray(array)
    target = {"bool": np.uint8, "int8": np.int16}.get(array.dtype.name, np.float32)
    with np.errstate(over="ignore"):
        cast = array.astype(target)
    if not np.isfinite(cast).all():
        raise UserError(f"{where}: values too large for 32-bit floats; rescale them")
    return cast


def mask_values(array: np.ndarray, where: object) -> np.ndarray:
    """Bring a mask to unsigned integers.

    Args:
        array: ``[*spatial]``, whole numbers from 0 in any dtype.
        where: the file, for the message.

    Returns:
        uint8 if it fits, else uint16 or int32.

    Raises:
        UserError: for fractions, negative numbers, NaN and infinity.

    Example:
        >>> mask_values(np.array([0.0, 2.0]), "a.npy")
        array([0, 2], dtype=uint8)
    """
    if array.dtype.hasobject or array.dtype.kind not in "buif":
        raise UserError(f"{where}: mask of type {array.dtype}, not numbers; save it as integers")
    if array.size == 0:
        raise UserError(f"{where}: has no pixels (size {array.shape}); take it out")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.round(array)).all()):
        raise UserError(f"{where}: mask with fractions, NaN or infinity; save whole numbers, 0 for background")
    low, high = array.min(), array.max()
    if low < 0 or high > 2**31 - 1:
        raise UserError(f"{where}: mask with values from {low} to {high}; use whole numbers from 0 (background)")
    return np.ascontiguousarray(array.astype(np.uint8 if high < 256 else np.uint16 if high < 65536 else np.int32))


def hint_values(hints: np.ndarray, images: tuple[int, ...], where: object) -> np.ndarray:
    """Bring hints of 2-D images to bytes, and refuse what does not fit.

    Args:
        hints: ``[n, h, w]`` or ``[n, h, w, c]`` with 1 or 3 channels; whole numbers from 0 to 255, or none above 1.
        images: the shape of the images, ``[n, h, w, c]``.
        where: for messages.

    Returns:
        uint8 ``[n, h, w, c]``.

    Raises:
        UserError: for other shapes or values.

    Example:
        >>> hint_values(np.array([[[0.0, 0.2, 1.0]]]), (1, 1, 3, 1), "x").ravel().tolist()
        [0, 51, 255]
    """
    if hints.ndim == 3:
        hints = hints[..., None]
    if hints.ndim != 4 or hints.shape[:-1] != images[:-1] or hints.shape[-1] not in (1, 3):
        raise UserError(
            f"{where} has size {hints.shape}, but images {images[:-1]}; save [n, height, width] as the images have it, "
            "perhaps with 1 or 3 channels"
        )
    if hints.dtype.kind not in "buif" or not np.isfinite(hints).all() or hints.min() < 0 or hints.max() > 255:
        raise UserError(f"{where} holds other values than numbers from 0 to 255; save 0 for black and 255 for white")
    return np.round(hints * (255.0 if hints.max() <= 1 else 1.0)).astype(np.uint8)


def apply_foreground(mask: np.ndarray, foreground: Foreground, where: object) -> np.ndarray:
    """Say which mask values are foreground.

    Args:
        mask: whole numbers, 0 for background.
        foreground: "binary" (the mask must have 0 and at most one other value), "any" (all but 0), a label (that value
            alone), several classes, or None (leave the numbers as they are).
        where: the file, for the message.

    Returns:
        uint8 0 and 1, the numbers of classes (`jaxgen.data.classes.number_mask`), or `mask` itself if `foreground` is
        None.

    Raises:
        UserError: if "binary" is asked for and the mask has more values, or a value is of no class.

    Example:
        >>> apply_foreground(np.array([0, 255, 0]), "binary", "a.png")
        array([0, 1, 0], dtype=uint8)
        >>> apply_foreground(np.array([0, 1, 2]), 2, "a.png")
        array([0, 0, 1], dtype=uint8)
    """
    if foreground is None:
        return mask
    if isinstance(foreground, Classes):
        return number_mask(mask, foreground, where)
    if foreground == "any":
        return (mask > 0).astype(np.uint8)
    if isinstance(foreground, int | np.integer) or foreground != "binary":
        return (mask == parse_foreground(foreground)).astype(np.uint8)
    values = np.unique(mask)
    if np.count_nonzero(values) > 1:
        shown = ", ".join(str(v) for v in values[:8]) + (", ..." if len(values) > 8 else "")
        raise UserError(
            f"{where}: mask with {len(values)} values ({shown}), but one foreground is wanted; "
            "choose it with --foreground (any, or one of the values), or save 0 and 1"
        )
    return (mask > 0).astype(np.uint8)


FOREGROUND = (
    "what counts as foreground: binary (masks have one value besides 0), any (all but 0), a number from 1 (that value "
    "alone), or the name of a label where the data name theirs"
)
"""The help of every flag ``--foreground``."""
SEVERAL = "; each (every label is a class of its own), or several labels separated by commas"
"""What the help adds where masks of several classes are taken."""


def parse_foreground(foreground: Foreground, *, several: bool = True) -> Foreground:
    """Check a choice of foreground, from a flag or from code.

    Args:
        foreground: "binary", "any", a label as int or digits, the name of a label, "each", several labels separated by
            commas, or None.
        several: whether "each" and several labels are allowed.

    Returns:
        "binary", "any", "each", an int, a name or several (to be looked up by `name_foreground`), or None.

    Raises:
        UserError: for anything else.

    Example:
        >>> parse_foreground("3"), parse_foreground("tumour"), parse_foreground("1, 2")
        (3, 'tumour', '1, 2')
    """
    if foreground is None or isinstance(foreground, Classes):
        return foreground
    text = str(foreground).strip()
    if text in ("binary", "any"):
        return text
    if text == "each" or "," in text:
        if not several:
            raise UserError(f"--foreground {text}: one foreground is wanted here; use binary, any, or one label")
        labels = [label.strip() for label in text.split(",")]
        if text == "each" or all(label and not label.startswith(("-", "0")) for label in labels):
            return text
        raise UserError(f"--foreground {text}: not a choice; name labels from 1 separated by commas, such as 1,2")
    if text.isascii() and text.isdecimal() and int(text) >= 1:
        return int(text)
    if isinstance(foreground, str) and any(c.isalpha() for c in text):
        return text
    raise UserError(f"--foreground {foreground}: not a choice; use binary, any, or a whole number from 1")


def name_foreground(foreground: Foreground, names: Mapping[str, int], where: object) -> Foreground:
    """The value of a label that is chosen by its name.

    Args:
        foreground: from `parse_foreground`.
        names: of labels, with their values; empty where the data have none.
        where: the data, for the message.

    Returns:
        "binary", "any", "each", several labels, an int or None.

    Raises:
        UserError: if no label has this name.

    Example:
        >>> name_foreground("Tumour", {"background": 0, "tumour": 2}, "here")
        2
    """
    foreground = parse_foreground(foreground)
    if not isinstance(foreground, str) or foreground in ("binary", "any", "each") or "," in foreground:
        return foreground
    found = {value for name, value in names.items() if name.casefold() == foreground.casefold()}
    if len(found) == 1 and (value := found.pop()) > 0:
        return value
    known = [f"{name} ({value})" for name, value in names.items() if value > 0]
    if not known:
        raise UserError(
            f"--foreground {foreground}: not a choice, for {where} does not name its labels; "
            "use binary, any, or a whole number from 1"
        )
    raise UserError(
        f"--foreground {foreground}: no label of {where} is called so; use binary, any, or one of {', '.join(known)}"
    )


def refuse_choice(foreground: Foreground, where: object) -> None:
    """Refuse one label as the foreground where masks number objects: every object is foreground.

    Args:
        foreground: the choice.
        where: the data, for the message.

    Raises:
        UserError: for a label's number or name.
    """
    if foreground not in (None, "binary", "any"):
        raise UserError(
            f"--foreground {foreground}: {where} numbers objects, and each is foreground; leave the flag out"
        )


def refuse_several(foreground: Foreground, where: object) -> None:
    """Refuse several classes of data whose masks have one foreground.

    Args:
        foreground: the choice.
        where: the data, for the message.

    Raises:
        UserError: for "each" and several labels.
    """
    if isinstance(foreground, str) and (foreground == "each" or "," in foreground):
        raise UserError(
            f"--foreground {foreground}: {where} has masks of one foreground; use any or one value, or give a folder "
            "or an npz for several classes"
        )


def absent_foreground(foreground: Foreground, values: Iterable[int], where: object) -> UserError:
    """The error where no mask has the value that ``--foreground`` names.

    Args:
        foreground: the value.
        values: that masks have.
        where: the data, for the message.
    """
    found = sorted(values)
    shown = ", ".join(str(v) for v in found[:12]) + (", ..." if len(found) > 12 else "")
    others = any(v > 0 for v in found)
    fix = "choose one of these from 1 up, or any" if others else "check how they were saved"
    return UserError(f"--foreground {foreground}: no mask of {where} has this value (they have {shown}); {fix}")


def foreground_value(mask: np.ndarray) -> int:
    """The largest value of a mask: its foreground value if it is binary, 0 if it is empty."""
    return int(mask.max(initial=0))


def check_one_value(value: int, where: object, first: tuple[int, object] | None) -> None:
    """Refuse binary masks whose foreground value differs from file to file: they may be several classes.

    Raises:
        UserError: if `value` differs from the first one seen.
    """
    if first is not None and value and value != first[0]:
        raise UserError(
            f"{where}: foreground has the value {value}, but in {first[1]} it is {first[0]}; "
            "if both are foreground use --foreground any, else choose one value with --foreground"
        )


def describe(shape: tuple[int, ...]) -> str:
    """A size for a message, such as ``64 x 64``."""
    return " x ".join(str(n) for n in shape)
