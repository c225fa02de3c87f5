"""The comparison of pruning methods, for `lnp compare`.

methods.py    the rows: each method with its options
trials.py     one network of a comparison, frozen or trained
reservoir.py  the frozen regime, where only a linear read-out is trained, and its tasks
matrices.py   Moore & Chaudhuri's experiment on linear networks without spikes
scale.py      time, memory and error of pruning, for `lnp bench --prune`
statistics.py means, confidence intervals, differences paired by seed
report.py     tables, CSV and the HTML report
"""
