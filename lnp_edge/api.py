"""lnp-edge from Python: a trained model, its predictions, and the proof that a board gives the same.

>>> import lnp_edge
>>> model = lnp_edge.load("model.onnx")
>>> model.channels, model.classes, model.rate
(('ax', 'ay'), ('rest', 'walk'), 25.0)
>>> [p.name for p in model.predict(recording)]     # recording: counts, one row per sample
['rest', 'walk', 'walk']
>>> stream = model.stream()
>>> said = [stream.push(sample) for sample in recording]
>>> sum(p is not None for p in said)
3
>>> model.verify("host").ok
True

Floats are values as the training files held them: physical values where those were, else counts (model.quantities,
in_file). Integers are counts; if the files held physical values, say so: given="counts" or given="values". A pandas
DataFrame may have the channels in any order, and other columns. docs/python.md says more.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge import readers
from lnp_edge.base.errors import ConfigError, DataError, LnpError
from lnp_edge.interchange import onnx_file, windows_file
from lnp_edge.runtime import host
from lnp_edge.runtime.host import Prediction
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.rows import HOLD, SKIP, STOP
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.quantity import Quantity, is_missing, rounded

if TYPE_CHECKING:
    from lnp_edge.stages.proof import Proof

COUNTS, VALUES = "counts", "values"
HUGE = 10**300
GIVE = "give integers or floats"
__all__ = ["LnpError", "Model", "Prediction", "Stream", "load"]


def load(path: str | os.PathLike) -> Model:
    """The model of a model.onnx. Raises LnpError (ModelError) if the file is damaged or foreign."""
    return Model(onnx_file.load(Path(path)), Path(path))


class Model:
    """A trained, quantised model. Everything it computes has the bits of the device.

    path : its file, beside which verify() looks for real windows
    """

    def __init__(self, model: QuantizedModel, path: Path | None = None):
        self.quantized, self._path = model, path

    def __repr__(self) -> str:
        what = f"forecasts {', '.join(self.classes)}" if self.quantized.forecast else f"{len(self.classes)} classes"
        return f"<lnp_edge.Model {self.fingerprint:08x}: {len(self.channels)} channels, {self.rate:g} Hz, {what}>"

    @property
    def channels(self) -> tuple[str, ...]:
        return self.quantized.channels

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, or of what is forecast."""
        return self.quantized.classes

    @property
    def rate(self) -> float:
        """Samples a second, Hz."""
        return round(1 / self.quantized.sample_dt, 9)

    @property
    def window(self) -> int:
        """Samples from which a prediction is made; of a stream, those before the first one."""
        return self.quantized.window

    @property
    def hop(self) -> int:
        """Samples from one prediction to the next."""
        return self.quantized.hop

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Unit, zero and scale of each channel; () if nothing is known but counts."""
        return self.quantized.quantities

    @property
    def missing(self) -> tuple[float, ...]:
        """Values that stand for no sample, as the training files held them, such as -999. NaN always does."""
        return self.quantized.missing

    @property
    def fingerprint(self) -> int:
        return self.quantized.fingerprint

    def counts(self, x: Any, given: str | None = None, missing: str = STOP) -> NDArray[np.int16]:
        """Samples as counts, int16 [..., channels].

        x : NumPy, lists, or a DataFrame, which is taken by the names of its columns
        given : "counts", or "values" as the training files held them; without it, floats are values and integers
            counts. If the files held physical values, only int16, which counts() gives, are taken for counts
            unasked: an integer of another type may be a value that happens to be whole
        missing : what becomes of a missing value, see stream(): "hold", of the samples [..., T, channels], or "stop".
            Not "skip": an array has no gaps

        Physical values beyond the range of int16 counts are clipped to it, as a sensor would. Raises
        DataError for another number of channels, missing values, counts outside int16, or that are not whole,
        and for integers that may be either.
        """
        if missing not in (HOLD, STOP):
            hint = f"choose {HOLD} or {STOP}; predict and stream can {SKIP} samples, an array of counts has no gaps"
            raise ConfigError(f"missing is {str(missing)[:40]!r}", hint)
        samples = self._samples(x, given)
        if missing == HOLD and samples.gone.any():
            if said := self._of_infinity(samples):
                _warn(said)
            return self._held(samples)
        if samples.gone.any():
            at = tuple(np.argwhere(samples.gone)[0].tolist())
            value = samples.x[at]
            none = is_missing(np.asarray(value), self.missing) and not np.isnan(value)
            what = f"{self._at(at)} is {value:.9g}, which stands for no value" if none else f"{self._at(at)} is missing"
            hint = 'missing="hold" takes the channel\'s last value, as lnp run does; '
            raise DataError(what, hint + 'predict and stream also take "skip", which begins anew after it')
        return self._counted(samples)

    def _held(self, samples: _Samples) -> NDArray[np.int16]:
        """Counts in which the last value of a channel stands for a missing one."""
        gone = np.atleast_2d(samples.gone)
        number = np.arange(gone.shape[-2])[:, None]
        latest = np.maximum.accumulate(np.where(gone, -1, number), axis=-2)  # sample of each value; -1: none yet
        if (latest < 0).any():
            at = tuple(np.argwhere((latest < 0).reshape(samples.gone.shape))[0].tolist())
            first = int((latest < 0).any(axis=-1).sum(axis=-1).max())
            known = first < gone.shape[-2]
            hint = (
                f"begin at sample {first}, from which each channel has one" if known else "give samples that have one"
            )
            raise DataError(f"{self._at(at)} is missing, and no value precedes it", hint)
        counts = self._counted(samples)
        return np.take_along_axis(np.atleast_2d(counts), latest, axis=-2).reshape(counts.shape)

    def _of_infinity(self, samples: _Samples) -> str:
        """What is said of the first infinity; "" if there is none."""
        if samples.x.dtype.kind != "f" or not (wild := np.isinf(samples.x)).any():
            return ""
        at = tuple(np.argwhere(wild)[0].tolist())
        return f"{self._at(at)} is {samples.x[at]}, which is taken for a missing value"

    def _at(self, index: tuple[int, ...]) -> str:
        """A place in an array of samples, in words."""
        *before, channel = index
        names = ("window", "sample")[2 - len(before) :] if len(before) < 3 else ()
        where = ", ".join(f"{name} {k}" for name, k in zip(names, before, strict=True)) if names else f"{before}"
        return f"{self.channels[channel]}" + f" of {where}" * bool(before)

    def _samples(self, x: Any, given: str | None) -> _Samples:
        if given not in (None, COUNTS, VALUES):
            raise ConfigError(f"given is {str(given)[:40]!r}", f"choose {COUNTS} or {VALUES}")
        if hasattr(x, "to_numpy") and hasattr(x, "index"):
            x = self._of_pandas(x)
        masked = np.ma.getmaskarray(x) if isinstance(x, np.ma.MaskedArray) else False
        try:
            x = np.asarray(x)  # without its mask
        except ValueError:
            raise DataError("the samples differ in length", "give one value per channel in every sample") from None
        if x.dtype.kind == "O":
            x, none = _without_none(x)
            masked = masked | none  # not in place: the mask is the caller's
        if x.ndim == 0 or x.shape[-1] != len(self.channels):
            hint = f"the last axis must be the channels {', '.join(self.channels)}"
            raise DataError(f"samples have shape {x.shape}, not (..., {len(self.channels)})", hint)
        if x.dtype.kind not in "iuf":
            raise DataError(f"samples are {x.dtype}, not numbers", GIVE)
        physical = [q.unit for q in self._quantities if not q.in_file]
        if physical and given is None and x.dtype.kind in "iu" and x.dtype.type is not np.int16:
            units = ", ".join(dict.fromkeys(filter(None, physical))) or "physical values"
            raise DataError(
                f"samples are {x.dtype}: counts, or values that happen to be whole ({units})?",
                f'say which: given="{COUNTS}" or given="{VALUES}"; floats are values, int16 are counts',
            )
        as_counts = given == COUNTS or (given is None and x.dtype.kind != "f")
        held = [not as_counts or q.in_file for q in self._quantities]  # as in files, else counts
        return _Samples(x, is_missing(x, ()) | (is_missing(x, self.missing) & held) | masked, as_counts)

    @property
    def _quantities(self) -> tuple[Quantity, ...]:
        return self.quantities or (Quantity(),) * len(self.channels)

    def _counted(self, samples: _Samples) -> NDArray[np.int16]:
        """Counts of samples without a missing value."""
        x = np.where(samples.gone, samples.x.dtype.type(0), samples.x)
        found = np.empty(x.shape, np.int16)
        for c, quantity in enumerate(self._quantities):
            values = x[..., c]
            if not (samples.as_counts or quantity.in_file):
                found[..., c] = rounded(quantity.counts(values.astype(np.float64)))
                continue
            for wrong, what, hint in (
                (values != np.rint(values), "not a whole number", "counts are whole"),
                ((values < -32768) | (values > 32767), "outside -32768..32767", "scale counts like the training data"),
            ):
                if wrong.any():
                    at = tuple(np.argwhere(wrong)[0].tolist())
                    of = "" if quantity.in_file else f'; given="{VALUES}" takes values in {quantity.unit or "its unit"}'
                    raise DataError(f"{self._at((*at, c))} is {values[at]:.9g}, {what}", hint + of)
            found[..., c] = values
        return found

    def _of_pandas(self, x: Any) -> NDArray:
        """A DataFrame by the names of its columns; a Series, one sample, by its labels if these are names."""
        labels = list(x.columns) if hasattr(x, "columns") else list(x.index)
        if hasattr(x, "columns") or any(isinstance(label, str) for label in labels):
            chosen = [self._label(name, labels) for name in self.channels]
            self._say_units(chosen)
            x = x[chosen]
        found: NDArray = x.to_numpy()
        if found.dtype.kind != "O":
            return found
        # Objects, or pandas' own integers and floats, which may be missing.
        columns = x.dtypes.items() if hasattr(x, "columns") else [("", x.dtype)]
        kinds = {name: str(kind).lower() for name, kind in columns}
        for name, kind in kinds.items():
            if not kind.startswith(("int", "uint", "float", "double", "object")):
                raise DataError(f"{f'column {name!r} is' if name else 'samples are'} {kind}, not numbers", GIVE)
        gone = x.isna().to_numpy()
        if "object" in kinds.values():
            found = found.copy()  # it may be the caller's
            found[gone] = None
            return found
        if not all("int" in kind for kind in kinds.values()):
            return x.to_numpy(dtype=np.float64, na_value=np.nan)
        small = all(kind.startswith("int16") for kind in kinds.values())
        return np.ma.masked_array(x.to_numpy(dtype=np.int16 if small else np.int64, na_value=0), gone)

    def _label(self, name: str, labels: list) -> Any:
        """The label of a channel: its name, else with a unit or in another case, as in the header of a file."""
        keys = labels if name in labels else [readers.key(label) for label in labels]
        wanted = name if name in labels else readers.key(name)
        if keys.count(wanted) != 1:
            what = f"no column {name!r}" if wanted not in keys else f"column {name!r} occurs twice"
            raise DataError(what, f"the model's channels are {', '.join(self.channels)}")
        return labels[keys.index(wanted)]

    def _say_units(self, labels: list) -> None:
        """Warn of the first label with another unit than the model's, as lnp run does."""
        columns = readers.named_columns([str(label) for label in labels], [readers.NUMBER] * len(labels))
        said = (readers.other_unit(*both) for both in zip(columns, self._quantities, strict=True))
        if first := next(filter(None, said), ""):
            _warn(first)

    def predict(self, x: Any, missing: str = STOP, given: str | None = None) -> list[Prediction]:
        """Every prediction for a recording [T, channels], or one for each window [W, window, channels].

        missing, given : see stream() and counts()

        Windows are apart: each is a stream of its own, so that its prediction has number 0. A recording
        shorter than a window gives none, and so does a window that loses a sample. Raises DataError as counts()
        does, and for windows of another length. Warns once if in one window more than a fifth of a channel's
        samples leave the training range.
        """
        stream = self.stream(missing, given)
        counts, gone = stream._read(x)
        if counts.ndim != 2 and (counts.ndim != 3 or counts.shape[1] != self.window):
            hint = f"give a recording (T, {len(self.channels)}), or windows of {self.window} samples"
            raise DataError(f"samples have shape {counts.shape}", hint)
        if counts.ndim == 2:
            return list(stream._extend(counts, gone))
        found = list[Prediction]()
        for one in zip(counts, gone, strict=True):
            stream.begin()
            found += stream._extend(*one)
        return found

    def stream(self, missing: str = STOP, given: str | None = None) -> Stream:
        """A stream of samples that arrive one by one.

        missing : what becomes of a missing value (NaN, None, a mask, infinity, one of Model.missing), as in lnp run:
            "hold" takes the channel's last value, "skip" loses the sample, which is a gap, "stop" raises DataError
        given : see counts()
        """
        return Stream(self, missing, given)

    def verify(self, board: str = "cortex-m4", steps: int = 2000, seed: int = 1) -> Proof:
        """Build the model's firmware, run it on an emulated board and compare all that `lnp verify` does.

        `steps` steps of a synthetic stimulus, the real windows beside the model's file, if there are some, the
        self-test, and the decisions of an app. The result's `ok` says whether all are equal, `lines()` the rest.
        Raises LnpError if a compiler or an emulator is missing, or for a real board: `lnp verify --port` asks those.
        """
        from lnp_edge.stages.proof import Inputs, prove

        for name, value, least in (("steps", steps, 1), ("seed", seed, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} is {value!r}", f"choose a whole number from {least}")
        windows = None if self._path is None else windows_file.load(self.quantized, self._path)
        return prove(self.quantized, board, Inputs(windows, steps, seed))


@dataclass(frozen=True)
class _Samples:
    """As given: x [..., channels], which of its values are missing, and whether all others are counts."""

    x: NDArray
    gone: NDArray[np.bool_]
    as_counts: bool


def _without_none(x: NDArray) -> tuple[NDArray, NDArray[np.bool_]]:
    """Python's own numbers as an array of integers or floats, 0 in place of None; and where None was."""
    none = np.array([value is None for value in x.flat], bool).reshape(x.shape)
    kinds = {type(value) for value in x[~none].flat}
    if not all(issubclass(kind, int | float | np.integer | np.floating) and kind is not bool for kind in kinds):
        return x, none
    whole = all(issubclass(kind, int | np.integer) for kind in kinds) and bool(kinds)
    try:
        return np.where(none, 0, x).astype(np.int64 if whole else np.float64), none
    except OverflowError:  # an integer of more than 64 bits, or beyond all floats
        inside = [0 if value is None else min(max(value, -HUGE), HUGE) for value in x.flat]
        return np.array(inside, np.float64).reshape(x.shape), none


def _warn(text: str) -> None:
    """Warn of the line outside this package that called it."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


def _once() -> Callable[[str], None]:
    """Warns of the first text that it is given."""
    said = list[str]()

    def tell(text: str) -> None:
        if not said:
            said.append(text)
            _warn(text)

    return tell


class Stream:
    """Samples in, predictions out; see Model.stream. Warns once, as Model.predict does.

    held : values so far for which the channel's last one stood
    """

    def __init__(self, model: Model, missing: str = STOP, given: str | None = None):
        if missing not in (HOLD, SKIP, STOP):
            raise ConfigError(f"missing is {str(missing)[:40]!r}", f"choose {HOLD}, {SKIP} or {STOP}")
        self._model, self._missing, self._given = model, missing, given
        self._last: NDArray[np.int16] | None = None
        self._tell_of_infinity = _once()
        self._stream = host.Stream(Reference(model.quantized), model.quantized, _once())
        self.held = 0

    def push(self, sample: Any) -> Prediction | None:
        """Take the next sample [channels], counts or physical values; the prediction that is due, if one is."""
        counts, gone = self._read(sample)
        if counts.ndim != 1:
            raise DataError(f"a sample has shape {counts.shape}", f"give {len(self._model.channels)} values")
        return self._taken(counts, gone)

    def _read(self, samples: Any) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        """Counts, and which of them stand for a missing value."""
        model = self._model
        if self._missing == STOP:
            counts = model.counts(samples, self._given)
            return counts, np.zeros(counts.shape, bool)
        found = model._samples(samples, self._given)
        if said := model._of_infinity(found):
            self._tell_of_infinity(said)
        return model._counted(found), found.gone

    def _taken(self, row: NDArray[np.int16], gone: NDArray[np.bool_]) -> Prediction | None:
        if gone.any():
            if self._missing == SKIP or self._last is None:
                self._stream.gap(1)
                return None
            row = np.where(gone, self._last, row)
            self.held += int(gone.sum())
        self._last = row
        return self._stream.push(row)

    def extend(self, samples: Any) -> Iterator[Prediction]:
        """Take samples [T, channels]; yields the predictions that are due."""
        counts, gone = self._read(samples)
        if counts.ndim != 2:
            raise DataError(f"samples have shape {counts.shape}", f"give (T, {len(self._model.channels)})")
        yield from self._extend(counts, gone)

    def _extend(self, counts: NDArray[np.int16], gone: NDArray[np.bool_]) -> Iterator[Prediction]:
        for row in zip(counts, gone, strict=True):
            if found := self._taken(*row):
                yield found

    def begin(self) -> None:
        """Begin anew after a gap: the next sample does not follow on the last."""
        self._last = None
        self._stream.begin()
