"""What ``webhook-dedup doctor`` examines."""

from .examine import examined, examined_inbox
from .finding import Finding, Level, counted

__all__ = ["Finding", "Level", "counted", "examined", "examined_inbox"]
