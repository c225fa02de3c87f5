"""The steps of Lyapunov noise pruning that several methods share."""
