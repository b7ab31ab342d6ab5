"""The demonstration: every part of a small serving stack on this machine, an attack on it, and Tocsin beside it."""
