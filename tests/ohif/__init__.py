"""The panel's modules, run by Node, against ITK and pynrrd."""
