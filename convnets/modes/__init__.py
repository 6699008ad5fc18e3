"""The modes of run.py, a file each, and the checks of its flags."""
