"""MIT-BIH arrhythmia: normal, supraventricular and ventricular heart beats at 120 Hz.

A recording is one beat of one lead, from 0.4 s before its R wave to 0.6 s after it. Classes are N,
S and V of ANSI/AAMI EC57; fusion and unknown beats (F, Q) and the four paced patients are left out.
The 44 records are split into DS1 for training and DS2 for the test (de Chazal et al. 2004, IEEE
Trans. Biomed. Eng. 51:1196). A group is a record; 201 and 202, one in each part, are of the same
man. Moody & Mark 2001, PhysioNet mitdb 1.0.0.

All channels are known to a device that buffers the beat and decides 0.6 s after the R wave:
  ecg        minus its median over the beat; 2000 counts are the patient's usual beat height, a
             running mean over about 50 beats of all kinds up to this one
  slope      difference of ecg from one sample to the next
The rhythm is constant over the beat; RR intervals are those between beats of all kinds, at most 2
  s: rr_before  interval that ends with this beat, ms
  rr_ratio   rr_before over the mean of all earlier intervals of the record, in 1/1000
  rr_local   rr_before over the mean of the last 8 intervals before it, in 1/1000
  rr_after   interval that starts with this beat, ms; 600 if the next beat comes later
"""

import numpy as np

from lnp_edge.datasets import _files as files
from lnp_edge.task.dataset import Dataset

FILE = "mitbih_beats_120hz.npz"
CHANNELS = ("ecg", "slope", "rr_before", "rr_ratio", "rr_local", "rr_after")
CLASSES = ("N", "S", "V")
DS1 = (101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122, 124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230)
DS2 = (100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210, 212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234)
HEIGHT = 2000  # counts
MEMORY = 0.02  # weight of a beat in the running mean of heights
LOWEST = 200  # counts of x, 1/8 mV: the least height of a beat
LONGEST = 2.0  # s, of an RR interval; longer ones are gaps in the annotation
LARGEST = 8.0  # ratio
LOCAL = 8  # intervals
DECIDES = 0.6  # s after the R wave
_WHERE = "make it from PhysioNet's mitdb 1.0.0 as docs/data.md says"
_MAX_BYTES = 60_000_000  # the arrays have 28 MB


def load(root=None) -> Dataset:
    """The data set from the .npz file in folder `root`; None: $LNP_DATA.

    Raises DataError if the file is missing or damaged.
    """
    path = files.find(root, FILE, _WHERE)
    x, y, record, rr = files.read_npz(path, ("x", "y", "record", "rr"), _MAX_BYTES)
    try:
        _check(x, y, record, rr)
        used = np.isin(record, DS1 + DS2)
        x, y, record, rr = (array[used] for array in (x, y, record, rr))
        patients = [record == r for r in np.unique(record)]
        ecg = np.concatenate([_ecg(x[p]).astype(np.int16) for p in patients])
        rhythm = np.concatenate([_rhythm(rr[p]) for p in patients]).astype(np.int16)
    except Exception as e:  # numpy raises many types for malformed arrays
        raise files.damaged(path, e) from None
    keep = np.flatnonzero(y < len(CLASSES))
    beats = np.empty((len(keep), x.shape[1], len(CHANNELS)), np.int16)
    beats[:, :, 0] = ecg[keep]
    beats[:, 0, 1] = 0
    np.subtract(beats[:, 1:, 0], beats[:, :-1, 0], out=beats[:, 1:, 1])
    beats[:, :, 2:] = rhythm[keep, None, :]
    return Dataset(
        name="mitbih",
        dt=1 / 120,
        channels=CHANNELS,
        classes=CLASSES,
        recordings=beats,
        labels=y[keep].astype(np.int64),
        groups=record[keep].astype(np.int64),
        held_out=DS2,
        metric="macro_f1",
        group_name="patients",
    )


def _ecg(x):
    """Channel ecg [B, 120] from a patient's beats x [B, 120], in order of time.

    It uses at most half of the int16 range, so that the slope fits too.
    """
    from scipy.signal import lfilter

    centred = x - np.median(x, axis=1, keepdims=True)
    height = np.ptp(centred, axis=1)
    usual, _ = lfilter([MEMORY], [1, MEMORY - 1], height, zi=[(1 - MEMORY) * height[0]])
    return np.clip(np.rint(centred * (HEIGHT / np.maximum(usual, LOWEST))[:, None]), -(2**14), 2**14 - 1)


def _rhythm(rr):
    """The four rhythm channels [B, 4] of a patient's beats, in order of time.

    rr : [B, 2], intervals before and after each beat in s, 0 if unknown
    """
    before, after = np.where(rr > 0, np.minimum(rr, LONGEST), 0).astype(np.float64).T
    # Sum, in s, and number of the known intervals before each beat's own.
    total = np.cumsum(np.r_[0, before])
    known = np.cumsum(np.r_[0, before > 0])
    beat = np.arange(len(before))
    all_past, last = (_mean(total, known, beat, since) for since in (0 * beat, np.maximum(beat - LOCAL, 0)))
    before = np.where(before > 0, before, last)
    before = np.where(before > 0, before, 1.0)
    ratios = [np.minimum(before / np.where(mean > 0, mean, before), LARGEST) for mean in (all_past, last)]
    after = np.where((after > 0) & (after < DECIDES), after, DECIDES)
    return np.rint(np.stack([before, *ratios, after], axis=1) * 1000)


def _mean(total, known, beat, since):
    """Mean of the known intervals since..beat-1, s; 0 if there is none."""
    return (total[beat] - total[since]) / np.maximum(known[beat] - known[since], 1)


def _check(x, y, record, rr):
    hold = files.hold
    hold(x.dtype == np.int16 and x.shape[1:] == (120,) and len(x) > 0, f"x is {x.dtype} {x.shape}")
    hold(y.dtype == np.uint8 and record.dtype == np.int16, f"y is {y.dtype}, record {record.dtype}")
    hold(rr.dtype == np.float32 and rr.shape == (len(x), 2), f"rr is {rr.dtype} {rr.shape}")
    hold(y.shape == record.shape == (len(x),), "x, y and record differ in length")
    hold(bool((np.diff(record.astype(int)) >= 0).all()), "the patients are not in order")
    hold(bool(np.isfinite(rr).all()) and rr.min() >= 0, "an RR interval is negative or not finite")
