"""Reading PyTorch's files: pickles as PyTorch writes them are made here by hand, so that no PyTorch is needed.

tests/peers/test_feature_networks_torch.py reads files that PyTorch itself wrote.
"""

import collections
import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxgen.errors import UserError
from jaxgen.interop.weight_files import read


class Global:
    """Pickles as a name in a module that need not exist here."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickles as a call of a name."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Stored(tuple):
    """Pickles as a persistent id."""


class Pickler(pickle._Pickler):
    def persistent_id(self, obj):
        return tuple(obj) if isinstance(obj, Stored) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def pickled(content):
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue()


def tensor(key, kind, count, shape, strides, offset=0, legacy=False):
    """The description of a tensor as torch.save pickles it."""
    place = ("storage", Global("torch", kind), key, "cpu", count) + ((None,) if legacy else ())
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, Stored(place), offset, shape, strides, False, collections.OrderedDict())


def write_zip(path, content, storages, compression=zipfile.ZIP_STORED, byteorder="little"):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("net/data.pkl", pickled(content))
        archive.writestr("net/byteorder", byteorder)
        for key, values in storages.items():
            archive.writestr(f"net/data/{key}", values.tobytes())


def write_legacy(path, content, storages, announced=None):
    parts = [pickled(0x1950A86A20F9469CFC6C), pickled(1001)]
    parts += [pickled({"little_endian": sys.byteorder == "little", "protocol_version": 1001})]
    parts += [pickled(content), pickled(sorted(storages))]
    for key in sorted(storages):
        parts += [struct.pack("<q", announced or storages[key].size), storages[key].tobytes()]
    path.write_bytes(b"".join(parts))


SIX = np.arange(6, dtype=np.float32)


def test_tensors_of_a_zip_file_are_views_of_their_storages(tmp_path):
    half = np.array([1.5, -2.0], np.float16)
    brain = np.array([1.5, -2.0]).astype(ml_dtypes.bfloat16)
    content = collections.OrderedDict(
        whole=tensor("0", "FloatStorage", 6, (2, 3), (3, 1)),
        transposed=tensor("0", "FloatStorage", 6, (3, 2), (1, 3)),
        part=tensor("0", "FloatStorage", 6, (2,), (2,), offset=1),
        half=tensor("1", "HalfStorage", 2, (2,), (1,)),
        brain=tensor("2", "BFloat16Storage", 2, (2,), (1,)),
        count=tensor("3", "LongStorage", 1, (), ()),
        empty=tensor("4", "FloatStorage", 0, (0, 3), (3, 1)),
    )
    storages = {"0": SIX, "1": half, "2": brain, "3": np.array([7]), "4": SIX[:0]}
    write_zip(tmp_path / "net.pth", content, storages)
    found = read(tmp_path / "net.pth")
    np.testing.assert_array_equal(found["whole"], SIX.reshape(2, 3))
    np.testing.assert_array_equal(found["transposed"], SIX.reshape(2, 3).T)
    np.testing.assert_array_equal(found["part"], [1, 3])
    assert found["half"].tolist() == found["brain"].tolist() == [1.5, -2.0]
    assert found["half"].dtype == found["brain"].dtype == np.float32
    assert found["count"].item() == 7
    assert found["empty"].shape == (0, 3)


def test_a_file_of_before_the_zip_format(tmp_path):
    content = {
        "epoch": 3,
        "state_dict": {
            "module.a": tensor("11", "FloatStorage", 6, (6,), (1,), legacy=True),
            "module.b": tensor("22", "DoubleStorage", 2, (2,), (1,), legacy=True),
        },
        "optimizer": {"lr": 0.1},
    }
    write_legacy(tmp_path / "net.pth", content, {"11": SIX, "22": np.array([0.5, 0.25])})
    found = read(tmp_path / "net.pth")
    assert {name: x.tolist() for name, x in found.items()} == {"a": SIX.tolist(), "b": [0.5, 0.25]}


def test_parameters_and_safetensors(tmp_path):
    one = Call(Global("torch._utils", "_rebuild_parameter"), tensor("0", "FloatStorage", 6, (6,), (1,)), True, {})
    write_zip(tmp_path / "net.pth", {"a": one}, {"0": SIX})
    save_file({"a": SIX}, tmp_path / "net.safetensors")
    for name in ("net.pth", "net.safetensors"):
        np.testing.assert_array_equal(read(tmp_path / name)["a"], SIX)


def test_one_state_dict_of_several(tmp_path):
    kept = tensor("0", "FloatStorage", 6, (6,), (1,))
    write_zip(tmp_path / "net.pt", {"unet_state_dict": {"a": kept}, "scale_factor": kept, "epoch": 1}, {"0": SIX})
    assert list(read(tmp_path / "net.pt", inside="unet_state_dict")) == ["a"]
    assert list(read(tmp_path / "net.pt")) == ["scale_factor"]
    with pytest.raises(UserError, match=r"net.pt: holds no state dict 'epoch'"):
        read(tmp_path / "net.pt", inside="epoch")


DANGEROUS = [
    (Call(Global("os", "system"), "touch {mark}"), "os.system"),
    (Call(Global("builtins", "eval"), "open('{mark}', 'w')"), "builtins.eval"),
    (Call(Global("jaxgen.interop.weight_files", "read"), "{mark}"), "weight_files"),
    (Call(Global("numpy", "load"), "{mark}"), "numpy.load"),
    (Call(Global("torch", "load"), "{mark}"), "torch.load"),
    (Global("collections", "Counter"), "collections.Counter"),
]


@pytest.mark.parametrize("start", [b"\x80", b"PK"], ids=["as a pickle", "as a zip file"])
def test_a_safetensors_file_whose_length_begins_as_another_kind(tmp_path, start):
    """The length of the header comes first, and is 128 or 19280 bytes as well as any other."""
    for more in range(20000):
        header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}} | {"__metadata__": {}})
        header += " " * more
        if len(header).to_bytes(8, "little").startswith(start):
            break
    content = len(header).to_bytes(8, "little") + header.encode() + np.arange(2, dtype="<f4").tobytes()
    (tmp_path / "net.safetensors").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "net.safetensors")["a"], [0, 1])


@pytest.mark.parametrize(("content", "said"), DANGEROUS, ids=[said for _, said in DANGEROUS])
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_pickles_that_would_run_code_are_refused(tmp_path, content, said, write):
    mark = tmp_path / "ran"
    if isinstance(content, Call):
        content = Call(content.function, *(a.format(mark=mark) for a in content.arguments))
    write(tmp_path / "net.pth", {"a": content}, {})
    with pytest.raises(UserError, match=said) as error:
        read(tmp_path / "net.pth")
    assert "state_dict" in str(error.value), "says what to do"
    assert not mark.exists()


def test_the_description_of_a_kind_of_numbers_cannot_be_called(tmp_path):
    write_zip(tmp_path / "net.pth", {"a": Call(Global("torch", "FloatStorage"), 10**9)}, {})
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((7,), (1,), 0), ((2,), (1,), 5), ((2, 2), (6, 1), 0), ((2,), (-1,), 5), ((10**6,), (0,), 0), ((2,), (1,), -1)],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, shape, strides, offset):
    write_zip(tmp_path / "net.pth", {"a": tensor("0", "FloatStorage", 6, shape, strides, offset)}, {"0": SIX})
    with pytest.raises(UserError, match="beyond its 6 numbers"):
        read(tmp_path / "net.pth")


def test_damaged_files_and_others_are_named(tmp_path):
    good = {"a": tensor("0", "FloatStorage", 6, (6,), (1,))}
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "none.pth")
    with pytest.raises(UserError, match="directory"):
        read(tmp_path)
    write_zip(tmp_path / "cut.pth", good, {"0": SIX})
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:-60])
    with pytest.raises(UserError, match="damaged"):
        read(tmp_path / "cut.pth")
    write_legacy(tmp_path / "count.pth", {"a": tensor("0", "FloatStorage", 6, (6,), (1,), legacy=True)}, {"0": SIX}, 5)
    with pytest.raises(UserError, match="holds 5 numbers where 6"):
        read(tmp_path / "count.pth")
    (tmp_path / "text.pth").write_text("hello, this is no file of weights")
    with pytest.raises(UserError, match=r"text\.pth"):
        read(tmp_path / "text.pth")
    (tmp_path / "short.pth").write_bytes(b"\x80")
    with pytest.raises(UserError, match=r"short\.pth"):
        read(tmp_path / "short.pth")
    (tmp_path / "other.pth").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match="PyTorch did not write"):
        read(tmp_path / "other.pth")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(UserError, match=r"without data\.pkl"):
        read(tmp_path / "other.zip")
    write_zip(tmp_path / "list.pth", [1, 2], {})
    with pytest.raises(UserError, match="a list in place"):
        read(tmp_path / "list.pth")
    write_zip(tmp_path / "bomb.pth", good, {"0": SIX}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="compressed"):
        read(tmp_path / "bomb.pth")
    write_zip(tmp_path / "big.pth", good, {"0": SIX}, byteorder="big")
    with pytest.raises(UserError, match="big-endian"):
        read(tmp_path / "big.pth")


def test_no_module_is_imported_by_reading(tmp_path, monkeypatch):
    """A name that is refused is not even looked up."""
    monkeypatch.setitem(sys.modules, "trap", types.ModuleType("trap"))
    write_zip(tmp_path / "net.pth", {"a": Global("trap", "absent")}, {})
    with pytest.raises(UserError, match=r"trap\.absent"):
        read(tmp_path / "net.pth")


def write_pickle(path, content, storages=None, compression=zipfile.ZIP_STORED):
    """A zip file whose pickle is given as bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("net/data.pkl", content)
        for key, values in (storages or {}).items():
            archive.writestr(f"net/data/{key}", values.tobytes())
    return path


