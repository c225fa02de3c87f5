"""The commands of lnp, one module each."""
