"""What we measure and against whom. Every figure in the README comes from here; RESULTS.md keeps the history."""
