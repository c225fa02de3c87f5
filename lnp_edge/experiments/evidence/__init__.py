"""What pruning methods are worth, for `lnp compare`.

methods.py    the rows: each method as a change of a configuration
trials.py     a network of a comparison in either regime, frozen or everything trained
reservoir.py  the frozen regime: recurrent weights as pruned, only a linear read-out learns; its tasks
matrices.py   Moore & Chaudhuri's experiment on linear networks, without spikes
scale.py      time, memory and error of pruning, for `lnp bench --prune`
statistics.py means, intervals, differences paired by seed
report.py     tables, CSV and the page
"""
