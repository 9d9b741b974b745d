"""From a checkpoint to predictions: read pictures, run the model, write results."""
