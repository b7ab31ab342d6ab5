"""Dashboards as code, and alert rules. `python -m grafana` writes `dashboards/`; `rules/` are plain files."""

NOT_SHOWN = {
    "process_virtual_memory_bytes": "resident memory is what counts",
    "process_open_fds": "the loop opens few files; only of use beside the next one",
    "process_max_fds": "a constant of the machine",
    "tocsin_outliers": "each is in the file or topic of suspects, and clean streams have them too",
    "tocsin_suspects": "the incident says who; the file or topic says which events",
}
"""Metrics that no panel shows and no rule uses, and why."""
