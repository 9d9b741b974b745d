"""What a model looks at: maps of the attention pooling."""
