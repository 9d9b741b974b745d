"""Two threads in all, so that figures and times do not depend on the machine; without
a GPU, Triton kernels run in its interpreter."""

import os

import torch

# Two processes of pytest-xdist with two threads each would wait for each other.
THREADS = 1 if 'PYTEST_XDIST_WORKER' in os.environ else 2
torch.set_num_threads(THREADS)
os.environ['OMP_NUM_THREADS'] = str(THREADS)  # of programs that tests start
if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'  # read when a kernel is defined
