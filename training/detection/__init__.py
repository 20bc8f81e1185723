"""Training, evaluating and diagnosing detectors: ``train_detect.py``."""
