"""What this machine can do, mode by mode: looked into, and proved by trying."""

from .examination import examine
from .report import Report

__all__ = ["Report", "examine"]
