"""From floats to integers, and a report of what was lost on the way."""
