"""The compiled loops of training: vector code, sparse and dense recurrence, integers."""
