"""Convolution, pooling and precision: the forms that are fast."""
