"""What a run of a program took: figures as JSON, and a timeline for Perfetto."""
