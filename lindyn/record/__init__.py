"""The folder of a training run. Read `writing` first, which writes it; `reading` reads it.

May import: command, theory.
"""
