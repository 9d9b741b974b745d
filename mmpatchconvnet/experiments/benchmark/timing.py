"""Time functions in turns, so that other load slows all of them alike."""

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch


def take_turns(
    steps: Mapping[str, Callable[[], None]],
    rounds: int,
    device: str,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Run each function once per round, in the same order, and time it.

    Args:
        steps: The functions by name, warmed up.
        rounds: Number of rounds.
        device: `cuda` waits for the GPU before the clock is read.
        advance: Called after each run, for a progress bar.

    Returns:
        Seconds of every round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, run in steps.items():
            seconds[name].append(time_once(run, device))
            advance()
    return seconds


def time_once(run: Callable[[], None], device: str) -> float:
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


def wait(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()


def quartiles(seconds: list[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile."""
    first, median, third = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    return first, median, third
