"""The steps of Lyapunov noise pruning, some of which other methods use too."""
