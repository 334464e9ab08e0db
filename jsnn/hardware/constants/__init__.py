"""Every number from the world, once, beside its source: a module for each source or family."""
