"""One readable script per question; run them as `python -m experiments.NAME`."""
