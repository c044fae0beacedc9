"""The subcommands of `stillroom`, one a file, with what they share: options, words, tables, JSON, progress."""
