"""Trajectories of chaotic systems, as recordings of int16 counts for lnp_edge/datasets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from lnp_edge.task.dataset import Dataset, Series

TOLERANCE = 1e-10  # of an integration step, relative and absolute
PER_UNIT = 1000.0  # counts per unit of the state
LYAPUNOV_TIMES = 15  # length of the closed loop, longer than any forecast is valid
Floats = NDArray[np.float64]
Field = Callable[[Floats], Floats]  # d(state)/dt [C, R] of states [C, R]


def trajectories(field: Field, starts: Floats, transient: float, dt: float, steps: int) -> Floats:
    """States [R, steps, C] at t = transient, transient + dt, ... s, from starts [R, C] at t = 0.

    All R trajectories are integrated as one system, with a step that suits all of them.
    """
    shape = starts.T.shape
    times = transient + dt * np.arange(steps)
    found = solve_ivp(
        lambda _, y: field(y.reshape(shape)).ravel(),
        (0.0, times[-1]),
        starts.T.ravel(),
        method="DOP853",
        t_eval=times,
        rtol=TOLERANCE,
        atol=TOLERANCE,
    )
    return found.y.reshape(*shape, steps).transpose(1, 2, 0)


def dataset(
    name: str, field: Field, lyapunov: float, dt: float, near: tuple[float, ...], centre: tuple[float, ...],
    transient: float, warm_up: int, recordings: tuple[int, int], seed: int,
) -> Dataset:  # fmt: skip
    """The data set of a system x, y, z.

    lyapunov   : largest exponent, 1/s
    dt         : s
    near       : recordings start from random points around it
    centre     : the state that becomes count 0
    transient  : s, removed from the start of each trajectory
    warm_up    : steps of a recording before the closed loop
    recordings : numbers for training and for the test

    Recordings are short enough for rounding differences between machines not to reach the counts.
    """
    free_run = round(LYAPUNOV_TIMES / lyapunov / dt)
    counts: list[NDArray[np.int16]] = []
    for part, number in enumerate(recordings):
        starts = np.array(near) + np.random.default_rng([seed, part]).normal(0, 1, (number, 3))
        states = trajectories(field, starts, transient, dt, warm_up + free_run) - np.array(centre)
        counts += list(np.clip(np.rint(states * PER_UNIT), -32768, 32767).astype(np.int16))
    return Dataset(
        name=name,
        dt=dt,
        channels=("x", "y", "z"),
        classes=(),
        recordings=tuple(counts),
        labels=np.zeros(len(counts), np.int64),
        groups=np.repeat([0, 1], recordings),
        held_out=(1,),
        metric="valid_time",
        series=Series((0, 1, 2), 1, PER_UNIT, "", lyapunov=lyapunov, free_run=free_run),
        group_name="part",
    )
