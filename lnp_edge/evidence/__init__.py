"""What pruning methods are worth, for `lnp compare`.

methods.py   the rows: each method as a change of a configuration
reservoir.py the frozen regime: recurrent weights as pruned, only a linear read-out learns; its tasks
trained.py   the regime in which everything is trained, on the tasks of lnp_edge/configs
matrices.py  Moore & Chaudhuri's experiment on linear networks, without spikes
report.py    tables, statistics, CSV and the page
"""