def nested_key(depth):
    """A dict with a key of two equal halves, each of two equal halves, and so on: 2^depth operations to hash."""
    pairs = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) + b"0" for i in range(depth))
    return b"\x80\x02})q\x00" + b"0" + pairs + b"h" + bytes([depth]) + b"K\x01s."


def test_a_pickle_is_read_without_hashing_what_it_nests(tmp_path):
    assert read(write_pickle(tmp_path / "net.pth", nested_key(100))) == {}
    pair = ()
    for _ in range(100):
        pair = (pair, pair)
    write_zip(tmp_path / "value.pth", {"a": tensor("0", "FloatStorage", 6, (6,), (1,)), "pair": pair}, {"0": SIX})
    assert list(read(tmp_path / "value.pth")) == ["a"]
    deep = b"\x80\x02}(X\x01\x00\x00\x00a)" + b"\x85" * 100_000 + b"u."
    assert read(write_pickle(tmp_path / "deep.pth", deep)) == {}


BOMBS = {
    "far memo": (b"\x80\x02}r\xff\xff\xff\x7f.", "remember thing 2147483647"),
    "far memo, in words": (b"\x80\x02}p99999999\n.", "remember thing 99999999"),
    "many things": (b"\x80\x02" + b"]" * 600_000 + b".", "more than 500000 things"),
    "many things, all dropped": (b"\x80\x02" + b"]0" * 600_000 + b"}.", "more than 500000 things"),
    "an object": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "asks for NEWOBJ"),
    "an ordered dict of pairs": (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "ordered dict made of something"),
    "a state for a list": (b"\x80\x02]}b.", "an object with a state"),
    "nothing to call": (b"\x80\x02})R.", "TypeError"),
    "cut short": (b"\x80\x02}", "cannot be read"),
    "text of 4 GiB": (b"\x80\x02X\xff\xff\xff\xffab.", "expected 4294967295 bytes"),
    "bytes of 2^60": (b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"ab.", "expected 1152921504606846976 bytes"),
    "a number of many digits": (b"\x80\x02L" + b"9" * 5000 + b"L\n.", "cannot be read"),
    "a deep shape": (
        b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQK\x00)" + b"\x85" * 1000 + b")tRs.",
        "shape is none",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_that_ask_for_much_are_refused_in_one_line(tmp_path, name):
    content, said = BOMBS[name]
    with pytest.raises(UserError, match=said) as error:
        read(write_pickle(tmp_path / "net.pth", content, {"0": SIX}))
    assert len(str(error.value)) < 500
    assert str(error.value).startswith(str(tmp_path / "net.pth"))
    head = pickled(0x1950A86A20F9469CFC6C) + pickled(1001) + pickled({"little_endian": True})
    (tmp_path / "old.pth").write_bytes(head + content)
    with pytest.raises(UserError, match=said):
        read(tmp_path / "old.pth")


