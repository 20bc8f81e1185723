"""The tasks that can be trained: options, data, network, loss, scores and report of each."""
