"""A config of mmpretrain: where its types are found."""

default_scope = 'mmpretrain'
