"""Autoencoders whose code is made of entries of a learned codebook."""

from jaxgen import draws
from jaxgen.families.autoencoder import squared_error
from jaxgen.losses.autoencoding import codebook_loss, straight_through
from jaxgen.nets.quantiser import init_codebook, perplexity, quantise
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def vector_quantised_model(
    encoder: Net, decoder: Net, entries: int, *, commitment: float = 0.25, data: str = "image"
) -> Model:
    """A vector-quantised autoencoder of ``batch[data]``: each vector that the encoder gives is replaced by the nearest
    entry of a codebook.

    Trained on ``mean |decoder(c) - x|^2`` plus `jaxgen.losses.codebook_loss`, c the codes, with the straight-through
    gradient for the encoder. The codebook starts at vectors that the fresh encoder gives of the first batch, so that
    none of it is out of reach.

    Args:
        encoder: ``apply(params, x [b, *shape]) -> [b, *spatial, c]``.
        decoder: ``apply(params, codes [b, *spatial, c]) -> [b, *shape]``.
        entries: of the codebook.
        commitment: the weight that holds the encoder to its codes.
        data: the entry of the batch to model.

    Returns:
        A `Model` with the groups ``"encoder"``, ``"decoder"`` and ``"codebook"``, learned together; it logs the
        perplexity, how many entries are in use. The indices of an image are
        ``quantise(params["codebook"]["entries"], encoded).number``; their distribution is another model's work, so
        ``sample`` raises `TypeError`.

    Reference:
        van den Oord et al. 2017, "Neural discrete representation learning", arXiv 1711.00937, eq. 3.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxgen.nets import decoder, encoder
        >>> model = vector_quantised_model(encoder(4, channels=(8, 8)), decoder(1, channels=(8, 8)), 16)
        >>> batch = {"image": jnp.zeros((2, 8, 8, 1))}
        >>> params = model.init(jax.random.key(0), batch)
        >>> params["codebook"]["entries"].shape
        (16, 4)
    """

    def init(key: Key, batch: Batch) -> Params:
        encoder_key, codebook_key, decoder_key = draws.split(key, 3)
        params = encoder.init(encoder_key, batch[data])
        encoded = encoder.apply(params, batch[data])
        return {
            "encoder": params,
            "codebook": {"entries": init_codebook(codebook_key, encoded, entries)},
            "decoder": decoder.init(decoder_key, encoded),
        }

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        encoder_key, decoder_key = draws.split(key, 2)
        x = batch[data]
        encoded = encoder.apply(params["encoder"], x, key=encoder_key)
        codes, index = quantise(params["codebook"]["entries"], encoded)
        back = decoder.apply(params["decoder"], straight_through(encoded, codes), key=decoder_key)
        error = squared_error(back, x)
        info = {"error": error, "perplexity": perplexity(index, entries)}
        return error + codebook_loss(encoded, codes, commitment=commitment), info

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        raise TypeError("a vector-quantised autoencoder has no distribution of its indices: train a model of them")

    return Model(init, (Objective(("encoder", "decoder", "codebook"), loss),), sample)
