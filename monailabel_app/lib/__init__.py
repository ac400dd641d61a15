"""The parts of the MIMO app for MONAI Label."""
