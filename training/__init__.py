"""Networks and data brought together: options, Lightning modules, runs and what they leave behind."""
