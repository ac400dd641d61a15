"""What the module knows and does, without Qt and without 3D Slicer: requests, geometry, answers, names, undo.

Only numpy and requests are used, which 3D Slicer's own Python has.
"""
