"""Timings, each relative to another timing taken in turns in the same run."""