@pytest.mark.parametrize(("kind", "dtype"), [("FloatStorage", np.float32), ("HalfStorage", np.float16)])
@pytest.mark.parametrize("legacy", [False, True])
def test_one_storage_in_a_thousand_views(tmp_path, kind, dtype, legacy):
    row = (np.arange(100_000) % 1000).astype(dtype)

    def written(count, step):
        content = {
            f"a{i}": tensor("0", kind, row.size, (row.size - i * step,), (1,), i * step, legacy) for i in range(count)
        }
        (write_legacy if legacy else write_zip)(tmp_path / "net.pth", content, {"0": row})
        return tmp_path / "net.pth"

    with pytest.raises(UserError, match=r"bytes are said to be tensors of \d+"):
        read(written(1000, 1))
    with pytest.raises(
        UserError,
        match=r"net\.pth: needs 380 MiB and the limit is 300; .* --max-file-mib 380 or set",
    ):
        read(written(1000, 1), max_bytes=300 * 2**20)
    one = read(written(1000, 0))  # tied weights are held once
    assert len({id(x) for x in one.values()}) == 1
    two = read(written(2, 3))
    np.testing.assert_array_equal(two["a1"], row[3:].astype(np.float32))


def test_members_that_do_not_hold_what_they_announce(tmp_path):
    good = {"a": tensor("0", "FloatStorage", 6, (6,), (1,))}
    path = tmp_path / "net.pth"
    write_pickle(path, pickled({}) + b"\0" * 10**6, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="compressed"):
        read(path)
    write_zip(path, good, {"0": SIX})
    whole = path.read_bytes()

    def changed(offset, new):
        """Every entry of the list of contents with other bytes."""
        content, at = bytearray(whole), whole.find(b"PK\x01\x02")
        while at >= 0:
            content[at + offset : at + offset + len(new)] = new
            at = whole.find(b"PK\x01\x02", at + 4)
        path.write_bytes(content)
        return path

    with pytest.raises(UserError, match="it asks for a password"):
        read(changed(8, b"\x01\x00"))
    with pytest.raises(UserError, match="announces 1073741824 bytes"):
        read(changed(24, struct.pack("<I", 2**30)))
    with pytest.raises(UserError, match="announces 1073741824 bytes"):
        read(changed(20, struct.pack("<II", 2**30, 2**30)))
    path.write_bytes(whole[:-10] + struct.pack("<I", 2**30) + whole[-6:])
    with pytest.raises(UserError, match="list of contents is too long"):
        read(path)
    path.write_bytes(whole + b"a comment")
    with pytest.raises(UserError, match="its end is missing"):
        read(path)
    write_legacy(path, {"a": tensor("0", "FloatStorage", 2**40, (6,), (1,), legacy=True)}, {"0": SIX}, 2**40)
    with pytest.raises(UserError, match="cut short"):
        read(path)


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((2**62, 0), (1, 1)), ((2**62,) * 3, (0, 0, 0)), ((1,) * 40, (1,) * 40), ((10**4000,), (1,)), ((True,), (1,))],
)
def test_impossible_shapes(tmp_path, shape, strides):
    write_zip(tmp_path / "net.pth", {"a": tensor("0", "FloatStorage", 6, shape, strides)}, {"0": SIX})
    with pytest.raises(UserError, match="cannot be read as weights") as error:
        read(tmp_path / "net.pth")
    assert len(str(error.value)) < 400


