"""From floats to integers, and a report of what is lost."""
