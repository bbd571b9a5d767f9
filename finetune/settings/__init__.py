"""Flags, --config, modes, profiles, conflicts.

What a run is told, and where each value comes from.
"""
