"""Stable Diffusion pipelines of diffusers that are small enough for tests, every parameter random."""

import diffusers
import torch
import transformers

from tests.interop.clip_files import write_tokenizer

VERSIONS = {
    1: {"attention_head_dim": 2, "use_linear_projection": False, "hidden_act": "quick_gelu", "pad": "<|endoftext|>"},
    2: {"attention_head_dim": (2, 4), "use_linear_projection": True, "hidden_act": "gelu", "pad": "!"},
}
LENGTH, WIDTH = 12, 16


def randomise(model, seed):
    """Every parameter random: norms, biases and what starts at zero as well."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return model.eval()


def unet(version):
    options = VERSIONS[version]
    return randomise(
        diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=options["attention_head_dim"],
            use_linear_projection=options["use_linear_projection"],
            norm_num_groups=4,
        ),
        1,
    )


def vae():
    model = diffusers.AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.18215,
    )
    return randomise(model, 2)


def text_encoder(version, vocabulary):
    config = transformers.CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        hidden_act=VERSIONS[version]["hidden_act"],
    )
    return randomise(transformers.CLIPTextModel(config), 3)


def pipeline(folder, version=1, scheduler=None):
    """A pipeline; its tokenizer's files lie in `folder`."""
    vocabulary = write_tokenizer(folder / "words", pad=VERSIONS[version]["pad"], length=LENGTH)
    return diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text_encoder(version, vocabulary),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(folder / "words"),
        unet=unet(version),
        scheduler=scheduler or diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
