"""Analysis of a network for pruning: linear rate model, covariance, Lyapunov spectrum."""
