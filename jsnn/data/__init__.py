"""Data sets by name, and encoders from samples to frames.

`load(name)` returns a `Dataset` of plain NumPy arrays; libraries that only one data set needs
(tonic, scikit-learn, h5py) are imported when that data set is loaded.
"""

from jsnn.data import event_files, sets
from jsnn.data.dataset import Dataset, Split, folds, refit
from jsnn.data.encoders import ENCODERS, Delta, Direct, Encoder, Latency, Rate, Recorded, Shifted
from jsnn.data.own import from_arrays, load_npz
from jsnn.data.registry import load, names, options, register

__all__ = [
    "ENCODERS",
    "Dataset",
    "Delta",
    "Direct",
    "Encoder",
    "Latency",
    "Rate",
    "Recorded",
    "Shifted",
    "Split",
    "event_files",
    "folds",
    "from_arrays",
    "load",
    "load_npz",
    "names",
    "options",
    "refit",
    "register",
    "sets",
]
