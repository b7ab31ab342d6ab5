"""What is asked over HTTP: the API, pages, probes and metrics."""
