"""Classes and colours of the generated scenes, as in `mmpatchconvnet.datasets`."""

classes = ('ball', 'donut', 'leaf', 'sail', 'star', 'tile')
palette = [
    (230, 75, 53),
    (240, 140, 200),
    (60, 170, 80),
    (60, 130, 235),
    (250, 200, 50),
    (150, 95, 215),
]
