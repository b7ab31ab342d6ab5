"""The mathematics of change detection: arrays in, statistics out. No input or output, no clock, no events."""
