"""What pruning knows of a network: its rates as a linear model, their covariance, its Lyapunov spectrum."""
