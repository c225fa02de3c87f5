"""The type of progress callbacks."""

from collections.abc import Callable

Progress = Callable[[float, str], None]  # fraction done, 0..1, and a text to show beside it
EpochProgress = Callable[[int, int, dict[str, float]], None]  # epochs done, of how many, the metrics now
