"""What stores and inboxes of one technology share: connections, time-outs, translated faults."""
