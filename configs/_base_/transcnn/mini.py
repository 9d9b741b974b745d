"""A small HAT-Net for small data and random weights: narrower than `hat_tiny`."""

widths = [32, 64, 128, 256]
backbone = dict(
    type='mmpatchconvnet.TransCNN',
    arch=dict(
        embed_dims=widths,
        depths=(2, 2, 4, 2),
        head_dims=32,
        expansions=(4, 4, 4, 4),
        kernel_sizes=(3, 3, 3, 3),
        grid_sizes=(8, 7, 7, 1),
        pool_ratios=(8, 4, 2, 1),
        revised=True,
    ),
)
