"""Tasks: data sets, windows and splits, what a network must predict, metrics, baselines."""
