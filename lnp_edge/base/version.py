"""The version of lnp-edge, read by pyproject.toml too."""

VERSION = "0.2.0"
