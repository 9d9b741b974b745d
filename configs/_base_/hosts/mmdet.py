"""A config of mmdet: where its types are found."""

default_scope = 'mmdet'
