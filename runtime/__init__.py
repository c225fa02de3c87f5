"""The proof: a reference that runs the device's integers, the link to a device, and their comparison."""
