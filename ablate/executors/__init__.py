"""Where jobs run: the `Executor` protocol, the executors that ship with ablate and their registry."""
