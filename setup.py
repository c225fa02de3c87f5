"""The packages: those in lnp_edge/, and three folders at the top that are imported as lnp_edge.<folder>.

On their own, names such as `runtime` and `boards` would meet other distributions, or a file beside a notebook.
"""

from setuptools import find_packages, setup

INSIDE = ("firmware_gen", "runtime", "boards")

setup(
    packages=find_packages(include=["lnp_edge*"])
    + [f"lnp_edge.{name}" for name in find_packages(include=[f"{folder}*" for folder in INSIDE])],
    package_dir={f"lnp_edge.{folder}": folder for folder in INSIDE},
)
