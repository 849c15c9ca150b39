"""lr-find: a six-step protocol that determines a learning rate and a weight decay for the baseline."""
