"""Programs for those who work on Mooring; nothing here is shipped."""
