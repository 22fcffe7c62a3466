"""ROMs and findings for people: terminal text, pictures, HTML. Values in, text out."""
