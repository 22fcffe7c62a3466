"""Hand a GPU to a virtual machine, and take it back.

Holds no commands yet: see CHANGELOG.md for what each release brings.
"""
