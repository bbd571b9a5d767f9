"""Flags, YAML files, modes and profiles: what a run is told, and where each value comes from."""
