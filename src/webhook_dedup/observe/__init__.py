"""What happened, told as records, and who takes them: log, metrics, traces, history."""
