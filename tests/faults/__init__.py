"""Faults that must be survived: real processes, and the rows looked at afterwards."""
