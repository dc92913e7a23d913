"""What happened in a run? The run folder: written here, read here."""
