"""Pickles of PyTorch, read by a machine that knows plain data and descriptions of tensors, and nothing else.

Python's own unpickler runs what a pickle asks for. Even without a single call it hashes keys that are nested a hundred
times (2^100 operations) and makes room for two thousand million objects where a pickle puts one in place 2^31.
"""

import pickletools
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

MOST_BYTES = 64 * 2**20
"""Of one pickle: it describes tensors, and does not hold them."""
MOST_OPERATIONS = 500_000
MOST_AXES = 32


class RefusedError(Exception):
    """A pickle that is not opened; the message goes on from "is not opened, since"."""


class Storage(NamedTuple):
    """Numbers in a row, somewhere in the file.

    Attributes:
        key: its name.
        kind: of its numbers, as PyTorch names the class.
        size: how many.
    """

    key: str
    kind: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage, in its numbers.

    Attributes:
        storage: the storage.
        offset: of the first number.
        shape: of the view.
        strides: along each axis.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Global(NamedTuple):
    module: str
    name: str


def _whole(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and -(2**63) <= x < 2**63


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    if not isinstance(storage, Storage) or not _whole(offset):
        raise ValueError("a tensor without a storage")
    for numbers in (shape, strides):
        if type(numbers) is not tuple or len(numbers) > MOST_AXES or not all(_whole(n) for n in numbers):
            raise ValueError("a tensor whose shape is none")
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *rest: Any) -> Any:
    return tensor


def _ordered(*nothing: Any) -> dict:
    if nothing:
        raise ValueError("an ordered dict made of something")
    return {}


_CALLED: dict[_Global, Callable[..., Any]] = {
    _Global("collections", "OrderedDict"): _ordered,
    _Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    _Global("torch._utils", "_rebuild_tensor"): _tensor,
    _Global("torch._utils", "_rebuild_parameter"): _parameter,
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MADE: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_GIVEN = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
    ]
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(file: BinaryIO, kinds: frozenset[str] = frozenset()) -> tuple[Any, dict[str, Storage]]:
    """Read one pickle.

    Args:
        file: at the start of the pickle, and then right behind it. Give one that holds no more than `MOST_BYTES`.
        kinds: the storages that may occur, as PyTorch names their classes.

    Returns:
        Its content; dicts keep the entries whose keys are text; and its storages by key.

    Raises:
        RefusedError: if it holds anything but plain data and tensors, or too much of them.
        ValueError, IndexError, KeyError, TypeError, AttributeError: if it is damaged.

    Example:
        >>> import io, pickle
        >>> load(io.BytesIO(pickle.dumps({"a": [1, (2.5, None)], 3: "b"})))[0]
        {'a': [1, (2.5, None)]}
    """
    stack: list[Any] = []
    below: list[list[Any]] = []  # the stacks under the marks
    memo: dict[int, Any] = {}
    storages: dict[str, Storage] = {}

    def marked() -> list[Any]:
        nonlocal stack
        items, stack = stack, below.pop()
        return items

    def found(module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in kinds:
            return name
        if _Global(module, name) not in _CALLED:
            raise RefusedError(f"it holds {f'{module}.{name}'[:100]}")
        return _Global(module, name)

    def set_items(target: dict, items: list[Any]) -> None:
        if type(target) is not dict:
            raise TypeError("items of what is no dict")
        target.update({k: v for k, v in zip(items[::2], items[1::2], strict=True) if type(k) is str})

    operations: Iterator[tuple[Any, Any, Any]] = pickletools.genops(file)
    for count, (operation, argument, _) in enumerate(operations):
        name = operation.name
        if count == MOST_OPERATIONS:
            raise RefusedError(f"it describes more than {MOST_OPERATIONS} things")
        if name in _GIVEN:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            if argument > MOST_OPERATIONS:
                raise RefusedError(f"it asks to remember thing {argument}")
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name == "POP":
            stack.pop()
        elif name in _TUPLES:
            items = [stack.pop() for _ in range(_TUPLES[name])]
            stack.append(tuple(items[::-1]))
        elif name == "MARK":
            below.append(stack)
            stack = []
        elif name == "TUPLE":
            items = marked()
            stack.append(tuple(items))
        elif name == "LIST":
            items = marked()
            stack.append(items)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _MADE:
            stack.append(_MADE[name]())
        elif name == "APPEND":
            item = stack.pop()
            stack[-1].append(item)
        elif name == "APPENDS":
            items = marked()
            stack[-1].extend(items)
        elif name == "SETITEM":
            items = [stack.pop(), stack.pop()]
            set_items(stack[-1], items[::-1])
        elif name == "SETITEMS":
            items = marked()
            set_items(stack[-1], items)
        elif name == "DICT":
            items = marked()
            stack.append({})
            set_items(stack[-1], items)
        elif name == "GLOBAL":
            stack.append(found(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            items = [stack.pop(), stack.pop()]
            stack.append(found(str(items[1]), str(items[0])))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            if type(function) is not _Global:
                raise TypeError("a call of what cannot be called")
            stack.append(_CALLED[function](*arguments))
        elif name == "BINPERSID":
            storage = _storage(stack.pop(), kinds)
            stack.append(storages.setdefault(storage.key, storage))
        elif name == "BUILD":  # attributes of a dict, which say nothing of its tensors
            stack.pop()
            if type(stack[-1]) is not dict:
                raise RefusedError("it holds an object with a state")
        elif name == "STOP":
            return stack.pop(), storages
        elif name not in ("PROTO", "FRAME"):
            raise RefusedError(f"it asks for {name}")
    raise EOFError("it ends too early")


def _storage(pid: Any, kinds: frozenset[str]) -> Storage:
    kind, key, count = pid[1], pid[2], pid[4]
    known = pid[0] == "storage" and type(kind) is str and kind in kinds and type(key) in (str, int)
    if not known or not _whole(count) or any(x is not None for x in pid[5:]):
        raise RefusedError("it holds a storage of an unknown kind")
    return Storage(str(key), kind, count)
