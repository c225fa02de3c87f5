"""lnp-edge: recurrent spiking networks, pruned before training, proven bit for bit on microcontrollers."""
