"""The doctor: what this machine can do, mode by mode, looked into and proved by trying."""

from .examination import examine
from .report import Report
from .text import render

__all__ = ["Report", "examine", "render"]
