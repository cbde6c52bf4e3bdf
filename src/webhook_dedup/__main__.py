"""``python -m webhook_dedup``."""

from .cli import main

main()
