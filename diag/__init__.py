"""Say what will stop GPU passthrough on this machine, with evidence.

Holds no commands yet: see CHANGELOG.md for what each release brings.
"""
