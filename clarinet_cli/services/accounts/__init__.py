"""Accounts: resolve, list, change, import and export."""
