"""The reference, which computes with the device's integers, the link to a device, and `verify`."""
