"""Exporters: cleaned manifests and datasets, in the formats their users read."""
