"""From a config to a checked run: launch, checks, hooks, layer decay."""
