"""The benchmarks: one file for each question, the same code for every store, real servers."""