def safetensors(path, header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS = {
    "endless": ({"a": F32}, b"\0" * 8, 2**60),
    "longer than allowed": (json.dumps({"a": F32}).encode() + b" " * 2**23, b"\0" * 8, None),
    "nested": (b"[" * 100_000, b"", None),
    "nested inside": (b'{"a":' * 50_000, b"", None),
    "huge": ({"a": F32 | {"shape": [2**40, 2**40]}}, b"\0" * 8, None),
    "huge and empty": ({"a": F32 | {"shape": [2**62, 0], "data_offsets": [0, 0]}}, b"", None),
    "of many axes": ({"a": F32 | {"shape": [1] * 100 + [2]}}, b"\0" * 8, None),
    "one place for many": ({f"{i}": F32 for i in range(1000)}, b"\0" * 8, None),
    "beyond the end": ({"a": F32 | {"shape": [2**20], "data_offsets": [0, 2**22]}}, b"\0" * 8, None),
    "of an unknown type": ({"a": F32 | {"dtype": "F128"}}, b"\0" * 8, None),
    "negative": ({"a": F32 | {"shape": [-2]}}, b"\0" * 8, None),
    "no names": (b"[1, 2]", b"", None),
    "not text": (b"\xff\xfe{}", b"", None),
    "empty": (b"", b"", None),
}


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_headers_of_safetensors(tmp_path, name):
    path = safetensors(tmp_path / "net.safetensors", *HEADERS[name])
    with pytest.raises(UserError) as error:
        read(path)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value)) < 500


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "link.pth").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe.pth", tmp_path / "link.pth", "/dev/zero", "/dev/null"):
        with pytest.raises(UserError, match="is no regular file"):
            read(path)
    for path in ("a\0b.pth", tmp_path / ("a" * 1000)):
        with pytest.raises(UserError, match="cannot be read"):
            read(path)


