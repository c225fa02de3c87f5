"""How long work tells whoever watches how far it is."""

from collections.abc import Callable

Progress = Callable[[float, str], None]  # share that is done, and what to show beside it
