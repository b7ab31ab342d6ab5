"""Pictures of evidence."""
