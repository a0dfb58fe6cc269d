"""What the evidence means: detectors, calibration, verdicts."""
