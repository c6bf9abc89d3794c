"""Ways to damage the bytes of a file, all drawn from one seeded generator."""

import numpy as np

_FIELDS = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def damage(rng: np.random.Generator, content: bytes) -> bytes:
    """One to three changes: flipped bits, other, missing, doubled or added bytes, or an extreme number in a field."""
    for _ in range(int(rng.integers(1, 4))):
        content = _CHANGES[int(rng.integers(len(_CHANGES)))](rng, content)
    return content


def _place(rng: np.random.Generator, content: bytes) -> int:
    """Anywhere; every second time among the first 512 bytes, where headers are."""
    most = len(content) if rng.random() < 0.5 else min(len(content), 512)
    return int(rng.integers(max(1, most)))


def _flip(rng: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        if changed:
            changed[_place(rng, content)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwrite(rng: np.random.Generator, content: bytes) -> bytes:
    start, count = _place(rng, content), int(rng.integers(1, 33))
    noise = rng.integers(0, 256, count, dtype=np.uint8).tobytes() if rng.random() < 0.7 else bytes(count)
    return content[:start] + noise + content[start + count :]


def _field(rng: np.random.Generator, content: bytes) -> bytes:
    start, width = _place(rng, content), (2, 4, 8)[int(rng.integers(3))]
    value = min(_FIELDS[int(rng.integers(len(_FIELDS)))], 2 ** (8 * width) - 1)
    order = "little" if rng.random() < 0.5 else "big"
    return content[:start] + value.to_bytes(width, order) + content[start + width :]


def _truncate(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: int(rng.integers(len(content) + 1))]


def _cut(rng: np.random.Generator, content: bytes) -> bytes:
    start = _place(rng, content)
    return content[:start] + content[start + int(rng.integers(1, 65)) :]


def _double(rng: np.random.Generator, content: bytes) -> bytes:
    start, count = _place(rng, content), int(rng.integers(1, 257))
    return content[: start + count] + content[start:]


def _insert(rng: np.random.Generator, content: bytes) -> bytes:
    start = _place(rng, content)
    return content[:start] + rng.integers(0, 256, int(rng.integers(1, 65)), dtype=np.uint8).tobytes() + content[start:]


_CHANGES = (_flip, _flip, _overwrite, _field, _field, _truncate, _cut, _double, _insert)
