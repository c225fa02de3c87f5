"""lnp-edge: recurrent spiking networks, pruned before training, verified bit for bit on devices.

>>> import lnp_edge
>>> model = lnp_edge.load("model.onnx")            # doctest: +SKIP
>>> [p.name for p in model.predict(recording)]     # doctest: +SKIP
['rest', 'walk']

api.py has the rest.
"""

from typing import TYPE_CHECKING, Any

from lnp_edge.base.version import VERSION as __version__

if TYPE_CHECKING:
    from lnp_edge.api import LnpError, Model, Prediction, Stream, load

__all__ = ["LnpError", "Model", "Prediction", "Stream", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """The names of api.py, whose imports take a second, when they are first asked for."""
    if name in __all__:
        from lnp_edge import api

        return getattr(api, name)
    raise AttributeError(f"module 'lnp_edge' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
