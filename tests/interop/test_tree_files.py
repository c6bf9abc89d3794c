"""Files of a network of ours: what is written is read, and what cannot be is said."""

import io
import json
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxgen.errors import UserError
from jaxgen.interop import forms, tree_files

PARAMS = {"Conv_0": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.zeros(3)}, "scale": jnp.ones(())}
CONFIG = {"_class_name": "UNet2DModel", "block_out_channels": [8, 16], "_null_label": True}


@pytest.mark.parametrize("name", ["net.npz", "net.safetensors"])
def test_round_trip(name, tmp_path):
    tree_files.write(tmp_path / name, PARAMS, CONFIG)
    assert tree_files.is_tree(tmp_path / name)
    params, config = tree_files.read(tmp_path / name)
    assert config == CONFIG
    assert params.keys() == PARAMS.keys()
    np.testing.assert_array_equal(params["Conv_0"]["kernel"], PARAMS["Conv_0"]["kernel"])
    assert params["scale"].shape == ()


def test_other_files_are_none_of_ours(tmp_path):
    np.savez(tmp_path / "images.npz", images=np.zeros(3))
    save_file({"a": np.zeros(3)}, tmp_path / "weights.safetensors", metadata={"format": "pt"})
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("images.npz", "weights.safetensors", "text.npz", "nothing.npz", "a.pt"):
        assert not tree_files.is_tree(tmp_path / name)
    with pytest.raises(UserError, match=r"name a file that ends in \.npz or \.safetensors"):
        tree_files.write(tmp_path / "a.pt", PARAMS, CONFIG)


def archive(**arrays):
    """An .npz file of these arrays, with bytes as they are."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, value in arrays.items():
            if not isinstance(value, bytes):
                inner = io.BytesIO()
                np.save(inner, value, allow_pickle=True)
                value = inner.getvalue()
            made.writestr(f"{name}.npy", value)
    return out.getvalue()


def as_bytes(text):
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a network of jaxgen"),
        (archive(a=np.zeros(2)), "cannot be read as a network of jaxgen"),
        (archive(__config__=as_bytes("{")), "cannot be read as a network of jaxgen"),
        (archive(__config__=as_bytes("[" * 100_000)), "cannot be read as a network of jaxgen"),
        (archive(__config__=as_bytes("[]")), "no JSON object"),
        (archive(__config__=as_bytes("{}"), a=np.array([print], object)), "cannot be read as a network of jaxgen"),
        (archive(__config__=as_bytes("{}"), **{"a": np.zeros(2), "a/b": np.zeros(2)}), "a parameter inside of a"),
        (archive(__config__=as_bytes("{}"), **{"a/b": np.zeros(2), "a": np.zeros(2)}), "is there twice"),
    ],
    ids=["empty", "no config", "half JSON", "deep JSON", "a list", "an object", "in a leaf", "twice"],
)
def test_damaged_files(content, message, tmp_path):
    file = tmp_path / "net.npz"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        tree_files.read(file)
    assert str(error.value).startswith(str(file))


def test_a_file_that_is_larger_than_the_limit(tmp_path):
    tree_files.write(tmp_path / "net.npz", {"a": jnp.zeros(500_000)}, {})
    with pytest.raises(UserError, match="needs 2 MiB and the limit is 1"):
        tree_files.read(tmp_path / "net.npz", max_bytes=2**20)


def test_a_configuration_says_its_library():
    assert forms.form_of({"model_type": "clip_text_model"}, "a").library == "transformers"
    with pytest.raises(UserError, match=r"a\.json: says nothing of the network"):
        forms.form_of({}, "a.json")
    with pytest.raises(UserError, match="_class_name is 'Nothing'"):
        forms.check({}, {"_class_name": "Nothing"}, "a.json")


def test_safetensors_metadata_of_jaxgen(tmp_path):
    """As other programs see it."""
    tree_files.write(tmp_path / "net.safetensors", PARAMS, CONFIG)
    header = (tmp_path / "net.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    assert json.loads(json.loads(header[8 : 8 + size])["__metadata__"]["config"]) == CONFIG
