"""Incidents in, messages out: what a problem is, who is told, how and when."""
