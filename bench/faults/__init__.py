"""`python -m bench.faults`: planted faults and healthy tasks, and what lr-find says about them.

Each fault is a small variation of a healthy task: a record with the function that builds it, the finding that names its
cause and the step that the finding belongs to.
"""
