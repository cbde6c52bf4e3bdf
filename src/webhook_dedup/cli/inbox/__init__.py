"""What ``webhook-dedup inbox`` shows and does."""

from .command import inbox

__all__ = ["inbox"]
