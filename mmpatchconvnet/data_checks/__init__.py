"""Faults of data sets, found before training: annotations, label maps and pictures."""
