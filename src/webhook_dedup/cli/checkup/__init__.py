"""What ``webhook-dedup doctor`` examines."""

from .examine import examined
from .finding import Finding, Level

__all__ = ["Finding", "Level", "examined"]
