"""Say what will stop GPU passthrough on this machine, with evidence.

So far it reads what people paste: see CHANGELOG.md for what each release brings.
"""
