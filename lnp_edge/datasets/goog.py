"""GOOG: the closing price of one share one trading day ahead, from its own past.

The data are 2,148 days from 19 August 2004 to 1 March 2013, with unadjusted prices. goog_daily.npz
holds the GOOG rows of bokeh-sampledata 2026.1 (Quandl's WIKI table, which states public domain);
the SHA-256 of that table is 088f1876...9dd2b016. The first 70 % in time are for training, the last
30 % for the test. No method is known to beat persistence here: the set tests whether a result is
honest.

The close, in counts of 2.5 cents, drifts out of the training range, so it is not an input:
forecasts are only added to it. Inputs are the logarithmic returns over one and five days, the day's
range, the position of the close in it, and the volume relative to its mean over the 20 days before.
"""

from pathlib import Path

import numpy as np

from lnp_edge.datasets import _files as files
from lnp_edge.task.dataset import Dataset, Series

FILE = "goog_daily.npz"
TRAIN = 0.7  # share of the time
CHANNELS = ("close", "return", "return_5d", "range", "position", "volume")
PAST = 20  # days before the first row
_PER_DOLLAR = 40  # 32,767 counts are $819; the highest close is $807
_MAX_BYTES = 1_000_000  # the file has 52 kB inflated


def load(root=None) -> Dataset:
    """The data set from the file in folder `root`; None: from the package.

    Raises DataError if the file is missing or damaged.
    """
    path = files.find(root or Path(__file__).parent, FILE, "reinstall lnp-edge, or give the folder it is in")
    price, volume = files.read_npz(path, ("price", "volume"), _MAX_BYTES)
    try:
        _check(price, volume)
    except ValueError as e:
        raise files.damaged(path, e) from None
    signal, cut = _channels(price / 1000, volume.astype(float)), int(TRAIN * len(price)) - PAST
    return Dataset(
        name="goog",
        dt=86400.0,
        channels=CHANNELS,
        classes=(),
        recordings=(signal[:cut], signal[cut:]),
        labels=np.zeros(2, np.int64),
        groups=np.arange(2),
        held_out=(1,),
        metric="rmse_ratio",
        series=Series(target=(0,), horizon=1, per_unit=float(_PER_DOLLAR), unit="$", unheard=(0,)),
        group_name="part",
    )


def _channels(price: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """The channels, int16 [T - PAST, C].

    price  : [T, 4], open, high, low and close in $
    volume : [T], shares
    """
    _, high, low, close = price.T
    log, at = np.log(close), np.arange(PAST, len(close))
    # Of the PAST days before each day.
    mean = np.convolve(volume, np.ones(PAST) / PAST, "valid")[:-1]
    spread = np.maximum(high - low, 0.001)[at]
    found = [
        _PER_DOLLAR * close[at],
        1e5 * (log[at] - log[at - 1]),
        5e4 * (log[at] - log[at - 5]),
        1e5 * spread / close[at],
        1e4 * (2 * close - high - low)[at] / spread,
        5e3 * np.log(np.maximum(volume[at], 1) / np.maximum(mean, 1)),
    ]
    return np.clip(np.rint(np.stack(found, axis=1)), -32768, 32767).astype(np.int16)


def _check(price, volume):
    hold = files.hold
    hold(price.dtype == volume.dtype == np.int32, f"price is {price.dtype}, volume {volume.dtype}")
    hold(price.ndim == 2 and price.shape[1] == 4 and volume.shape == price.shape[:1], f"price has shape {price.shape}")
    hold(len(price) > 10 * PAST and price.min() > 0 and volume.min() >= 0, "prices are missing or negative")
    hold(price.max() < 1000 * 32768 / _PER_DOLLAR, "a price is beyond $819")
