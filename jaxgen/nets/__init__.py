"""Networks as pure functions: ``Net(init, apply)``."""

from jaxgen.nets.classifier import classifier
from jaxgen.nets.dit import dit
from jaxgen.nets.mlp import mlp
from jaxgen.nets.rrdb import rrdb_encoder
from jaxgen.nets.unet import unet

__all__ = ["classifier", "dit", "mlp", "rrdb_encoder", "unet"]
