"""Plans, runs and the state of a card, for people. Values in, text out."""
