"""A config of mmseg: where its types are found."""

default_scope = 'mmseg'
