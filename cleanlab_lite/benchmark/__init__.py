"""Measuring: planted noise and metrics, shared by the commands that measure and by benchmarks/."""
