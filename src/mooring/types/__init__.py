"""The rooms: one folder per connection type. Nobody imports them by name; ask the registry."""
