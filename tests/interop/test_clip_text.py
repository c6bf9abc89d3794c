"""Folders of text encoders and tokenizers without transformers: what is written is read, and what cannot be is said."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxgen.errors import UserError
from jaxgen.interop import clip_text as interop
from jaxgen.interop import tokens
from tests.interop.clip_files import write_tokenizer

CONFIG = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "vocab_size": 20,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 6,
    "hidden_act": "gelu",
    "torch_dtype": "float32",
    "eos_token_id": 2,
}
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def params():
    net = interop.network(CONFIG)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 6), jnp.int32))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape), jnp.float32), shapes)


@pytest.fixture
def folder(params, tmp_path):
    interop.save(tmp_path / "text_encoder", params, CONFIG)
    return tmp_path / "text_encoder"


def change(folder, name="config.json", **entries):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | entries))


def equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(jax.tree.map(np.array_equal, a, b))


def test_what_is_written_is_read_from_its_folder_or_the_pipeline_s(folder, params):
    for place in (folder, folder.parent):
        assert equal(interop.load(place).params, params)
    theirs = load_file(folder / WEIGHTS)
    fused = np.asarray(params["blocks"]["MultiHeadAttention_0"]["Dense_0"]["kernel"])  # two heads of width 4
    name = "text_model.encoder.layers.1.self_attn"
    np.testing.assert_array_equal(theirs[f"{name}.k_proj.weight"][4:], fused[1, :, 12 + 4 : 12 + 8].T)
    older = {**theirs, "text_model.embeddings.position_ids": np.arange(6)[None], "text_projection.weight": np.ones(2)}
    save_file(older, folder / WEIGHTS)
    assert equal(interop.load(folder).params, params)
    newer = {name.removeprefix("text_model."): x for name, x in theirs.items()}
    save_file(newer, folder / WEIGHTS)
    assert equal(interop.load(folder).params, params)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'; supported: 'clip_text_model'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; supported: 'quick_gelu' or 'gelu'"),
        ({"attention_dropout": 0.1}, "attention_dropout is 0.1; supported: 0.0"),
        ({"num_attention_heads": 3}, "num_attention_heads is 3, which is not supported"),
        ({"num_hidden_layers": 0}, "must be a whole number from 1 to 1024"),
        ({"rotary": True}, "rotary is True, which is not supported"),
        ({"vocab_size": 21}, r"token_embedding.weight has shape \(20, 8\), which the configuration does not describe"),
        ({"num_hidden_layers": 1}, "has an unexpected tensor text_model.encoder.layers.1"),
        ({"num_hidden_layers": 3}, "lacks tensor text_model.encoder.layers.2"),
    ],
)
def test_what_is_not_supported_is_said(folder, entries, said):
    change(folder, **entries)
    with pytest.raises(UserError, match=said):
        interop.load(folder)


def test_files_that_are_missing_or_pickled(folder, tmp_path):
    with pytest.raises(UserError, match=r"config.json: no such file; give the folder that save_pretrained wrote"):
        interop.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="skip must be from 0 to 1 of its 2 layers, got 2"):
        interop.load(folder, skip=2)
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model.bin: pickled weights can run code and are never opened"):
        interop.load(folder)


def test_prompts_become_numbers_and_texts_again(tmp_path):
    size = write_tokenizer(tmp_path / "tokenizer", length=8)
    tokenizer = tokens.load(tmp_path)
    assert (tokenizer.length, tokenizer.size) == (8, size)
    numbers = tokenizer.encode(["a red disc", ""])
    assert numbers.dtype == np.int32
    known = json.loads((tmp_path / "tokenizer" / "vocab.json").read_text())
    begin, end = known["<|startoftext|>"], known["<|endoftext|>"]
    assert numbers[0].tolist() == [begin, known["a</w>"], known["red</w>"], known["disc</w>"], end, end, end, end]
    assert numbers[1].tolist() == [begin, *[end] * 7]
    assert tokenizer.decode(numbers) == ["a red disc", ""]
    assert tokens.load(tmp_path, length=4).encode([""]).shape == (1, 4)


def test_a_prompt_that_is_too_long_is_an_error_or_is_cut_with_a_warning(tmp_path):
    write_tokenizer(tmp_path, length=5)
    tokenizer = tokens.load(tmp_path)
    said = "the prompt 'a red disc of the left' has 8 tokens and the text encoder takes 5; leave out 'of the left'"
    with pytest.raises(UserError, match=said):
        tokenizer.encode(["a red disc of the left"])
    with pytest.warns(UserWarning, match="takes 5: 'of the left' was cut off"):
        cut = tokenizer.encode(["a red disc of the left"], cut=True)
    np.testing.assert_array_equal(cut, tokenizer.encode(["a red disc"]))


def test_new_words_have_numbers_behind_the_others(tmp_path):
    size = write_tokenizer(tmp_path)
    tokenizer = tokens.load(tmp_path, added={"<lung>": 2})
    assert tokenizer.added == {"<lung>": (size, size + 1)}
    assert tokenizer.encode(["a <lung>"])[0, 2:4].tolist() == [size, size + 1]
    with pytest.raises(UserError, match="has the token 'disc</w>' already; give the new word another name"):
        tokens.load(tmp_path, added={"disc</w>": 1})


def _remove(name):
    return lambda folder: (folder / name).unlink()


def _write(name, text):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_remove("merges.txt"), "merges.txt: no such file; a tokenizer is both vocab.json and merges.txt"),
        (_remove("vocab.json"), "vocab.json: no such file; a tokenizer is both vocab.json and merges.txt"),
        (_write("vocab.json", "[1, 2"), "vocab.json: not JSON"),
        (_write("vocab.json", '{"a": "b"}'), "vocab.json: no vocabulary, which gives each token a number"),
        (_write("vocab.json", '{"a": 0, "b": 0}'), "vocab.json: no vocabulary"),
        (_write("vocab.json", '{"a": 0}'), "vocab.json: has no token <|startoftext|>; only tokenizers of CLIP"),
        (_write("merges.txt", "#version: 0.2\na b c\n"), "merges.txt: no merges, which are pairs of tokens"),
        (_write("merges.txt", "no where\n"), "vocab.json: no tokenizer"),
        (_write("tokenizer.json", "{}"), "tokenizer.json: no byte-pair encoding"),
        (_write("tokenizer.json", '{"model": {"type": "WordPiece"}}'), "tokenizer.json: no byte-pair encoding"),
        (_write("tokenizer_config.json", '{"pad_token": "<fill>"}'), "has no token '<fill>', with which its folder"),
    ],
)
def test_tokenizer_files_that_are_missing_or_damaged(tmp_path, harm, said):
    write_tokenizer(tmp_path)
    harm(tmp_path)
    with pytest.raises(UserError) as raised:
        tokens.load(tmp_path)
    assert said in str(raised.value)


def test_a_folder_without_a_tokenizer_and_a_missing_library(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"has neither tokenizer.json nor vocab.json with merges.txt; copy"):
        tokens.load(tmp_path)
    write_tokenizer(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"needs the tokenizers library: pip install 'jaxgen\[text\]'"):
        tokens.load(tmp_path)


def test_damaged_files_end_in_one_line(tmp_path):
    write_tokenizer(tmp_path)
    names = ("vocab.json", "merges.txt", "tokenizer_config.json")
    whole = {name: (tmp_path / name).read_bytes() for name in names}
    model = {"type": "BPE", "vocab": json.loads(whole["vocab.json"]), "merges": [["r", "e"]]}
    added = [{"id": len(model["vocab"]), "content": "<lung>", "special": False}]
    whole["tokenizer.json"] = json.dumps({"model": model, "added_tokens": added}).encode()
    rng = np.random.default_rng(0)
    ends = [b"null", b"1e30", b'"\\ud800"', b"[[]]", b"-1", b"", b"\xff", b"{}", b'"a b"', b"true", b"99999999999"]
    refused = 0
    for i in range(160):
        for name, content in whole.items():
            (tmp_path / name).write_bytes(content)
        name = list(whole)[i % 4]
        if name != "tokenizer.json":
            (tmp_path / "tokenizer.json").unlink()
        parts = json.loads(whole[name]) if name == "tokenizer_config.json" else None
        if parts is not None:  # a value in place of another
            text = whole[name].replace(json.dumps(rng.choice(list(parts.values()))).encode(), ends[i // 4 % 11])
        else:
            at = int(rng.integers(len(whole[name])))
            text = whole[name][:at] + ends[i // 4 % 11] + whole[name][at + int(rng.integers(4)) :]
        (tmp_path / name).write_bytes(text)
        try:
            assert tokens.load(tmp_path).encode(["a red <lung>"]).dtype == np.int32
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
    assert 20 < refused < 150


def test_a_prompt_that_is_no_text(tmp_path):
    write_tokenizer(tmp_path)
    with pytest.raises(UserError, match="holds bytes that are no text"):
        tokens.load(tmp_path).encode(["a red \udcff"])
