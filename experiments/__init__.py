"""One readable file a question; run them as `python -m experiments.NAME`."""
