"""HAPT: six activities of 30 users with a smartphone at the waist.

Accelerometer and gyroscope at 50 Hz; counts are acceleration * 8192 in g and angular rate * 2048 in
rad/s. A recording is a continuous run of one activity; postural transitions and unlabelled parts
are left out. A stream is a whole experiment, with both. Reyes-Ortiz et al. 2016, Neurocomputing
171:754; UCI data set 341. docs/data.md covers the licence.
"""

from pathlib import Path

import numpy as np

from lnp_edge.base.errors import DataError
from lnp_edge.datasets import _files as files
from lnp_edge.task.dataset import Dataset, Stream

FILE = "hapt_raw_int16.npz"
ORIGINAL = "RawData"  # folder of UCI's archive
CHANNELS = ("acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z")
CLASSES = ("walking", "walking upstairs", "walking downstairs", "sitting", "standing", "laying")
HELD_OUT = (2, 4, 9, 10, 12, 13, 18, 20, 24)  # UCI's own choice
_SCALE = np.array([8192] * 3 + [2048] * 3)  # counts per g, and per rad/s
_WHERE = "unzip UCI's data set 341 from archive.ics.uci.edu: smartphone activities and postural transitions"
_MAX_BYTES = 40_000_000  # of the .npz file, inflated; it has 15 MB
_MAX_TEXT = 8_000_000  # of a text file; the longest has 2 MB
Run = tuple[np.ndarray, np.ndarray, int]  # signal int16 [T, 6], label [T], user


def load(root=None) -> Dataset:
    """The data set from the .npz file, or else from UCI's folder RawData.

    root : the folder of either; None: $LNP_DATA

    Raises DataError if both are missing, or if the files are damaged.
    """
    path = files.find(root, (FILE, ORIGINAL), _WHERE)
    try:
        whole = _from_npz(path) if path.name == FILE else _from_uci(path)
        runs = [run for signal, label, user in whole for run in _runs(signal, label, user)]
        files.hold(bool(runs), "no activity is labelled")
    except DataError:
        raise
    except Exception as e:  # numpy raises many types for malformed numbers
        raise files.damaged(path, e) from None
    return Dataset(
        name="hapt",
        dt=0.02,
        channels=CHANNELS,
        classes=CLASSES,
        recordings=tuple(signal for signal, _, _ in runs),
        labels=np.array([label for _, label, _ in runs], np.int64),
        groups=np.array([user for _, _, user in runs], np.int64),
        held_out=HELD_OUT,
        group_name="users",
        streams=tuple(_stream(*run) for run in whole),
    )


def _stream(signal, label, user) -> Stream:
    """A whole experiment. label [T] : 1..6, another number for a transition, or less for none"""
    known = (label >= 1) & (label <= len(CLASSES))
    return Stream(signal, np.where(known, label.astype(np.int64) - 1, -1), int(user))


def _runs(signal, label, user):
    """Yield each run of one activity 1..6 as (signal, class from 0, user)."""
    edges = np.flatnonzero(np.diff(label)) + 1
    for part, what in zip(np.split(signal, edges), np.split(label, edges), strict=True):
        if len(what) and 1 <= what[0] <= len(CLASSES):
            yield part, int(what[0]) - 1, int(user)


def _from_npz(path: Path) -> list[Run]:
    """The recordings of all users, from the .npz file."""
    signal, label, length, user = files.read_npz(path, ("signal", "label", "length", "user"), _MAX_BYTES)
    hold = files.hold
    hold(signal.dtype == np.int16 and signal.ndim == 2 and signal.shape[1] == 6, f"signal {signal.shape}")
    for name, a in {"label": label, "length": length, "user": user}.items():
        hold(np.issubdtype(a.dtype, np.signedinteger) and a.ndim == 1, f"{name} is {a.dtype} {a.shape}")
    hold(label.shape == signal.shape[:1] and length.shape == user.shape, "the lengths of the arrays differ")
    hold(length.min(initial=1) > 0 and length.sum(dtype=np.int64) == len(signal), "lengths do not sum to the signal")
    ends = np.cumsum(length.astype(np.int64))[:-1]
    return list(zip(np.split(signal, ends), np.split(label, ends), user.tolist(), strict=True))


def _from_uci(folder: Path) -> list[Run]:
    """The recordings of all users, from UCI's text files.

    acc_expXX_userYY.txt is in g and gyro_expXX_userYY.txt in rad/s; labels.txt has the columns
    experiment, user, label, from, to.
    """
    labels = _text(folder / "labels.txt", 5).astype(np.int64)
    runs = []
    for acc in sorted(folder.glob("acc_exp*_user*.txt"))[:1000]:
        experiment, user = (int(part) for part in acc.stem.removeprefix("acc_exp").split("_user"))
        gyro = acc.with_name(acc.name.replace("acc", "gyro", 1))
        counts = np.rint(np.concatenate([_text(acc, 3), _text(gyro, 3)], axis=1) * _SCALE)
        files.hold(np.abs(counts).max(initial=0) < 2**15, f"{acc.stem} exceeds 4 g or 16 rad/s")
        label = np.full(len(counts), -1)
        for *who, activity, first, last in labels[labels[:, 0] == experiment]:
            files.hold(who[1] == user and 1 <= first <= last <= len(counts), f"{acc.stem}: label {first} to {last}")
            label[first - 1 : last] = activity
        runs.append((counts.astype(np.int16), label, user))
    return runs


def _text(path: Path, columns: int) -> np.ndarray:
    """The finite numbers [T, columns] of a text file."""
    files.hold(path.is_file() and path.stat().st_size <= _MAX_TEXT, f"{path.name} is missing or too long")
    numbers = np.loadtxt(path, ndmin=2)
    files.hold(numbers.shape[1] == columns and bool(np.isfinite(numbers).all()), f"{path.name} {numbers.shape}")
    return numbers
