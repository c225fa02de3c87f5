"""The generator: a quantised model and a board in, C that builds without Python out. Never imports torch."""
