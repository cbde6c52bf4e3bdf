"""The rules of the inbox contract, by theme. :class:`InboxContract` joins them all."""

from .case import InboxCase

__all__ = ["InboxCase"]
