"""Run trials, keep their results on disk, compare them and draw figures."""
