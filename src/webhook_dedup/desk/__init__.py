"""What people ask about events, and what they may do about them: on the command line, in pages."""
