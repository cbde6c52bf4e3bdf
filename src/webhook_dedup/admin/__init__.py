"""Looking up events and acting on them by hand, for the command line and the dashboard alike."""