def test_size_is_looked_at_before_anything_is_read(tmp_path, monkeypatch):
    save_file({"a": np.zeros(2**18, np.float32)}, tmp_path / "net.safetensors")
    with pytest.raises(
        UserError,
        match=r"net\.safetensors: needs 2 MiB and the limit is 1; .* --max-file-mib 2 or set",
    ):
        read(tmp_path / "net.safetensors", max_bytes=2**20)
    monkeypatch.setenv("JAXGEN_MAX_FILE_MIB", "1")
    with pytest.raises(UserError, match=r"the limit is 1; .* or set JAXGEN_MAX_FILE_MIB"):
        read(tmp_path / "net.safetensors")
    monkeypatch.setenv("JAXGEN_MAX_FILE_MIB", "2")
    assert read(tmp_path / "net.safetensors")["a"].shape == (2**18,)
    for wrong in ("", "many", "-1", "1.5", "0", "9" * 100):
        monkeypatch.setenv("JAXGEN_MAX_FILE_MIB", wrong)
        with pytest.raises(UserError, match=r"JAXGEN_MAX_FILE_MIB=.*: not a whole number of MiB"):
            read(tmp_path / "net.safetensors")
    monkeypatch.delenv("JAXGEN_MAX_FILE_MIB")
    for name, size, said in (("long", 2**40, "needs 1048576 MiB"), ("hole", 2**30, "of which 0 are on the disk")):
        with open(tmp_path / name, "wb") as file:
            file.write(struct.pack("<Q", 2) + b"{}")
            file.truncate(size)
        with pytest.raises(UserError, match=said):
            read(tmp_path / name)
