"""Data sets by name: those of the library, registered ones, files and functions."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path

from jsnn.data._cache import Cache
from jsnn.data._files import Folder, user_cache
from jsnn.data.dataset import Dataset
from jsnn.data.own import load_npz, loader_of


@dataclasses.dataclass(frozen=True)
class Entry:
    """How to load one data set.

    Attributes:
        loader: `module:function` below `jsnn.data`, imported when it is asked for.
        folder: name of its folder below the data folder; None if it needs no files.
        upstream: address where a person finds it.
        other_folders: further names of the folder, taken where the first is not there.
    """

    loader: str
    folder: str | None
    upstream: str
    other_folders: tuple[str, ...] = ()

    def function(self) -> Callable[..., Dataset]:
        """The loader itself."""
        module, _, function = self.loader.partition(":")
        return getattr(importlib.import_module(f"jsnn.data.sets.{module}"), function)


ENTRIES: dict[str, Entry] = {
    "digits": Entry(
        "digits:load_digits",
        None,
        "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    ),
    "yinyang": Entry(
        "yinyang:load_yinyang", "yinyang", "https://github.com/lkriener/yin_yang_data_set"
    ),
    "mnist": Entry("idx:load_mnist", "mnist", "http://yann.lecun.com/exdb/mnist/"),
    "fashion-mnist": Entry(
        "idx:load_fashion_mnist",
        "fashion_mnist",
        "https://github.com/zalandoresearch/fashion-mnist",
    ),
    "cifar10": Entry(
        "cifar10:load_cifar10", "cifar10", "https://www.cs.toronto.edu/~kriz/cifar.html"
    ),
    "qtdb": Entry(
        "qtdb:load_qtdb",
        "qtdb_ecg",
        "https://github.com/byin-cwi/Efficient-spiking-networks",
    ),
    "ev-objects": Entry(
        "ev_objects:load_ev_objects", "tactile", "https://github.com/clear-nus/TactileSGNet"
    ),
    "nmnist": Entry(
        "nmnist:load_nmnist",
        "NMNIST",
        "https://www.garrickorchard.com/datasets/n-mnist",
        ("nmnist",),
    ),
    "nmnist-small": Entry(
        "nmnist:load_nmnist_small",
        "nmnist",
        "https://www.garrickorchard.com/datasets/n-mnist",
        ("NMNIST",),
    ),
    "fsdd": Entry(
        "fsdd:load_fsdd", "fsdd", "https://github.com/Jakobovski/free-spoken-digit-dataset"
    ),
    "shd": Entry(
        "shd:load_shd",
        "SHD",
        "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/",
    ),
    "ssc": Entry(
        "shd:load_ssc",
        "SSC",
        "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/",
    ),
    "dvs-gesture": Entry(
        "dvs_gesture:load_dvs_gesture", "DVSGesture", "https://research.ibm.com/dvsgesture/"
    ),
    "cifar10-dvs": Entry(
        "cifar10_dvs:load_cifar10_dvs", "CIFAR10DVS", "https://doi.org/10.3389/fnins.2017.00309"
    ),
    "smnist": Entry("smnist:load_smnist", "mnist", "http://yann.lecun.com/exdb/mnist/"),
}
RENAMED = {
    "nmnist-full": "'nmnist' now, the whole of N-MNIST; its first 1,000 and 100 recordings, "
    "'nmnist' before, are 'nmnist-small'",
}


# Loaders by name that users have registered.
_REGISTERED: dict[str, Callable[..., Dataset]] = {}


def register(name: str, loader: Callable[..., Dataset]) -> None:
    """Make a data set of your own known by name in this process.

    `load(name, seed=seed, **options)` then calls `loader(seed=seed, **options)`; options are its
    arguments with a default. A name registered again is replaced.

    Raises:
        ValueError: a name of the library's, or one that means a file or a function; no function.

    Example:
        >>> import numpy as np
        >>> from jsnn.data import from_arrays, load
        >>> def blink(seed, samples=20):
        ...     return from_arrays("blink", np.eye(samples), np.arange(samples) % 2, seed=seed)
        >>> register("blink", blink)
        >>> len(load("blink", samples=10).train)
        7
    """
    if name in ENTRIES or name in RENAMED or not re.fullmatch(r"[\w-]+", name):
        raise ValueError(
            f"expected a name of your own of letters, digits, - and _, found {name!r}; those of "
            f"the library are {', '.join(ENTRIES)}"
        )
    if not callable(loader):
        raise ValueError(f"expected a function loader(seed, ...), found {loader!r}")
    _REGISTERED[name] = loader


def names() -> tuple[str, ...]:
    """Names of the data sets `load` knows.

    Example:
        >>> "digits" in names()
        True
    """
    return (*ENTRIES, *_REGISTERED)


def options(name: str) -> dict[str, object]:
    """Options of one data set with their defaults.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> options("digits")
        {'image': False, 'validation': 0.1}
    """
    parameters = inspect.signature(_own(name) or _entry(name).function()).parameters
    return {
        key: parameter.default
        for key, parameter in parameters.items()
        if parameter.default is not inspect.Parameter.empty and key != "seed"
    }


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    cache_dir: str | os.PathLike[str] | None = None,
    **chosen: object,
) -> Dataset:
    """Load a data set by name.

    Args:
        name: one of `names()`; the path of an `.npz` file (`jsnn.data.load_npz`); or
            `package.module:function`, called with the seed and the options, which returns a
            `Dataset` (`jsnn.data.from_arrays` makes one).
        data_dir: folder that holds the folders of the data sets. None: the environment variable
            JSNN_DATA, and where that is not set, jsnn's own cache folder, to which missing files
            are downloaded. A folder that was named is only read.
        seed: seed of every split that is not published (validation, and test of some).
        cache_dir: folder for converted arrays; None: `arrays` in jsnn's own cache folder.
        **chosen: options of the data set, see `options(name)`.

    Raises:
        ValueError: for an unknown name or option, and for damaged files.
        FileNotFoundError: naming the folder, the files and their upstream address.

    Example:
        >>> data = load("digits")
        >>> data.train.frames.shape, data.test.labels.shape, data.classes
        ((1294, 64), (360,), 10)
    """
    own = _own(name)
    allowed = options(name)
    for option in chosen:
        if option not in allowed:
            listed = ", ".join(allowed) or "none"
            raise ValueError(f"data set {name!r} has no option {option!r}; its options: {listed}")
    if own is not None:
        if data_dir is not None:
            raise ValueError(f"data set {name!r} is none of the library's: leave data_dir away")
        dataset = own(seed=seed, **chosen)
        if not isinstance(dataset, Dataset):
            raise ValueError(
                f"data set {name!r}: expected its function to return a jsnn.data.Dataset "
                f"(jsnn.data.from_arrays makes one), found {type(dataset).__name__}"
            )
        return dataset
    entry = _entry(name)
    cache = Cache(Path(cache_dir) if cache_dir is not None else user_cache() / "arrays")
    return entry.function()(_folder(name, entry, data_dir), cache, seed, **chosen)


def _own(name: str) -> Callable[..., Dataset] | None:
    """The loader of a data set that is not the library's; None for one that is."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name.endswith(".npz"):
        return functools.partial(load_npz, name)
    return loader_of(name) if ":" in name else None


def _entry(name: str) -> Entry:
    if name in RENAMED:
        raise ValueError(f"data set {name!r} is called {RENAMED[name]}")
    if name not in ENTRIES:
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"unknown data set {name!r}{hint} Known: {', '.join(names())}; or the path of an .npz "
            "file, or package.module:function"
        )
    return ENTRIES[name]


def _folder(name: str, entry: Entry, data_dir: str | os.PathLike[str] | None) -> Folder:
    named = data_dir if data_dir is not None else os.environ.get("JSNN_DATA")
    root = Path(named) if named else user_cache() / "data"
    if named and entry.folder is not None and not root.is_dir():
        raise FileNotFoundError(
            f"data set {name!r}: the data folder {root} does not exist. Name the folder that holds "
            f"{entry.folder!r} with data_dir=, --data-dir or the environment variable JSNN_DATA. "
            f"Upstream: {entry.upstream}"
        )
    path = root / entry.folder if entry.folder is not None else root
    others = (root / other for other in entry.other_folders)
    if not path.is_dir():
        path = next((other for other in others if other.is_dir()), path)
    return Folder(name, path, entry.upstream, may_download=not named)
