"""What diag found, for people."""
