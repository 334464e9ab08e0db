"""Timings, each against something else in the same process, in turns."""
