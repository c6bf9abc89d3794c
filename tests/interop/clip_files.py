"""A made-up vocabulary of CLIP's kind, small enough to be read."""

import json

MERGES = """r e|d </w>|re d</w>|d i|s c</w>|di sc</w>|o f</w>|p h|o t|ph ot|phot o</w>|g re|e n</w>|gre en</w>|f l|
u i|fl ui|d i</w>|t h|th e</w>|l e|f t</w>|le ft</w>|i n|p a|t i|pa ti|pati en|pa tien|
e n|' s</w>|. .|.. .</w>|1 2|o n</w>"""


def letters():
    """The 256 printable stand-ins of bytes, as byte-level encodings have them, in CLIP's order."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + i) for i in range(len(rest))]


def write_tokenizer(folder, *, pad="<|endoftext|>", length=16):
    """``vocab.json``, ``merges.txt`` and ``tokenizer_config.json``, as Stable Diffusion's folders have them."""
    singles = letters()
    known = [*singles, *(f"{letter}</w>" for letter in singles)]
    merges = []
    for line in MERGES.replace("\n", "").split("|"):
        left, right = line.split(" ")
        if left in known and right in known and left + right not in known:
            merges.append(line)
            known.append(left + right)
    known += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(known)}), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    settings = {**special, "pad_token": pad, "model_max_length": length, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return len(known)
