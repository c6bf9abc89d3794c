"""Files of textual inversion: what diffusers reads into a pipeline, and what is read here, answer alike."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.families.textual_inversion import extend
from jaxgen.interop import clip_text, learned_words, tokens

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
pytest.importorskip("diffusers")
from tests.peers import tiny_pipeline  # noqa: E402

pytestmark = pytest.mark.peers
PROMPTS = ["a red <lung> on the left", "<lung>", "no <lung>, a disc"]


@pytest.mark.parametrize("vectors", [1, 3])
@pytest.mark.parametrize("writer", ["ours", "theirs"])
def test_the_same_word_in_both(vectors, writer, tmp_path):
    pipe = tiny_pipeline.pipeline(tmp_path)
    rows = np.random.default_rng(0).standard_normal((vectors, tiny_pipeline.WIDTH)).astype(np.float32)
    if writer == "ours":
        learned_words.save(tmp_path, "<lung>", rows)
    else:
        content = torch.from_numpy(rows if vectors > 1 else rows[0])
        safetensors_torch.save_file({"<lung>": content}, tmp_path / "learned_embeds.safetensors")
    pipe.text_encoder.save_pretrained(tmp_path / "text_encoder")

    pipe.load_textual_inversion(str(tmp_path))
    with torch.no_grad():
        expected = pipe.encode_prompt(PROMPTS, "cpu", 1, False)[0].numpy()

    word, found = learned_words.load(tmp_path)
    np.testing.assert_array_equal(found, rows)
    tokenizer = tokens.load(tmp_path / "words", added={word: len(found)})
    _, params, config = clip_text.load(tmp_path)
    grown = clip_text.network({**config, "vocab_size": tokenizer.size})
    whole = extend({"text": params}, jnp.asarray(found))["text"]
    got = grown.apply(whole, tokenizer.encode(PROMPTS))
    np.testing.assert_allclose(got, expected, atol=2e-5)
