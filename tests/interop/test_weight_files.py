"""Reading PyTorch's files: pickles as PyTorch writes them are made here by hand, so that no PyTorch is needed.

tests/peers/test_feature_networks_torch.py reads files that PyTorch itself wrote.
"""

import collections
import io
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


DANGEROUS = [
    (Call(Global("os", "system"), "touch {mark}"), "os.system"),
    (Call(Global("builtins", "eval"), "open('{mark}', 'w')"), "builtins.eval"),
    (Call(Global("jaxgen.interop.weight_files", "read"), "{mark}"), "weight_files"),
    (Call(Global("numpy", "load"), "{mark}"), "numpy.load"),
    (Call(Global("torch", "load"), "{mark}"), "torch.load"),
    (Global("collections", "Counter"), "collections.Counter"),
]


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
