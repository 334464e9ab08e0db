"""Networks ready to train, one per file."""

from jsnn.models import rate_form
from jsnn.models.conv import ConvNet
from jsnn.models.mlp import MLP
from jsnn.models.spikformer import Spikformer
from jsnn.models.srnn import SRNN

MODELS = {"mlp": MLP, "conv": ConvNet, "srnn": SRNN, "spikformer": Spikformer}

__all__ = ["MLP", "MODELS", "SRNN", "ConvNet", "Spikformer", "rate_form"]
