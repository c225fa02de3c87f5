"""Wind: the speed 80 m above ground one hour ahead, from a mast that reports every 10 minutes.

The data are 98,469 steps from 9 January 2016, of which 20 days are missing. They are from
brightwind 2.7.0, MIT licence (beside the file); wind_mast_10min_int16.npz was made from its
10-minute file as float32, SHA-256 04b64a49...e6361b56. The first 70 % in time are for training, the
last 30 % for the test.

Counts are 0.01 m/s and 0.1 % relative humidity. The direction is given as sine and cosine, because
359 and 1 degrees are neighbours. So is the hour of the day, which affects the wind and which a
device can count. The day of the year is left out because training contains each day only about
once.

The pressure drifts by tens of hPa over months, more than weather does, so its channel is the
difference from the mean over the last 3 hours. So is that of the temperature, whose level is the
season's. Four more channels are the differences, in 0.001 m/s, of the speed at 80 m from its own
mean over 20 minutes to 12 hours: 8-bit inputs of the speeds lose such differences. Both were chosen
on training data, where they lower the RMSE ratio by 0.014 and 0.026.
"""

from pathlib import Path

import numpy as np

from lnp_edge.datasets import _files as files
from lnp_edge.task.dataset import Dataset, Series

FILE = "wind_mast_10min_int16.npz"
DT = 600.0  # s
START = 15.5  # hour of the day at the first step
TRAIN = 0.7  # fraction of the time
CHANNELS = ("Spd80m", "Spd60m", "Spd40m", "Dir_sin", "Dir_cos", "T_rise", "RH", "P_rise", "hour_sin", "hour_cos")
# Channel: steps of the mean.
MEANS = {"above_20min": 2, "above_1h": 6, "above_3h": 18, "above_12h": 72}
RISE = 18  # steps of the mean for T_rise and P_rise
HORIZON = 6  # steps, 1 hour
MISSING = -32768  # in the file
_UNIT = 10_000  # counts of a sine of 1
_ROWS = 7  # of the file: three speeds, direction in 0.1 degrees, temperature, humidity, pressure
_MAX_BYTES = 8_000_000  # the file has 1.4 MB inflated


def load(root=None) -> Dataset:
    """The data set from the file in folder `root`; None: from the package.

    Raises DataError if the file is missing or damaged.
    """
    path = files.find(root or Path(__file__).parent, FILE, "reinstall lnp-edge, or give the folder it is in")
    (signal,) = files.read_npz(path, ("signal",), _MAX_BYTES)
    try:
        files.hold(signal.dtype == np.int16 and signal.ndim == 2 and len(signal) == _ROWS, f"signal is {signal.shape}")
        files.hold(signal.shape[1] > 0, "signal is empty")
    except ValueError as e:
        raise files.damaged(path, e) from None
    present = (signal != MISSING).all(0)
    edges = np.flatnonzero(np.diff(present)) + 1
    cut = int(TRAIN * len(present))
    runs: list[tuple[int, np.ndarray]] = []  # part, counts [T, C]
    for first, run in zip([0, *edges], np.split(signal, edges, axis=1), strict=True):
        if present[first]:
            both = np.split(_channels(run, first), [max(cut - first, 0)])
            runs += [(part, a) for part, a in enumerate(both) if len(a)]
    return Dataset(
        name="wind",
        dt=DT,
        channels=CHANNELS + tuple(MEANS),
        classes=(),
        recordings=tuple(a for _, a in runs),
        labels=np.zeros(len(runs), np.int64),
        groups=np.array([part for part, _ in runs], np.int64),
        held_out=(1,),
        metric="rmse_ratio",
        series=Series(target=(0,), horizon=HORIZON, per_unit=100.0, unit="m/s"),
        group_name="part",
    )


def _channels(signal: np.ndarray, first: int) -> np.ndarray:
    """All channels, int16 [T, C], of a continuous run of the file that starts at step `first`."""
    at = first + np.arange(signal.shape[1])
    direction, hour = np.deg2rad(signal[3] / 10), 2 * np.pi * (START + at * (DT / 3600)) / 24
    circles = [_UNIT * f(angle) for angle in (direction, hour) for f in (np.sin, np.cos)]
    above = [10.0 * (signal[0] - _mean(signal[0], steps)) for steps in MEANS.values()]
    # In 0.001 degrees C and 0.01 hPa.
    rise = [10.0 * (x - _mean(x, RISE)) for x in (signal[4], signal[6])]
    found = np.stack([*signal[:3], *circles[:2], rise[0], signal[5], rise[1], *circles[2:], *above], axis=1)
    return np.clip(np.rint(found), -32768, 32767).astype(np.int16)


def _mean(x: np.ndarray, steps: int) -> np.ndarray:
    """Running mean of x [T] over the last `steps` steps, or over fewer at the beginning."""
    total = np.concatenate([[0.0], np.cumsum(x, dtype=np.float64)])
    last = np.arange(1, len(x) + 1)
    since = np.maximum(last - steps, 0)
    return (total[last] - total[since]) / (last - since)
