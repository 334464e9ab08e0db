"""Fast forms of convolution, pooling and mixed precision."""
