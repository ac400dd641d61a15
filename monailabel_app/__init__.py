"""The MONAI Label app; `mimo app DIR` copies it. Its modules are imported as `lib`, as MONAI Label does."""
