"""What happened, told as records: the record itself, the log, and later metrics and history."""
