"""The rules of the store contract, by theme. :class:`StoreContract` joins them all."""

from .case import StoreCase

__all__ = ["StoreCase"]
