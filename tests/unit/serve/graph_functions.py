"""Functions that test graphs name."""

import numpy as np


def doubled(arrays):
    """Double all numbers; gives one array without a name."""
    return next(iter(arrays.values())) * 2


def by_sign(arrays):
    """Name `low` for rows that begin with a negative number, else `high`."""
    return np.where(next(iter(arrays.values()))[:, 0] < 0, "low", "high")


def highest(answers):
    """Give the largest of all answers, element by element."""
    return {"highest": np.max([next(iter(answer.values())) for answer in answers], axis=0)}


def one_name_too_few(arrays):
    """Forget the last row."""
    return by_sign(arrays)[:-1]
