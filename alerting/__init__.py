"""Incidents in, messages out: what a problem is, who is told, how and when.

The daemon says what happened with `config.messages`, in the transaction that made it happen; `delivery.Delivery` does
the rest. Import from the modules: nothing is gathered here, so that who needs a value does not load an HTTP client.
"""
