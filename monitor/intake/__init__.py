"""Records from Kafka or files, as events; what is no event is kept aside."""
