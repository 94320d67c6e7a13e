"""The experiment as typed data; the only place that knows YAML."""
