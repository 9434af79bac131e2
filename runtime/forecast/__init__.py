"""
What a policy will do before it does it: one call's schedule exactly, and traffic by simulation of the real stack.

`schedule.py` computes when the attempts of one call start and end, `simulate.py` runs the stack in virtual time against
`models.py`; `statistics.py` compares two runs; the other modules show results.
"""
