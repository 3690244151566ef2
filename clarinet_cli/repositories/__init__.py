"""Queries, one module for each aggregate. A repository never commits."""
