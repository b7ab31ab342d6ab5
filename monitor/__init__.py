"""The daemon: reads events, joins labels, feeds the detectors, keeps state, acts on the registry, serves HTTP."""
