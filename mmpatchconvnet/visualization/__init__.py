"""Pictures of results: prediction sheets, curves, plots and a report page."""
