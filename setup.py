"""Installs lnp_edge/, and three top-level folders that are imported as lnp_edge.<folder>.

As top-level packages, names such as `runtime` and `boards` could clash with other distributions
or with a file beside a notebook.
"""

from setuptools import find_packages, setup

INSIDE = ("firmware_gen", "runtime", "boards")

setup(
    packages=find_packages(include=["lnp_edge*"])
    + [f"lnp_edge.{name}" for name in find_packages(include=[f"{folder}*" for folder in INSIDE])],
    package_dir={f"lnp_edge.{folder}": folder for folder in INSIDE},
)
