"""Contracts that run in the time of a clock which stands still until it is moved."""


class Clocked:
    """Moves the time of the contract beside it; its fixture makes ``self.clock``."""

    async def elapse(self, seconds):
        self.clock.advance(seconds)

    def now(self):
        return self.clock.time()
