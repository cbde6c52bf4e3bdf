"""A newcomer who does literally what the tutorial says, with a watch in hand."""
