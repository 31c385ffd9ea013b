"""The cases, a module for each; the order is that of a round."""

from . import dind, floor, unused

ALL = (floor.CASE, dind.CASE, unused.CASE)
