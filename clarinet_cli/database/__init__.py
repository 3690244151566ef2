"""From the settings to a connection: URL, engine, and the driver's errors in our words."""
