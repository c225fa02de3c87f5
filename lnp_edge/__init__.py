"""lnp-edge: recurrent spiking networks, pruned before training, verified bit for bit on devices."""

__version__ = "0.2.0"
