"""Recordings of your own: files to a data set, as [data] says, with a report of what was found and dropped.

find.py lists the files, times.py reads clocks, cut.py makes recordings of equal steps, counts.py makes
int16, load.py does all of it. look.py guesses the settings, page.py draws the report.
"""
