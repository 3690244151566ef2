"""The queries: one module an aggregate; a repository never commits."""
