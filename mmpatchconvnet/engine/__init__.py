"""What mmengine's runner is given: launch, checks, hooks, layer decay."""
