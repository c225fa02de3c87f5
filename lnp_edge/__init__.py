"""lnp-edge: recurrent spiking networks, pruned before training, proven bit for bit on microcontrollers."""

__version__ = "0.2.0"
