"""A task: a data set cut into windows and people, what the network must say, and how that is measured."""
