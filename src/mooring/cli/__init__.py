"""The command line: a user of the SDK; what it can do, anyone can do."""
