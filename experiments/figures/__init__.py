"""Published figures compared with those of jsnn, one module per kind."""
