"""The settings explained: each value with its source, and what is wrong with them.

All of it works with settings that no other command could use: a file that cannot be read and
a value that cannot be used are findings here.
"""

from clarinet_cli.services.configuration.checks import check_settings, unreadable_files
from clarinet_cli.services.configuration.values import list_settings_files, show_settings

__all__ = ["check_settings", "list_settings_files", "show_settings", "unreadable_files"]
