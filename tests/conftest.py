"""Two threads at most, so that figures and times do not depend on the machine; without
a GPU, Triton kernels run in its interpreter."""

import os

import torch

torch.set_num_threads(2)
if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'  # read when a kernel is defined
