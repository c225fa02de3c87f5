"""The generator: turns a quantised model and a board into C that builds without Python.

It never imports torch.
"""
