"""Stride 16, and the pooling at the rate of the column: base of the other ablations."""

_base_ = '../_base_/classifier_signs.py'
