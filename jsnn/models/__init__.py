"""Networks ready to train, one file each."""

from jsnn.models.conv import ConvNet
from jsnn.models.mlp import MLP
from jsnn.models.srnn import SRNN

MODELS = {"mlp": MLP, "conv": ConvNet, "srnn": SRNN}

__all__ = ["MLP", "MODELS", "SRNN", "ConvNet"]
