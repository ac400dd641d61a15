"""End-to-end tests: Orthanc, MONAI Label's server with OHIF, and a Chromium, all of them real."""
