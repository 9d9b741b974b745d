"""Two threads at most, so that figures and times do not depend on the machine."""

import torch

torch.set_num_threads(2)
