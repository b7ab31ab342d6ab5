"""Events of a model, as evidence and verdicts."""
