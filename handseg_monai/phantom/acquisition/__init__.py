"""What happens between a posed hand and its radiograph, one step a file; :mod:`.exposure` runs them in their order."""
