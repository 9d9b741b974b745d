"""Pictures of what a model does: prediction sheets, curves and a report page."""
