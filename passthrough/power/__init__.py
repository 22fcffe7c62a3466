"""A card's power: what switches it, what that leads to, and the shortest way to what is wanted."""
