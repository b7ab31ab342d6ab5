"""The daemon and `tocsin replay`, composed from all the rest."""
