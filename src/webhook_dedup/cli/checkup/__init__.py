"""What ``webhook-dedup doctor`` examines."""

from .examine import examined
from .finding import Finding, Level, counted

__all__ = ["Finding", "Level", "counted", "examined"]
